"""The command as people run it: exit codes, one-line errors, JSON on stdout."""

import json
import logging
import shutil
import subprocess
import sys

import pytest

from clip_italian import cli

RECIPE = """
output = "unset"
[data]
pairs = "unset"
[model]
projection_dim = 24
[[stage]]
name = "projections"
trainable = ["*projection.*"]
frozen = ["*"]
learning_rate = 1e-2
epochs = 3
patience = 3
"""


@pytest.fixture
def recipe(tmp_path, tiny_folder):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.replace("[model]", f'[model]\nbase = "{tiny_folder}"'))
    return path


@pytest.mark.integration
def test_train_evaluate_index_and_search(run, recipe, shapes, tmp_path, cache):
    code, out, err = run("train", recipe, f"data.pairs={shapes}", f"output={tmp_path / 'run'}", "--json")
    assert code == 0, err
    model = json.loads(out)["model"]
    assert "untrained" in err

    code, _, err = run("evaluate", "retrieval", "--model", model, "--pairs", shapes, "--json")
    assert code == 1
    assert "give --allow-overlap" in err
    code, out, _ = run("evaluate", "retrieval", "--model", model, "--pairs", shapes, "--json", "--allow-overlap")
    assert code == 0
    figures = json.loads(out)
    assert figures["overlap"]["checked"]
    assert figures["overlap"]["pictures"] >= 40  # nine tenths were trained on
    assert figures["text_to_image"]["queries"] == 18
    assert figures["text_to_image"]["gallery"] == figures["image_to_text"]["queries"] == 54

    code, out, _ = run("evaluate", "zeroshot", "--model", model, "--pairs", shapes, "--json", "--allow-overlap")
    assert json.loads(out)["labels"] == 18
    code, out, _ = run("evaluate", "zeroshot", "--model", model, "--pairs", shapes, "--allow-overlap")
    assert "careful: the model was trained on" in out

    code, out, _ = run("index", "build", shapes.parent / "images", "-o", tmp_path / "idx", "--model", model, "--json")
    counts = {"pictures": 54, "added": 54, "embedded": 54, "removed": 0, "left_out": []}
    counts |= {"other_media": {}, "excluded": {}, "unmatched": [], "kept": []}
    assert json.loads(out) == {"index": str(tmp_path / "idx")} | counts

    sheet = tmp_path / "sheet.html"
    code, out, _ = run("search", tmp_path / "idx", "un cerchio rosso", "-k", "4", "--copies", "--json", "--html", sheet)
    (result,) = json.loads(out)["results"]
    hits = result["hits"]
    assert [set(hit) for hit in hits] == [
        {*"rank id path score row probability copies taken latitude longitude".split()}
    ] * 4
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert sheet.read_text().count("data:image") == 4

    code, out, _ = run("search", tmp_path / "idx", "un cerchio rosso", "-k", "2")
    assert code == 0
    assert hits[0]["path"] in out
    code, out, _ = run("index", "info", tmp_path / "idx")
    assert "pictures: 54" in out


def test_tables_for_people(run, tiny_folder, shapes):
    code, out, _ = run("evaluate", "retrieval", "--model", tiny_folder, "--pairs", shapes)
    assert code == 0
    assert "MRR@10" in out
    assert "chance" in out
    assert "pessimistic" in out


def bad_inputs(folder, recipe, shapes, model):
    """Arguments, exit code, and words of the one line."""
    empty = folder / "empty.jsonl"
    empty.touch()
    blank = folder / "blank.jsonl"
    blank.write_text('{"image_path": "a.jpg", "captions": [""]}')
    pictures = folder / "broken"
    pictures.mkdir()
    (pictures / "a.jpg").write_text("x")
    bare = folder / "bare"
    shutil.copytree(model, bare)
    (bare / "model.safetensors").unlink()
    return [
        (["train", recipe, "data.pairs=none.jsonl", "output=x"], 1, "none.jsonl: no such pairs file"),
        (["train", recipe, f"data.pairs={empty}", f"output={folder / 'x'}"], 1, "empty"),
        (["train", recipe, f"data.pairs={blank}", f"output={folder / 'x'}"], 1, "empty caption"),
        (["train", recipe, "stage.0.epoch=3"], 2, "unknown key stage.0.epoch"),
        (["train", "nothing.toml"], 2, "no such recipe"),
        (["evaluate", "retrieval", "--model", bare, "--pairs", shapes], 1, "not a model folder, weights"),
        (["evaluate", "retrieval", "--model", folder / "no", "--pairs", shapes], 1, "no such model folder"),
        (["evaluate", "retrieval", "--model", model, "--pairs", shapes, "--split", "test"], 1, "no pairs in split"),
        (["evaluate", "zeroshot", "--model", model, "--pairs", shapes, "--prompt", "x"], 2, "exactly one {}"),
        (["index", "build", folder / "no", "-o", folder / "i", "--model", model], 1, "no such file or folder"),
        (["index", "build", pictures, "-o", folder / "i", "--model", model], 1, "no picture could be read"),
        (["search", folder / "no", "un gatto"], 1, "no index here"),
        (["collect", "picture-book", "-o", folder / "b.parquet", "--language", "xx"], 2, "language 'xx'"),
    ]


def test_bad_input_is_one_clear_line(run, recipe, shapes, tiny_folder, tmp_path, cache):
    for arguments, expected, words in bad_inputs(tmp_path, recipe, shapes, tiny_folder):
        code, out, err = run(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert code == expected, (arguments, err)
        assert len(lines) == 1, (arguments, err)
        assert words in lines[0], (arguments, err)
        assert "Traceback" not in err
        assert out == ""


def test_wrong_usage_exits_with_two(run):
    assert run("search")[0] == 2
    assert run("nonsense")[0] == 2


def commands(app, before=()):
    """Every command of the program, as its words."""
    for info in app.registered_commands:
        yield [*before, info.name or info.callback.__name__]
    for group in app.registered_groups:
        yield from commands(group.typer_instance, [*before, group.name])


def test_every_help_has_an_example(run):
    found = list(commands(cli.app))
    assert ["collect", "ilpost"] in found
    assert ["split"] in found
    for command in found:
        code, out, _ = run(*command, "--help")
        assert code == 0
        assert "Example: clip-italian " + " ".join(command) in out, command


@pytest.mark.parametrize(
    ("arguments", "made"),
    [(["search", "x"], ["search"]), (["index", "build"], ["index"]), (["serch"], None), (["--debug", "search"], None)],
)
def test_only_the_command_that_is_asked_for_is_made(arguments, made, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clip-italian", *arguments])
    known = {words[0] for words in commands(cli.app)}
    assert {words[0] for words in commands(cli._asked_for())} == (set(made) if made else known)


def test_a_command_that_is_spelled_wrongly_is_guessed(run):
    assert "Did you mean 'search'" in run("serch", "gatto")[2]


def test_the_command_by_the_name_of_the_package():
    done = subprocess.run([sys.executable, "-m", "clip_italian", "search", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Example: clip-italian search" in done.stdout


def test_tries_to_reach_the_hub_are_not_told_one_by_one(run):
    hub = logging.getLogger("huggingface_hub")
    hub.setLevel(logging.WARNING)
    assert run("--version")[0] == 0
    assert not hub.isEnabledFor(logging.WARNING)
