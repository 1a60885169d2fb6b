import csv
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import draw_shape


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "foto" / "sub").mkdir(parents=True)
    draw_shape("cerchio", "red", 1).save(tmp_path / "foto" / "a.png")
    draw_shape("quadrato", "blue", 2).save(tmp_path / "foto" / "sub" / "b.png")
    (tmp_path / "foto" / "guasta.jpg").write_text("no picture")
    return tmp_path / "foto"


def test_pictures_and_folders_as_text_and_json(run, tiny_folder, folder):
    arguments = [
        "classify",
        folder / "a.png",
        folder,
        "--model",
        tiny_folder,
        "--labels",
        "cerchio, gatto,il triangolo",
    ]
    code, out, err = run(*arguments, "-k", "2")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        str(folder / "a.png"), str(folder / "a.png"), str(folder / "sub" / "b.png"),
    ]  # fmt: skip
    assert len([line for line in out.splitlines() if line.startswith("  0.")]) == 6
    assert "left out: " in err
    assert "guasta.jpg" in err
    code, out, _ = run(*arguments, "--json")
    found = json.loads(out)
    assert found["names"] == {"cerchio": ["un cerchio"], "gatto": ["un gatto"], "il triangolo": ["il triangolo"]}
    assert len(found["left_out"]) == 1
    for picture in found["pictures"]:
        assert sum(one["probability"] for one in picture["labels"]) == pytest.approx(1, abs=1e-3)


def test_labels_file_and_csv(run, tiny_folder, folder, tmp_path):
    (tmp_path / "labels.txt").write_text("cerchio\n\n quadrato  rosso\n", encoding="utf-8")
    target = tmp_path / "out" / "labels.csv"
    arguments = ["classify", folder, "--model", tiny_folder, "--labels-file", tmp_path / "labels.txt", "-o", target]
    code, out, err = run(*arguments)
    assert code == 0
    assert "2 pictures, 1 left out" in out
    assert "guasta.jpg" in err
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "cerchio", "quadrato rosso"]
    assert [row["path"] for row in rows] == [str(folder / "a.png"), str(folder / "sub" / "b.png")]
    code, out, _ = run(*arguments, "--multi", "--threshold", "0", "--json")
    assert json.loads(out)["pictures"] == 2
    with target.open(encoding="utf-8", newline="") as file:
        assert {row["labels"] for row in csv.DictReader(file)} <= {"cerchio;quadrato rosso", "quadrato rosso;cerchio"}


def test_names_that_are_no_text(run, tiny_folder, tmp_path):
    path = tmp_path / "foto" / os.fsdecode(b"caff\xe8.png")
    path.parent.mkdir()
    draw_shape("cerchio", "red", 1).save(path)
    arguments = ["classify", path.parent, "--model", tiny_folder, "--labels", "cerchio,gatto"]
    assert "caff?.png" in run(*arguments)[1]
    assert json.loads(run(*arguments, "--json")[1])["pictures"][0]["path"] == str(path)
    assert run(*arguments, "-o", tmp_path / "l.csv")[0] == 0
    assert os.fsencode(path) in (tmp_path / "l.csv").read_bytes()


def test_labels_by_themselves(run, tiny_folder, folder):
    arguments = ["classify", folder / "a.png", "--model", tiny_folder, "--labels", "cerchio,gatto", "--multi"]
    assert "none of the labels" in run(*arguments, "--threshold", "1")[1]
    assert len(json.loads(run(*arguments, "--threshold", "0", "--json")[1])["pictures"][0]["labels"]) == 2


def test_calibrating(run, tiny_folder, folder, tmp_path):
    for shape in ("cerchio", "triangolo"):
        (tmp_path / "note" / shape).mkdir(parents=True)
        for seed in range(6):
            draw_shape(shape, "red", seed).save(tmp_path / "note" / shape / f"{seed}.png")
    arguments = ["classify", folder / "a.png", "--model", tiny_folder, "--labels", "cerchio,triangolo", "--multi"]
    code, out, err = run(*arguments, "--calibrate", tmp_path / "note", "--threshold", "0")
    assert code == 0
    assert "calibrated on 12 pictures" in err
    assert "0.5" in out  # one of two, and a random model that does not know which


def test_mistakes_are_one_line(run, tiny_folder, folder, tmp_path):
    (tmp_path / "twice.txt").write_text("gatto\ngatto\n")
    (tmp_path / "none.json").write_text("[]")
    labels = ["--labels", "cerchio,gatto"]
    for arguments, expected, words in [
        ([folder], 2, "either --labels a,b,c or --labels-file"),
        ([folder, *labels, "--labels-file", tmp_path / "twice.txt"], 2, "either --labels a,b,c or --labels-file"),
        ([folder, "--labels", "cerchio,,gatto"], 1, "label 2 is empty"),
        ([folder, "--labels", "cerchio"], 1, "two or more"),
        ([folder, "--labels-file", tmp_path / "twice.txt"], 1, "'gatto' is given twice"),
        ([folder, "--labels-file", tmp_path / "none.json"], 1, "no labels"),
        ([folder, "--labels-file", tmp_path / "no.txt"], 1, "cannot read the labels"),
        ([folder, *labels, "-o", tmp_path / "x.json"], 2, "ending in .csv"),
        ([folder, *labels, "--threshold", "0.5"], 2, "need --multi"),
        ([folder, *labels, "--prompt", "una foto"], 2, "exactly one {}"),
        ([folder / "no.png", *labels], 1, "none of the 1 pictures could be read"),
        ([folder / "guasta.jpg", *labels, "-o", tmp_path / "x.csv"], 1, "was not written"),
    ]:
        code, out, err = run("classify", *arguments, "--model", tiny_folder)
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert (code, len(lines)) == (expected, 1), (arguments, err)
        assert words in lines[0]
        assert out == ""
    assert not (tmp_path / "x.csv").exists()


def test_what_a_folder_holds_beside_pictures(run, tiny_folder, tmp_path):
    photos = tmp_path / "photos"
    for name in ("a.jpg", "raw/b.jpg", ".c.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(photos / name)
    (photos / "a.jpg").rename(photos / "a.jfif")
    (photos / "d.psd").write_bytes(b"8BPS\0\1")
    (photos / "gone").symlink_to("nothing")
    arguments = ("classify", photos, "--labels", "gatto,cane", "--model", tiny_folder, "--json", "--exclude", "raw")
    code, out, err = run(*arguments)
    assert code == 0, err
    assert [Path(one["path"]).name for one in json.loads(out)["pictures"]] == ["a.jfif"]
    assert err.splitlines() == [
        f"left out: {photos / 'gone'}: a broken link (No such file or directory)",
        f"{photos}: other media: psd 1; excluded: hidden 1, raw 1",
    ]
    assert len(json.loads(run(*arguments, "--hidden")[1])["pictures"]) == 2
