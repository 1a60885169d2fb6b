"""`collect folder` and `collect webdataset` as people call them."""

import json

from PIL import Image

from clip_italian import pairs
from tests.tars import write_tar


def test_folder(run, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.linear_gradient("L").save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "a.txt").write_text("una sfumatura")
    Image.radial_gradient("L").save(tmp_path / "photos" / "b.png")
    code, out, err = run("collect", "folder", tmp_path / "photos", "-o", tmp_path / "out.parquet", "--json")
    assert code == 0, err
    assert json.loads(out)["rejected"] == {"no-caption": 1}
    (row,) = pairs.read(tmp_path / "out.parquet")
    assert (row.image, row.captions, row.source) == ("photos/a.png", ("una sfumatura",), "photos")
    code, _, err = run("collect", "folder", tmp_path / "none", "-o", tmp_path / "out.parquet")
    assert code == 2
    assert "no such folder" in err


def test_paths_are_opened_as_they_are_stored(run, tmp_path, tiny_folder):
    """Of any command: what is typed as one letter (NFC) may be stored as two (NFD)."""
    stored, typed = tmp_path / "citta\u0300", tmp_path / "citt\u00e0"
    stored.mkdir()
    Image.linear_gradient("L").save(stored / "a.png")
    (stored / "a.txt").write_text("una sfumatura")
    code, _, err = run("collect", "folder", typed, "-o", typed / "out.jsonl")
    assert (code, err) == (0, "")
    assert pairs.read(stored / "out.jsonl")[0].image == "a.png"
    assert run("split", typed / "out.jsonl", "-o", typed / "split.jsonl")[0] == 0
    tiny_folder.rename(stored / "model")
    assert run("index", "build", typed, "-o", typed / "idx", "--model", typed / "model")[0] == 0
    code, out, err = run("search", typed / "idx", typed / "a.png", "--paths")
    assert (code, out, err) == (0, f"{stored / 'a.png'}\n", "")
    code, out, err = run("classify", typed, "--model", typed / "model", "--labels", "gatto,cane", "--json")
    assert code == 0, err
    assert not typed.exists()


def test_webdataset(run, tmp_path):
    write_tar(tmp_path / "shards" / "00000.tar", {"0.jpg": b"JPEG", "0.txt": b"una foto"})
    code, out, err = run("collect", "webdataset", tmp_path / "shards", "-o", tmp_path / "out.parquet", "--json")
    assert code == 0, err
    assert json.loads(out)["after"] == 1
    (row,) = pairs.read(tmp_path / "out.parquet")
    assert row.image.startswith("out-pictures/00000-")
    (tmp_path / "empty").mkdir()
    code, _, err = run("collect", "webdataset", tmp_path / "empty", "-o", tmp_path / "other.parquet")
    assert code == 2
    assert "no .tar files" in err
