"""Several models, and several sets of labels, in one run."""

import json
import shutil

import numpy as np
import pytest

from clip_italian import languages
from clip_italian.evaluate import results
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import read
from clip_italian.pictures import decoding, leaks
from tests.conftest import draw_shape
from tests.models_torch import kinds, sentence_models

FEW = ("--resamples", 20)


@pytest.fixture
def models(tiny_folder, tmp_path):
    """Models of three kinds: other towers, other tokenizers, other sizes of pictures and embeddings."""
    pytest.importorskip("sentence_transformers")
    texts, pictures = sentence_models.texts(tmp_path / "t"), sentence_models.pictures(tmp_path / "p")
    return [tiny_folder, kinds.folder("siglip", tmp_path / "siglip"), f"sentence-transformers:{texts},{pictures}"]


def asked(models):
    return [part for model in models for part in ("--model", model)]


def test_every_picture_is_decoded_once_and_each_model_gives_what_it_gives_alone(
    run, models, shapes, tmp_path, monkeypatch
):
    command = ("evaluate", "retrieval", "--pairs", shapes, *FEW)
    opened = []
    decode = decoding.open_picture
    monkeypatch.setattr(decoding, "open_picture", lambda path, **more: (opened.append(path), decode(path, **more))[1])
    names = [part for name in ("ours", "SigLIP", "m/CLIP") for part in ("--name", name)]
    code, out, err = run(*command, *asked(models), *names, "-o", tmp_path / "several", "--json")
    assert code == 0, err
    assert len(opened) == len(set(opened)) == 54
    files = [tmp_path / "several" / f"{name}.json" for name in ("ours", "SigLIP", "m-CLIP")]
    assert sorted((tmp_path / "several").iterdir()) == sorted(files)
    kept = [json.loads(file.read_text()) for file in files]
    shown = json.loads(out)["results"]
    assert [one["name"] for one in shown] == ["ours", "SigLIP", "m/CLIP"]
    assert len({one["data"]["pictures_sha256"] for one in kept}) == 1
    for one, shorter, model in zip(kept, shown, models, strict=True):
        assert shorter == {key: one[key] for key in shorter}
        assert run(*command, "--model", model, "--name", one["name"], "-o", tmp_path / "alone.json", "--json")[0] == 0
        assert json.loads((tmp_path / "alone.json").read_text()) == one

    code, out, err = run("evaluate", "report", *files, "-o", tmp_path / "report", *FEW, "--json")
    assert code == 0, err
    assert json.loads(out)["sets"][0]["models"] == ["ours", "SigLIP", "m/CLIP"]


def test_models_stand_side_by_side(run, models, shapes, tmp_path):
    names = [part for name in ("uno", "due", "tre") for part in ("--name", name)]
    command = ("evaluate", "retrieval", *asked(models), *names, "--pairs", shapes, *FEW)
    code, out, err = run(*command, "-o", tmp_path / "r")
    assert code == 0, err
    assert max(map(len, out.splitlines()[:-1])) <= 80
    figures = [json.loads((tmp_path / "r" / f"{name}.json").read_text())["text_to_image"] for name in names[1::2]]
    lines = out.splitlines()
    (title, *_) = (line for line in lines if "uno" in line)
    assert [title.index(name) for name in names[1::2]] == sorted(title.index(name) for name in names[1::2])
    assert "chance" in title
    place = next(number for number, line in enumerate(lines) if "MRR@10" in line)
    assert [cell.strip() for cell in lines[place].split("│")[2:5]] == [f"{one['MRR@10']:.3f}" for one in figures]
    below = [f"{one['intervals']['MRR@10'][0]:.3f} – {one['intervals']['MRR@10'][1]:.3f}" for one in figures]
    assert [cell.strip() for cell in lines[place + 1].split("│")[2:5]] == below


