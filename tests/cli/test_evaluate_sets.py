"""`evaluate sets` as people run it."""

import json

from clip_italian import pairs


def test_sets_are_listed_explained_and_written(run, shapes, tmp_path):
    code, out, _ = run("evaluate", "sets")
    assert code == 0
    assert "xtd10" in out
    assert "imagenet" in out
    code, out, _ = run("evaluate", "sets", "mscoco-it-test")
    assert code == 0
    assert "captions_ita_testset_validated.json.gz" in out
    assert "val2014.zip" in out

    folder = shapes.parent
    shapes.rename(folder / "captions.jsonl")
    code, out, err = run("evaluate", "sets", "flickr", folder, "-o", folder / "test.jsonl", "--json")
    assert code == 0, err
    assert json.loads(out) == {"output": str(folder / "test.jsonl"), "pictures": 54, "captions": 54, "notes": []}
    written = pairs.read(folder / "test.jsonl")
    assert written[0].image == "images/cerchio-rosso-0.png"
    assert {pair.split for pair in written} == {"test"}


def test_sets_used_wrongly(run, tmp_path):
    assert run("evaluate", "sets", "nonsense")[0] == 2
    assert run("evaluate", "sets", "xtd10", tmp_path)[0] == 2
    code, _, err = run("evaluate", "sets", "xtd10", tmp_path, "-o", tmp_path / "x.jsonl")
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "x.jsonl").exists()
