import json
import os

from PIL import Image


def test_locate_writes_an_overlay_and_tells_the_place(run, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 60), "white").save("foto.png")
    code, out, _ = run("locate", "foto.png", "il gatto", "--model", tiny_folder, "-o", "sub/dove.png", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["size"] == [90, 60]
    assert len(found["box"]) == 4
    assert [len(found["heat"]), len(found["heat"][0])] == [43, 64]
    with Image.open("sub/dove.png") as overlay:
        assert overlay.size == (90, 60)
    code, out, _ = run("locate", "foto.png", "il gatto", "--model", tiny_folder)
    assert code == 0
    assert "overlay: foto-located.jpg" in out
    assert (tmp_path / "foto-located.jpg").is_file()


def test_locate_refuses_what_cannot_be(run, tiny_folder, tmp_path):
    picture = tmp_path / "foto.png"
    Image.new("RGB", (9, 9)).save(picture)
    before = picture.read_bytes()
    os.link(picture, tmp_path / "same.png")
    for arguments, expected, words in [
        ([picture, " "], 2, "the query is empty"),
        ([tmp_path / "no.png", "x"], 1, "no such picture"),
        ([tmp_path, "x"], 1, "a folder; give a picture"),
        ([picture, "x", "-o", tmp_path / "x.txt"], 2, "the output is a picture"),
        ([picture, "x", "-o", tmp_path / "same.png"], 2, "would replace the picture itself"),
        ([picture, "x", "--language", "xx"], 2, "language 'xx'"),
    ]:
        code, out, err = run("locate", *arguments, "--model", tiny_folder)
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert (code, len(lines)) == (expected, 1), (arguments, err)
        assert words in lines[0]
        assert out == ""
    assert picture.read_bytes() == before
