"""Photos of the day: from addresses by a site that goes wrong at times, from saved pages, and from tables."""

import gzip
import json
import shutil
import signal
import threading
import time

import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.sources.collect import collect
from clip_italian.sources.ilpost import IlPost
from clip_italian.sources.tables import JsonLines
from clip_italian.sources.text import key_id
from clip_italian.sources.web import Policy
from tests.forked import Forked
from tests.sources.site import Site, figure, html
from tests.wait import until

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8">
<link rel="canonical" href="https://www.ilpost.it/2021/05/03/foto-giorno/">
<meta property="og:image" content="https://static.ilpost.it/og.jpg"></head><body>
<figure class="wp-caption"><img src="/blank.gif" data-src="/wp-content/a.jpg"
  data-srcset="/wp-content/a-300x200.jpg 300w, /wp-content/a-1200x800.jpg 1200w">
  <figcaption>Un cane (un bassotto) corre sulla <em>spiaggia</em> di Rimini<br>(AP Photo/Mario Rossi)</figcaption>
</figure>
<figure><img src="b.jpg"></figure>
<figure><img src="c.jpg"><figcaption>(ANSA)</figcaption></figure>
</body></html>"""
CANONICAL = "https://www.ilpost.it/2021/05/03/foto-giorno/"


@pytest.fixture
def read(tmp_path):
    return IlPost(tmp_path / "pages", Policy(rate=1_000.0, timeout=4.0, retries=1, first_pause=0.01))


def found(read, path, raw):
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return list(read(path))


def short(items):
    """Captions of pairs, reasons of rejects."""
    return [item.captions[0] if isinstance(item, Pair) else item.reason for item in items]


# Pages


def test_a_saved_page(read, tmp_path):
    first, *others = found(read, tmp_path / "a.html", PAGE)
    image = "https://www.ilpost.it/wp-content/a-1200x800.jpg"
    caption = "Un cane (un bassotto) corre sulla spiaggia di Rimini"
    licence = "credit: AP Photo/Mario Rossi"
    assert first == Pair(key_id("url", image), image, (caption,), "ilpost", license=licence, page=CANONICAL)
    assert [(reject.reason, reject.text, reject.detail) for reject in others] == [
        ("no-caption", f"{CANONICAL}b.jpg", CANONICAL),
        ("no-caption", f"{CANONICAL}c.jpg", CANONICAL),
    ]


@pytest.mark.parametrize(
    ("caption", "licence"),
    [
        ("Un cane (ANSA)", "credit: ANSA"),
        ("Un cane <span class=credit>Foto: Mario Rossi</span>", "credit: Foto: Mario Rossi"),
        ("Un cane (un bassotto)", None),
        ("Un cane (AP Photo/Rossi) (via LaPresse)", "credit: AP Photo/Rossi; via LaPresse"),
    ],
)
def test_the_credit_is_kept_in_the_row(read, tmp_path, caption, licence):
    (pair,) = found(
        read, tmp_path / "a.html", f"<figure><img src='http://h/a.jpg'><figcaption>{caption}</figcaption></figure>"
    )
    assert (pair.license, pair.captions[0].startswith("Un cane")) == (licence, True)
    assert "Rossi" not in pair.captions[0]


def test_pages_without_photos(read, tmp_path):
    for raw in (
        b"",
        b"\0" * 100,
        b"<html><body>niente</body></html>",
        b"\xff\xfe\xff",
        b"testo",
        "<p>città".encode("latin-1"),
    ):
        assert found(read, tmp_path / "a.html", raw) == [Reject("", "no-photo", str(tmp_path / "a.html"))]
    assert short(found(read, tmp_path / "a.html.gz", gzip.compress(PAGE.encode())[:-20])) == ["damaged-gzip"]


def test_the_picture_of_the_page_stands_in_for_one_figure_only(read, tmp_path):
    head = '<meta property="og:image" content="https://h/og.jpg">'
    lazy = '<figure><img src="data:image/gif;base64,R0"><figcaption>Un cane</figcaption></figure>'
    (pair,) = found(read, tmp_path / "a.html", head + lazy)
    assert (pair.image, pair.page) == ("https://h/og.jpg", None)
    assert short(found(read, tmp_path / "a.html", head + lazy * 2)) == ["no-photo"] * 2
    assert short(found(read, tmp_path / "a.html", lazy)) == ["no-photo"]
    relative = "<figure><img src=a.jpg><figcaption>Un cane</figcaption></figure>"
    assert short(found(read, tmp_path / "a.html", relative)) == ["no-photo"]


def test_pictures_that_a_browser_saved_beside_the_page(read, tmp_path):
    folder = tmp_path / "Foto del giorno_files"
    folder.mkdir()
    Image.new("RGB", (4, 4), "red").save(folder / "a.jpg")
    body = '<figure><img src="./Foto%20del%20giorno_files/a.jpg"><figcaption>Un cane</figcaption></figure>'
    (pair,) = found(read, tmp_path / "Foto del giorno.html", body)
    assert pair.image == str(folder / "a.jpg")
    assert pair.id.startswith("img-")


def test_a_folder_of_saved_pages_and_their_encodings(read, tmp_path):
    page = "<meta charset=iso-8859-1><figure><img src=http://h/{0}.jpg><figcaption>Città {0}</figcaption></figure>"
    folder = tmp_path / "saved"
    (folder / "2020" / "b").mkdir(parents=True)
    (folder / "2020" / "a.HTM").write_bytes(page.format(1).encode("latin-1"))
    (folder / "2020" / "b" / "x.html").write_bytes(b"\xef\xbb\xbf" + page.format(2).encode())
    (folder / "c.html.gz").write_bytes(gzip.compress(page.format(3).encode()))
    (folder / "d.xhtml").write_bytes(page.format(4).encode("utf-16"))
    (folder / "e.html").mkdir()
    (folder / "notes.txt").write_text("x")
    assert short(read(folder)) == ["Città 1", "Città 2", "Città 3", "Città 4"]


# Lists of addresses


def test_a_list_of_addresses(read, tmp_path):
    busy = [(429, b"", {"Retry-After": "1"}), (200, figure(2).encode(), {"Content-Type": "text/html"})]
    latin = "<figure><img src=3.jpg><figcaption>Perché</figcaption></figure>".encode("latin-1")
    answers = {
        "/robots.txt": lambda _: (200, b"User-agent: *\nDisallow: /private/", {}),
        "/1": html(figure(1)),
        "/2": lambda number: busy[number - 1],
        "/old": lambda _: (301, b"", {"Location": "/new/3"}),
        "/new/3": lambda _: (200, latin, {"Content-Type": "text/html; charset=ISO-8859-1"}),
        "/none": html("<p>niente"),
        "/slow": lambda _: (time.sleep(20), (200, b"", {}))[1],
    }
    with Site(answers) as site, Site({}) as gone:
        gone_url = gone.url("/x")
        gone.server_close()
        paths = ("/1", "/2", "/old", "/none", "/404", "/private/1", "/slow", "/1#again")
        lines = ["\ufeff# le foto", "", *map(site.url, paths), gone_url, "ilpost.it/x", "  ", "http://[x", "a\0b"]
        items = found(read, tmp_path / "list.txt", "\r\n".join(lines))
        assert [pair.page for pair in items if isinstance(pair, Pair)] == [site.url(path) for path in paths[:3]]
        assert [pair.image for pair in items if isinstance(pair, Pair)] == [
            site.url("/foto/1.jpg"), site.url("/foto/2.jpg"), site.url("/new/3.jpg"),
        ]  # fmt: skip
    assert short(items) == [
        "Il cane numero 1", "Il cane numero 2", "Perché", "no-photo", "http-404", "robots", "timeout",
        "duplicate-address", "no-connection", "bad-address", "bad-address", "nul-byte",
    ]  # fmt: skip
    assert items[4].detail == "list.txt, line 7"
    assert items[9] == Reject("", "bad-address", "ilpost.it/x", "list.txt, line 12")


def test_no_network_is_told_in_one_line(read, tmp_path):
    with Site({}) as site:
        url = site.url("/x")
    (tmp_path / "list.txt").write_text(f"{url}\n{url}y\n")
    with pytest.raises(UserError, match=r"list\.txt: no pairs found; rejected: no-connection 2"):
        collect("ilpost", read, {}, [tmp_path / "list.txt"], tmp_path / "o.parquet")


def test_a_kept_page_that_was_damaged(read, tmp_path):
    with Site({"/1": html(figure(1))}) as site:
        assert short(found(read, tmp_path / "list.txt", site.url("/1"))) == ["Il cane numero 1"]
        (kept,) = (tmp_path / "pages").iterdir()
        kept.write_bytes(kept.read_bytes()[:-5])
        (reject,) = read(tmp_path / "list.txt")
        assert reject.reason == "damaged-gzip"


def test_kept_pages_are_saved_pages(read, tmp_path):
    with Site({"/1": html(figure(1))}) as site:
        (listed,) = found(read, tmp_path / "list.txt", site.url("/1"))
    assert list(read(tmp_path / "pages")) == [listed]


@pytest.mark.integration
def test_a_killed_run_asks_for_no_page_twice(read, tmp_path):
    count = 24
    answers = {f"/{number}": html(figure(number)) for number in range(count) if number % 6}
    killed = threading.Event()
    held = answers["/10"]
    answers["/10"] = lambda number: (killed.wait(60), held(number))[1]
    addresses, output = tmp_path / "list.txt", tmp_path / "o.jsonl"
    with Site(answers) as site:
        addresses.write_text("\n".join(site.url(f"/{number}") for number in range(count)))
        slowly = IlPost(tmp_path / "pages", Policy(rate=20.0))
        process = Forked(collect, "ilpost", slowly, {}, [addresses], output)
        until(lambda: "/10" in site.paths(), process)
        process.send_signal(signal.SIGKILL)
        killed.set()
        assert process.wait() == -signal.SIGKILL
        assert not output.exists()
        collect("ilpost", read, {}, [addresses], output)
        assert set(site.paths()) == {f"/{number}" for number in range(count)}
        assert len(site.paths()) <= count + 1  # the page under way at the kill had not come
        shutil.rmtree(tmp_path / "pages")
        collect("ilpost", read, {}, [addresses], tmp_path / "undisturbed.jsonl")
    assert output.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
    assert [pair.page.rpartition("/")[2] for pair in pairs.read(output)] == [str(n) for n in range(count) if n % 6]
    rejected = [(reject.reason, reject.text.rpartition("/")[2]) for reject in read_rejects(rejects_path(output))]
    assert rejected == [("http-404", number) for number in ("0", "6", "12", "18")]


# Tables


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Didascalia,URL\nUn cane,http://h/a.jpg\n"),
        ("a.csv", "\ufeffimmagine;testo\nhttp://h/a.jpg;Un cane\n"),
        ("a.tsv", "title\tcaption\timg\nNo\tUn cane\thttp://h/a.jpg\n"),
        ("a.jsonl", '{"url": "http://h/a.jpg", "didascalia": "Un cane"}\n'),
        ("a.jsonl", '\nrotto\n[1]\n{"image_url": "http://h/a.jpg", "url": "http://h/page", "title": "Un cane"}\n'),
        ("a.json", '[{"image_path": "http://h/a.jpg", "captions": ["Un cane"]}, 7]'),
        ("a.json", '{"image": "http://h/a.jpg", "caption": "Un cane", "source": "other"}\n'),
    ],
)
def test_tables(read, tmp_path, name, text):
    (pair,) = (item for item in found(read, tmp_path / name, text) if isinstance(item, Pair))
    assert (pair.image, pair.captions, pair.source) == ("http://h/a.jpg", ("Un cane",), "ilpost")


def test_tables_share_ids_with_pages(read, tmp_path):
    (page, *_) = found(read, tmp_path / "a.html", PAGE)
    line = json.dumps({"image": page.image, "caption": "Altro"})
    (row,) = found(read, tmp_path / "a.jsonl", line)
    assert row.id == page.id
    assert next(iter(JsonLines()(tmp_path / "a.jsonl"))).id == page.id


@pytest.mark.parametrize(
    ("name", "raw", "reasons"),
    [
        ("a.csv", b"", []),
        ("a.json", b"", []),
        ("a.json", b"[]", []),
        ("a.json", b"[{", ["not-json"]),
        ("a.json", b"[1, null]", ["no-object", "no-object"]),
        ("a.json", b"[" * 100_000, ["not-json"]),
        ("a.jsonl", b"{\n\0\n", ["not-json", "nul-byte"]),
        ("a.jsonl", b'{"url": "http://h/a", "text": "perch\xe9"}\n', ["perché"]),
        ("a.csv", b"url,text\nhttp://h/a,\nhttp://h/b\n,x\n", ["no-caption", "wrong-columns", "no-image"]),
        ("a.csv", b"url,text\nhttp://h/a,citt\xe0\n", ["città"]),
    ],
)
def test_bad_tables(read, tmp_path, name, raw, reasons):
    assert short(found(read, tmp_path / name, raw)) == reasons


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "no column for the picture among 'a, b'"), ("url,b\n", "no column for the caption")],
)
def test_unknown_columns(read, tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        found(read, tmp_path / "a.csv", text)
