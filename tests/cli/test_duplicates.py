"""`index duplicates` as people use it: text, paths, JSON, and the page."""

import json
from html.parser import HTMLParser

import pytest

from tests.search.test_duplicates import save, scene

ODD = 'a "b" <i>&amp; c\'.jpg'


class Page(HTMLParser):
    """The checkboxes of a page by path, and the text of its field."""

    def __init__(self, text):
        super().__init__()
        self.boxes, self.field, self.inside = {}, "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "input":
            self.boxes[given["value"]] = "checked" in given
        self.inside = tag == "textarea"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.field += data if self.inside else ""


@pytest.fixture
def index(run, tmp_path, tiny_folder):
    photos = tmp_path / "photos"
    save(scene(1), photos / "best.jpg")
    save(scene(1), photos / ODD, quality=60)
    save(scene(1), photos / "two\nlines.jpg", quality=50)
    for number in range(2):
        save(scene(2), photos / f"burst-{number}.jpg", f"2024:06:01 10:00:0{number}", quality=90 - number)
    for seed in range(3, 6):
        save(scene(seed), photos / f"{seed}.jpg")
    code, _, err = run("index", "build", photos, "-o", tmp_path / "idx", "--model", tiny_folder)
    assert code == 0, err
    return tmp_path / "idx"


def test_text_paths_and_json(run, index, tmp_path):
    photos = tmp_path / "photos"
    before = {path: path.read_bytes() for path in photos.iterdir()}
    found = json.loads(run("index", "duplicates", index, "--json", "--cosine", 1)[1])["groups"]
    assert [(one["kind"], [picture["id"] for picture in one["pictures"]]) for one in found] == [
        ("copies", ["best.jpg", ODD, "two\nlines.jpg"]),
        ("bursts", ["burst-0.jpg", "burst-1.jpg"]),
    ]
    assert [picture["best"] for picture in found[0]["pictures"]] == [True, False, False]
    best = found[0]["pictures"][0]
    assert (best["path"], best["width"], best["height"]) == (str(photos / "best.jpg"), 320, 240)
    assert best["bytes"] == (photos / "best.jpg").stat().st_size
    paths = ("index", "duplicates", index, "--cosine", 1, "--paths")
    assert run(*paths)[1].splitlines() == [str(photos / ODD), str(photos / "burst-1.jpg")]
    assert run(*paths, "--kind", "copies")[1] == f"{photos / ODD}\n", (
        "no name of two lines, which another would read as two"
    )
    assert run(*paths, "--kind", "bursts")[1] == f"{photos / 'burst-1.jpg'}\n"
    code, out, err = run("index", "duplicates", index, "--kind", "bursts", "--cosine", 1)
    assert (code, out.splitlines()[0]) == (0, "bursts: 2 pictures")
    size = (photos / "burst-0.jpg").stat().st_size / 1e3
    assert out.splitlines()[1].split() == ["*", "320", "x", "240,", f"{size:.0f}", "kB", str(photos / "burst-0.jpg")]
    assert (
        err == f"bursts: 1 groups; 1 pictures beside the best, {(photos / 'burst-1.jpg').stat().st_size / 1e6:.1f} MB\n"
    )
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_the_page(run, index, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    photos = tmp_path / "photos"
    code, _, err = run("index", "duplicates", index, "--open", "--language", "de", "--cosine", 1)
    assert code == 0, err
    assert opened == [(index / "duplicates.html").resolve().as_uri()]
    text = (index / "duplicates.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.boxes == {
        str(photos / "best.jpg"): False, str(photos / ODD): True,
        str(photos / "burst-0.jpg"): False, str(photos / "burst-1.jpg"): False,
    }  # fmt: skip
    assert page.field.strip("\n") == str(photos / ODD), "as without scripts"
    assert '<html lang="de">' in text and "<i>" not in text
    assert text.count("data:image/jpeg") == 5
    assert "http" not in text.replace("http-equiv", ""), "it loads nothing"


def test_nothing_found_and_no_index(run, index, tmp_path):
    run("index", "remove", index, "best.jpg", "burst-*", "two*")
    code, out, err = run("index", "duplicates", index, "--html", tmp_path / "page.html")
    assert (code, out) == (0, "")
    assert err == f"page: {tmp_path / 'page.html'}\nno duplicates found\n"
    assert "<form" not in (tmp_path / "page.html").read_text()
    assert json.loads(run("index", "duplicates", index, "--json")[1])["groups"] == []
    for arguments, expected, words in (
        ([tmp_path / "none"], 1, "no index here"),
        ([index, "--language", "xx"], 2, "available: de, es, it"),
        ([index, "--kind", "twins"], 2, "twins"),
    ):
        code, out, err = run("index", "duplicates", *arguments)
        assert (code, out, words in err) == (expected, "", True), err
