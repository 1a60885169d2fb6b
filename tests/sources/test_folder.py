"""Captions beside pictures and inside them, written here by Pillow and by hand."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.folder import Folder, captions_of

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>
<rdf:li xml:lang="en">a cat</rdf:li><rdf:li xml:lang="x-default">un gatto sul tetto, perché no</rdf:li>
</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"""


def picture(path, seed=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(path.name) if seed is None else seed)
    Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).save(path, **options)
    return path


def exif(text):
    data = Image.Exif()
    data[0x010E] = text
    return data


def iptc(caption):
    """A JPEG application segment 13 with the caption in record 2, data set 120."""
    record = b"\x1c\x02\x78" + len(caption).to_bytes(2, "big") + caption
    resource = b"8BIM\x04\x04\x00\x00" + len(record).to_bytes(4, "big") + record + b"\0" * (len(record) % 2)
    content = b"Photoshop 3.0\x00" + resource
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content


def read(folder):
    found = list(Folder()(folder))
    kept = {row.image.removeprefix(f"{folder}/"): row for row in found if isinstance(row, Pair)}
    return kept, [row for row in found if isinstance(row, Reject)]


def test_sidecars(tmp_path):
    picture(tmp_path / "a.jpg", 1)
    (tmp_path / "a.txt").write_text("un gatto\n\n  un  micio \nun gatto\n", encoding="utf-8-sig")
    picture(tmp_path / "b" / "b.png", 2)
    (tmp_path / "b" / "b.png.txt").write_bytes("perché no".encode("latin-1"))
    picture(tmp_path / "c.jpg", 3)
    data = {
        "captions": ["uno", " ", "due"],
        "license": "CC0",
        "page": "http://h/p",
        "split": "dev",
        "id": "mio",
        "x": 1,
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    (tmp_path / "c.txt").write_text("not read: the JSON says more")
    kept, rejects = read(tmp_path)
    assert rejects == []
    assert kept["a.jpg"].captions == ("un gatto", "un micio")
    assert kept["a.jpg"].source == tmp_path.name
    assert kept["b/b.png"].captions == ("perché no",)
    assert kept["c.jpg"] == Pair(
        "mio", str(tmp_path / "c.jpg"), ("uno", "due"), tmp_path.name, split="val", license="CC0", page="http://h/p"
    )
    assert len({row.id for row in kept.values()}) == 3


def test_captions_inside_pictures(tmp_path):
    picture(tmp_path / "exif.jpg", exif=exif("un cane che corre"))
    utf8 = picture(tmp_path / "utf8.jpg", exif=exif("cittXX"))
    utf8.write_bytes(utf8.read_bytes().replace(b"cittXX", "città".encode()))
    picture(tmp_path / "xmp.jpg", xmp=XMP.encode(), exif=exif("not this"))
    plain = picture(tmp_path / "iptc.jpg").read_bytes()
    (tmp_path / "iptc.jpg").write_bytes(plain[:2] + iptc("la piazza è vuota".encode()) + plain[2:])
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "un fiore")
    picture(tmp_path / "text.png", pnginfo=text)
    picture(tmp_path / "camera.jpg", exif=exif("OLYMPUS DIGITAL CAMERA         "))
    kept, rejects = read(tmp_path)
    assert {name: row.captions for name, row in kept.items()} == {
        "exif.jpg": ("un cane che corre",),
        "utf8.jpg": ("città",),
        "xmp.jpg": ("un gatto sul tetto, perché no",),
        "iptc.jpg": ("la piazza è vuota",),
        "text.png": ("un fiore",),
    }
    assert rejects == [Reject("", "no-caption", "camera.jpg")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "no-caption"),
        ("a.txt", b"un\0gatto", "nul-byte"),
        ("a.json", b"", "not-json"),
        ("a.json", b"{", "not-json"),
        ("a.json", b"[" * 100_000, "not-json"),
        ("a.json", b'"un gatto"', "no-object"),
        ("a.json", b'{"caption": 3}', "no-caption"),
        ("a.json", b'{"caption": "a\\u0000b"}', "nul-byte"),
        ("a.json", b'{"caption": "\\ud800"}', "broken-text"),
    ],
)
def test_bad_sidecars_are_rejects(tmp_path, name, content, reason):
    picture(tmp_path / "a.jpg")
    (tmp_path / name).write_bytes(content)
    (reject,) = Folder()(tmp_path)
    assert reject.reason == reason


def test_bad_pictures_are_for_cleaning_to_judge_but_never_stop_the_rest(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "b.txt").write_text("una foto")
    kept, rejects = read(tmp_path)
    assert list(kept) == ["b.jpg"]
    assert [reject.reason for reject in rejects] == ["no-caption"]
    with pytest.raises(UserError, match="no pictures in it"):
        (tmp_path / "empty").mkdir()
        list(Folder()(tmp_path / "empty"))


def test_a_pairs_file_of_it(tmp_path):
    picture(tmp_path / "photos" / "a.jpg", 1)
    (tmp_path / "photos" / "a.txt").write_text("un gatto")
    picture(tmp_path / "photos" / "copy.jpg", 1)
    (tmp_path / "photos" / "copy.txt").write_text("un micio")
    collect("folder", Folder("mie"), {}, [tmp_path / "photos"], tmp_path / "out.parquet")
    (row,) = pairs.read(tmp_path / "out.parquet")  # one picture twice is one pair
    assert row.captions == ("un gatto", "un micio")
    assert row.image == "photos/a.jpg"
    assert row.source == "mie"


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        ({"captions": '["a", "b"]', "caption": "c"}, ["a", "b"]),
        ({"captions": [], "caption": " c\n d "}, ["c d"]),
        ({"caption": "[senza titolo"}, ["[senza titolo"]),
        ({}, []),
    ],
)
def test_captions_of_an_object(data, captions):
    assert captions_of(data) == captions
