"""`evaluate` from pictures to a report, by a tiny model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from clip_italian.pairs import read
from tests.conftest import draw_shape


@pytest.fixture
def classes(tmp_path):
    for name, colour in (("cerchio_rosso", "red"), ("cerchio_blu", "blue"), ("quadrato_nero", "black")):
        folder = tmp_path / "classes" / name
        folder.mkdir(parents=True)
        for copy in range(3):
            draw_shape(name.split("_")[0], colour, copy).save(folder / f"{copy}.png")
    return tmp_path / "classes"


def changed(folder, target, change):
    """A copy of a model folder with other weights."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    change(weights)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def test_two_models_become_a_report(run, tiny_folder, shapes, classes, tmp_path):
    other = changed(tiny_folder, tmp_path / "other", lambda w: w["text_projection.weight"].neg_())
    files = []
    for model in (tiny_folder, other):
        for kind, source in (("retrieval", ("--pairs", shapes)), ("zeroshot", ("--pictures", classes))):
            file = tmp_path / f"{model.name}-{kind}.json"
            files.append(file)
            code, out, err = run("evaluate", kind, "--model", model, *source, "--name", model.name, "--resamples",
                                 50, "-o", file, "--json")  # fmt: skip
            assert code == 0, err
            shown, kept = json.loads(out), json.loads(file.read_text())
            assert {key: kept[key] for key in shown} == shown
            assert set(kept) - set(shown) == ({"ranks", "captions_of"} if kind == "retrieval" else {"ranks"})
    one, two = (json.loads(files[place].read_text()) for place in (0, 2))
    assert one["data"] == two["data"]
    assert one["model"]["tokenizer_sha256"] == two["model"]["tokenizer_sha256"]
    assert one["model"]["weights_sha256"] != two["model"]["weights_sha256"]
    assert one["bootstrap"]["seed"] == 0
    assert one["versions"]["torch"] == torch.__version__
    assert one["ranks"]["image_to_text"] != two["ranks"]["image_to_text"]

    code, out, err = run("evaluate", "report", *files, "-o", tmp_path / "report", "--resamples", 50, "--json")
    assert code == 0, err
    done = json.loads(out)
    assert [part["models"] for part in done["sets"]] == [["tiny-model", "other"]] * 2
    assert set(done["files"]) == {path.name for path in (tmp_path / "report").iterdir()}
    code, out, _ = run("evaluate", "report", *files, "-o", tmp_path / "report", "--resamples", 50)
    assert "the paper's Table 3" in out
    assert "CLIP-Italian, published" in out


def test_repeating_gives_the_same_result(run, tiny_folder, shapes, tmp_path):
    for name in ("a", "b"):
        run(
            "evaluate", "retrieval", "--model", tiny_folder, "--pairs", shapes, "--resamples", 20, "-o", tmp_path / name
        )
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_every_caption_a_query(run, tiny_folder, shapes):
    asked = ("evaluate", "retrieval", "--model", tiny_folder, "--pairs", shapes, "--resamples", 20, "--json")
    distinct, every = (json.loads(run(*asked, "--captions", how)[1]) for how in ("distinct", "all"))
    assert (distinct["text_to_image"]["queries"], every["text_to_image"]["queries"]) == (18, 54)
    assert every["captions"] == "all"
    # Three pictures share each caption, and only one of them is right: equal captions are ties that count.
    assert every["image_to_text"]["R@1"] == 0


def test_classes_in_words(run, tiny_folder, classes, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("una foto di {}\n\n{}\n")
    code, out, err = run("evaluate", "zeroshot", "--model", tiny_folder, "--pictures", classes, "--prompts", prompts,
                         "--prompt", "un {}", "--resamples", 20)  # fmt: skip
    assert code == 0, err
    assert "accuracy@100" in out
    assert "mean_class_accuracy@1" in out
    assert "taken for" in out
    assert "“un {}” + “una foto di {}” + “{}”" in out


def test_what_is_wrong_is_one_clear_line(run, tiny_folder, shapes, classes, tmp_path):
    model = ("--model", tiny_folder)
    broken = changed(tiny_folder, tmp_path / "nan", lambda w: w["visual_projection.weight"].fill_(float("nan")))
    silent = changed(tiny_folder, tmp_path / "zero", lambda w: w["text_projection.weight"].zero_())
    (classes / "vuota").mkdir()
    (tmp_path / "bad.json").write_text("{}")
    missing = tmp_path / "missing.jsonl"
    missing.write_text('{"image_path": "gone.png", "captions": ["un cerchio"]}')
    for arguments, expected, words in (
        (["retrieval", "--model", broken, "--pairs", shapes], 1, "pictures: 54 of 54 embeddings are not finite"),
        (["zeroshot", "--model", silent, "--pairs", shapes], 1, "labels: 18 of 18 embeddings are zero"),
        (["retrieval", *model, "--pairs", missing], 1, "none of its 1 pictures can be read (first: "),
        (["zeroshot", *model, "--pictures", classes], 1, "no pictures for 1 class ('vuota')"),
        (["zeroshot", *model], 2, "give either --pairs or --pictures"),
        (["zeroshot", *model, "--pairs", shapes, "--pictures", classes], 2, "give either --pairs or --pictures"),
        (["zeroshot", *model, "--pairs", shapes, "--prompts", tmp_path / "none"], 1, "cannot read the prompts"),
        (["zeroshot", *model, "--pairs", shapes, "--prompt", "{} {}"], 2, "exactly one {}"),
        (["report", tmp_path / "bad.json", "-o", tmp_path / "r"], 1, "no result file"),
    ):
        code, out, err = run("evaluate", *arguments)
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert (code, out) == (expected, ""), (arguments, err)
        assert len(lines) == 1, (arguments, err)
        assert words in lines[0], (arguments, err)


def test_one_unreadable_picture_is_said_and_counted(run, tiny_folder, shapes, tmp_path):
    first = shapes.parent / read(shapes)[0].image
    first.write_text("no picture")
    code, out, err = run(
        "evaluate", "retrieval", "--model", tiny_folder, "--pairs", shapes, "--resamples", 20, "--json"
    )
    assert code == 0
    figures = json.loads(out)
    assert (figures["left_out"], figures["data"]["pictures"], figures["image_to_text"]["queries"]) == (1, 53, 53)
    assert str(first) in figures["data"]["left_out"][0]
    assert "1 of 54 pictures cannot be read and are left out" in err