def test_names_and_files(run, models, shapes, tmp_path):
    two = ("evaluate", "retrieval", *asked(models[:2]), "--pairs", shapes, *FEW)
    (tmp_path / "there").mkdir()
    one = ("evaluate", "retrieval", "--model", models[0], "--pairs", shapes, *FEW, "--name", "mio")
    assert run(*one, "-o", tmp_path / "there")[0] == 0
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["mio.json"]
    for arguments, words in (
        ((*two, "-o", tmp_path / "one.json"), "there are 2 results; give -o a folder"),
        ((*two, "--name", "a"), "1 names for 2 models"),
        ((*two, "--name", "a", "--name", "a"), "two models are called 'a'"),
        ((*two, "--name", "a/b", "--name", "a b", "-o", tmp_path / "new"), "two results would go there"),
        (("evaluate", "retrieval", *asked([models[0]] * 2), "--pairs", shapes), "give each another --name"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1
        assert words in err
    assert not (tmp_path / "new").exists()
    before = shapes.read_bytes()
    code, _, err = run(*one, "-o", shapes)
    assert code == 2
    assert "would replace its own input" in err
    assert shapes.read_bytes() == before
    code, _, err = run(*one, "-o", shapes / "r.json")
    assert code == 1
    assert "cannot be written" in err


def test_a_model_that_fails_costs_no_result_of_another(run, models, shapes, tmp_path):
    from tests.cli.test_evaluate import changed

    broken = changed(models[0], tmp_path / "nan", lambda weights: weights["text_projection.weight"].fill_(np.nan))
    code, _, err = run("evaluate", "retrieval", *asked([models[0], broken]), "--pairs", shapes, *FEW, "--name", "good",
                       "--name", "bad", "-o", tmp_path / "r")  # fmt: skip
    assert code == 1
    assert "clip-italian: bad: captions: 18 of 18 embeddings are not finite" in err
    assert results.read(tmp_path / "r" / "good.json").name == "good"


def test_a_model_trained_on_the_pictures_is_refused_beside_others(run, models, shapes, tmp_path):
    trained = DualEncoder.load(models[0])
    _, prints = leaks.fingerprints([shapes.parent / pair.image for pair in read(shapes)][:5])
    trained.info[leaks.INFO_KEY] = prints.to_json()
    trained.save(tmp_path / "trained")
    sorted_pictures = tmp_path / "classes"
    for pair in read(shapes):
        (sorted_pictures / pair.captions[0]).mkdir(parents=True, exist_ok=True)
        shutil.copy(shapes.parent / pair.image, sorted_pictures / pair.captions[0])
    two = (*asked([models[1], tmp_path / "trained"]), "--name", "other", "--name", "mine", *FEW)
    for command in (("retrieval", "--pairs", shapes), ("zeroshot", "--pairs", shapes),
                    ("zeroshot", "--pictures", sorted_pictures)):  # fmt: skip
        code, out, err = run("evaluate", *command, *two, "-o", tmp_path / "r")
        assert (code, out) == (1, ""), err
        assert "5 of 54 pictures are among the training pictures of mine; leave them out" in err
        assert "other has no list of its training pictures" in err
        assert not (tmp_path / "r").exists()
        code, out, err = run("evaluate", *command, *two, "--allow-overlap", "--json")
        assert code == 0, err
        overlaps = [one["overlap"] for one in json.loads(out)["results"]]
        assert overlaps == [{"checked": False}, {"checked": True, "pictures": 5}]


@pytest.fixture
def imagenet(tmp_path):
    """Two classes of ImageNet's validation set as on the Hub."""
    folder = tmp_path / "imagenet" / "val"
    folder.mkdir(parents=True)
    for number, (wordnet, colour) in enumerate([("n01440764", "red"), ("n07873807", "blue")] * 3, start=1):
        draw_shape("cerchio", colour, number).save(folder / f"ILSVRC2012_val_{number:08d}_{wordnet}.JPEG")
    return folder.parent


def test_both_sets_of_labels_in_one_run(run, models, imagenet, tmp_path):
    legacy = [one.label for one in languages.get("it").imagenet]
    legacy[0], legacy[963] = "una foto", "un gatto che dorme"
    (tmp_path / "it-2021.json").write_text(json.dumps(legacy))
    command = ("evaluate", "zeroshot", "--pictures", imagenet, "--allow-empty", *FEW)
    both = ("--labels", "curated", "--labels", tmp_path / "it-2021.json")
    names = ("--name", "a", "--name", "b")
    code, _, err = run(*command, *asked(models[:2]), *names, *both, "-o", tmp_path / "r", "--json")
    assert code == 0, err
    assert "6 pictures, ImageNet's validation set has 50,000" in err
    files = sorted((tmp_path / "r").iterdir())
    assert [file.name for file in files] == [
        "a-curated.json", "a-it-2021.json", "b-curated.json", "b-it-2021.json",
    ]  # fmt: skip
    kept = [json.loads(file.read_text()) for file in files]
    assert [one["label_set"] for one in kept] == ["curated", "it-2021"] * 2
    assert [one["names"]["n07873807"] for one in kept] == [["una pizza"], ["un gatto che dorme"]] * 2
    assert {one["labels"] for one in kept} == {1000}
    assert len({one["data"]["fingerprint"] for one in kept}) == 1
    code, out, err = run("evaluate", "report", *files, "-o", tmp_path / "report", *FEW)
    assert code == 0, err
    assert "a (curated)" in out
    assert "The models were given different labels for the same classes." in out


def test_labels_used_wrongly(run, models, imagenet, shapes, tmp_path):
    command = ("evaluate", "zeroshot", "--model", models[0])
    (tmp_path / "classes" / "gatto").mkdir(parents=True)
    draw_shape("cerchio", "red", 1).save(tmp_path / "classes" / "gatto" / "1.png")
    for arguments, expected, words in (
        (("--pictures", imagenet, "--labels", "curated"), 1, "no pictures for 998 classes"),
        (("--pictures", imagenet), 1, "the classes are WordNet ids, not words; give --labels curated"),
        (("--pictures", tmp_path / "classes", "--labels", "curated"), 1, "class 'gatto' is none of ImageNet's"),
        (("--pairs", shapes, "--labels", "curated"), 2, "--labels are for --pictures"),
        (("--pictures", imagenet, "--allow-empty", *("--labels", "curated") * 2), 2, "two sets have one name"),
    ):
        code, out, err = run(*command, *arguments)
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert (code, out) == (expected, ""), err
        assert len(lines) == 1
        assert words in lines[0]
