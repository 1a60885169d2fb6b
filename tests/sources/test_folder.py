"""Captions beside pictures and inside them, written here by Pillow and by hand."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pictures.walk import Choice
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.folder import Folder, captions_of
from clip_italian.sources.sidecars import Stamps

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
    with pytest.raises(UserError, match="no pictures found"):
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


def service(path, **values):
    """The JSON that a photo service exports beside a picture."""
    told = {"title": "a.jpg", "description": "", "photoTakenTime": {"timestamp": "1717194600"}, "geoData": {}}
    path.write_text(json.dumps(told | values))


def darktable(path, properties):
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:Flash="0">'
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def alternatives(name, *texts):
    items = "".join(f'<rdf:li xml:lang="{language}">{text}</rdf:li>' for language, text in texts)
    return f"<dc:{name}><rdf:Alt>{items}</rdf:Alt></dc:{name}>"


def wide(**tags):
    """Windows' own tags, and others by number."""
    data = Image.Exif()
    for name, text in tags.items():
        data[{"title": 0x9C9B, "comment": 0x9C9C, "subject": 0x9C9F}[name]] = f"{text}\0".encode("utf-16-le")
    return data


def commented(raw):
    data = Image.Exif()
    data.get_ifd(0x8769)[0x9286] = raw
    return data


def test_every_source_of_a_caption_is_tried(tmp_path):
    for number, name in enumerate("abcdefgh"):
        picture(tmp_path / f"{name}.jpg", number, exif=exif(f"dentro {name}"))
    (tmp_path / "a.txt").write_text("\n  \n")
    (tmp_path / "b.json").write_text('{"caption": " ", "license": "CC0"}')
    service(tmp_path / "c.jpg.json")  # a title that is a file name, an empty description
    darktable(tmp_path / "d.jpg.xmp", alternatives("description", ("x-default", "")))
    service(tmp_path / "e.jpg.json", description="dal servizio")
    darktable(tmp_path / "f.xmp", alternatives("title", ("x-default", "un titolo")))
    service(tmp_path / "g.jpg.json", description="dal servizio")
    (tmp_path / "g.txt").write_text("scritto a mano")
    (tmp_path / "h.txt").mkdir()
    kept, rejects = read(tmp_path)
    assert {name[0]: row.captions for name, row in kept.items()} == {
        "a": ("dentro a",), "b": ("dentro b",), "c": ("dentro c",), "d": ("dentro d",), "e": ("dal servizio",),
        "f": ("dentro f",), "g": ("scritto a mano",), "h": ("dentro h",),
    }  # fmt: skip
    assert kept["b.jpg"].license == "CC0"
    assert rejects == []


def test_xmp_sidecars(tmp_path):
    for number, name in enumerate("abcd"):
        picture(tmp_path / f"{name}.jpg", number)
    darktable(
        tmp_path / "a.jpg.xmp", alternatives("description", ("x-default", " "), ("it", "un gatto &amp; un micio"))
    )
    darktable(tmp_path / "b.XMP", alternatives("title", ("x-default", "la piazza vuota")))
    (tmp_path / "c.xmp").write_bytes(XMP.encode("utf-16"))
    darktable(tmp_path / "d.xmp", "")
    text = (tmp_path / "d.xmp").read_text().replace('exif:Flash="0"', 'dc:description="un attributo"')
    (tmp_path / "d.xmp").write_text(text)
    kept, rejects = read(tmp_path)
    assert [row.captions for row in kept.values()] == [
        ("un gatto & un micio",), ("la piazza vuota",), ("un gatto sul tetto, perché no",), ("un attributo",)
    ]  # fmt: skip
    assert rejects == []


LONG = "una passeggiata in montagna con tutta la famiglia e il cane"


@pytest.mark.parametrize(
    ("name", "sidecar", "title"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json", "IMG_1.jpg"),
        ("IMG_1.JPG", "IMG_1.jpg.json", "IMG_1.jpg"),
        ("IMG_1.jpg", "IMG_1.json", "IMG_1.jpg"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json", "IMG_1.jpg"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-me.json", "IMG_1.jpg"),
        ("IMG_1.jpg", "IMG_1.jpg.s.json", "IMG_1.jpg"),
        ("IMG_1(2).jpg", "IMG_1.jpg(2).json", "IMG_1.jpg"),
        ("IMG_1(2).jpg", "IMG_1.jpg.supplemental-metadata(2).json", "IMG_1.jpg"),
        ("IMG_1-edited.jpg", "IMG_1.jpg.supplemental-metadata.json", "IMG_1.jpg"),
        ("IMG_1-modificato.jpg", "IMG_1.jpg.json", "IMG_1.jpg"),
        (f"{LONG[:47]}.jpg", f"{LONG[:46]}.json", f"{LONG}.jpg"),
    ],
)
def test_names_of_takeout(tmp_path, name, sidecar, title):
    picture(tmp_path / name)
    service(tmp_path / sidecar, title=title, description="una foto dal telefono")
    other = picture(tmp_path / "IMG_1x.jpg", 7)
    kept, rejects = read(tmp_path)
    assert {one: row.captions for one, row in kept.items()} == {name: ("una foto dal telefono",)}
    assert rejects == [Reject("", "no-caption", other.name)]
    stamps = [Stamps().of(tmp_path / one, str(tmp_path)) for one in (name, other.name)]
    service(tmp_path / sidecar, title=title, description="una foto")
    changed = [Stamps().of(tmp_path / one, str(tmp_path)) for one in (name, other.name)]
    assert stamps[0] != changed[0] is not None
    assert stamps[1] is changed[1] is None


def test_a_cut_name_is_that_of_the_title(tmp_path):
    for number, end in enumerate("AB"):
        picture(tmp_path / f"{LONG[:46]}{end}.jpg", number)
    service(tmp_path / f"{LONG[:46]}.json", title=f"{LONG[:46]}Altro.jpg", description="la prima")
    service(tmp_path / f"{LONG[:46]}(1).json", title=f"{LONG[:46]}Basta.jpg", description="la seconda")
    kept, _ = read(tmp_path)
    assert [row.captions for row in kept.values()] == [("la prima",), ("la seconda",)]


def test_windows_and_user_comments(tmp_path):
    picture(tmp_path / "comment.jpg", 1, exif=wide(title="Il titolo", comment="È così, perché no"))
    picture(tmp_path / "subject.jpg", 2, exif=wide(title="Il titolo", comment=" ", subject="L’oggetto"))
    picture(tmp_path / "title.jpg", 3, exif=wide(title="Città di notte"))
    picture(tmp_path / "ascii.jpg", 4, exif=commented(b"ASCII\0\0\0un commento\0\0\0"))
    picture(tmp_path / "little.jpg", 5, exif=commented(b"UNICODE\0" + "perché".encode("utf-16-le")))
    picture(tmp_path / "big.jpg", 6, exif=commented(b"UNICODE\0" + "perché".encode("utf-16-be")))
    picture(tmp_path / "none.jpg", 7, exif=commented(b"\0\0\0\0\0\0\0\0" + "così".encode()))
    picture(tmp_path / "empty.jpg", 8, exif=commented(b"ASCII\0\0\0" + b"\0" * 100))
    picture(tmp_path / "noise.jpg", 9, exif=commented(bytes(range(1, 200))))
    kept, rejects = read(tmp_path)
    assert {name.partition(".")[0]: row.captions[0] for name, row in kept.items()} == {
        "comment": "È così, perché no", "subject": "L’oggetto", "title": "Città di notte", "ascii": "un commento",
        "little": "perché", "big": "perché", "none": "così",
    }  # fmt: skip
    assert [reject.text for reject in rejects] == ["empty.jpg", "noise.jpg"]


@pytest.mark.parametrize(
    "junk",
    [
        "OLYMPUS DIGITAL CAMERA         ", "KONICA MINOLTA DIGITAL CAMERA", "SONY DSC", "Exif_JPEG_PICTURE", "oznorWO",
        "cof_soft", "<KENOX S630  / Samsung S630>", "Created with GIMP", "Processed with VSCO with a6 preset",
        "IMG_20240601_003000", "DSC01234.JPG", "PXL_20240601.MP.jpg", "Screenshot 2024-06-01", "a", "12345", "...",
    ],
)  # fmt: skip
def test_what_cameras_write_is_no_caption(tmp_path, junk):
    data = exif(junk)
    data[0x9C9B] = "Una sera d’estate".encode("utf-16-le")
    picture(tmp_path / "a.jpg", exif=data)
    service(tmp_path / "a.jpg.json", title=junk, description=junk)
    kept, _ = read(tmp_path)
    assert kept["a.jpg"].captions == ("Una sera d’estate",)


@pytest.mark.parametrize(
    "text", ["Norvegia", "Foto di un gatto", "una digital camera sul tavolo", "Davide", "Immagine sacra", "P. Rossi"]
)
def test_words_that_look_like_junk_are_captions(tmp_path, text):
    picture(tmp_path / "a.jpg", exif=exif(text))
    assert read(tmp_path)[0]["a.jpg"].captions == (text,)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jpg.json", b"{", "not-json"),
        ("a.json", b" " * (5 << 20), "sidecar-too-large"),
        ("a.txt", b"a" * (2 << 20), "sidecar-too-large"),
        ("a.txt", b"a\0b", "nul-byte"),
        ("a.jpg.xmp", b"<x:xmpmeta", "not-xmp"),
        ("a.xmp", BOMB.encode(), "not-xmp"),
        ("a.xmp", b" " * (17 << 20), "sidecar-too-large"),
    ],
)
def test_a_bad_sidecar_costs_neither_picture_nor_caption(tmp_path, name, content, reason):
    picture(tmp_path / "a.jpg", exif=exif("un cane che corre"))
    (tmp_path / name).write_bytes(content)
    kept, rejects = read(tmp_path)
    assert kept["a.jpg"].captions == ("un cane che corre",)
    assert [(reject.reason, reject.text) for reject in rejects] == [(reason, "a.jpg")]


@pytest.mark.parametrize("packet", [b"<broken", BOMB.encode(), b"", b"\xff" * 100, XMP.encode()[:-40]])
def test_broken_metadata_costs_no_other_caption(tmp_path, packet):
    picture(tmp_path / "a.jpg", xmp=packet, exif=exif("un cane che corre"))
    picture(tmp_path / "b.png", xmp=XMP.encode())
    assert read(tmp_path)[0]["a.jpg"].captions == ("un cane che corre",)


def test_utf16_text_and_exiftool(tmp_path):
    picture(tmp_path / "a.jpg", 1)
    (tmp_path / "a.txt").write_bytes("un caffè\r\nuna tazza\r\n".encode("utf-16"))
    picture(tmp_path / "b.jpg", 2)
    (tmp_path / "b.jpg.json").write_text('[{"SourceFile": "b.jpg", "XMP:Description": "il mare d\'inverno"}]')
    kept, rejects = read(tmp_path)
    assert [row.captions for row in kept.values()] == [("un caffè", "una tazza"), ("il mare d'inverno",)]
    assert rejects == []


def png(path, *chunks, behind=()):
    """A PNG with further chunks before its pixels, and behind them."""

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    plain = picture(path).read_bytes()
    start, end = 8 + 25, len(plain) - 12  # the head, and the mark of the end
    parts = [plain[:start], *(chunk(*one) for one in chunks), plain[start:end]]
    path.write_bytes(b"".join([*parts, *(chunk(*one) for one in behind), plain[end:]]))


def test_texts_of_a_png(tmp_path):
    told = b"Description\0un fiore"
    large = zlib.compress(b"x" * (2 << 20))
    png(tmp_path / "behind.png", behind=[(b"tEXt", told)])
    png(tmp_path / "large.png", (b"zTXt", b"k\0\0" + large), (b"tEXt", told))
    png(tmp_path / "large_international.png", (b"iTXt", b"k\0\1\0it\0chiave\0" + large), (b"tEXt", told))
    png(tmp_path / "broken.png", (b"zTXt", b"k\0\0no zlib"), (b"eXIf", b"no exif"), (b"tEXt", told))
    png(tmp_path / "huge.png", (b"tEXt", b"k\0" + b"x" * (17 << 20)), (b"tEXt", told))
    png(tmp_path / "packed.png", (b"iTXt", b"Description\0\1\0it\0\0" + zlib.compress(b"un fiore")))
    png(tmp_path / "xmp.png", behind=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode())])
    data = exif("un fiore").tobytes().removeprefix(b"Exif\0\0")
    png(tmp_path / "exif.png", behind=[(b"eXIf", data)])
    kept, rejects = read(tmp_path)
    assert rejects == []
    assert {name: row.captions[0] for name, row in kept.items() if row.captions != ("un fiore",)} == {
        "xmp.png": "un gatto sul tetto, perché no"
    }
    assert len(kept) == 8


def test_heic(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture(tmp_path / "a.heic", exif=exif("un gatto sul tetto"))
    picture(tmp_path / "b.webp", xmp=XMP.encode())
    picture(tmp_path / "c.tif", exif=exif("la piazza vuota"))
    kept, _ = read(tmp_path)
    assert [row.captions for row in kept.values()] == [
        ("un gatto sul tetto",), ("un gatto sul tetto, perché no",), ("la piazza vuota",)
    ]  # fmt: skip


def test_the_folder_is_walked_as_for_an_index(tmp_path):
    for name in ("a.jpg", "raw/b.jpg", "@eaDir/c.jpg", "d.jpg"):
        picture(tmp_path / "photos" / name, format="JPEG")
    picture(tmp_path / "extern" / "e", format="JPEG")
    for name in ("photos/a", "photos/d", "extern/e"):
        (tmp_path / f"{name}.txt").write_text("un gatto")
    (tmp_path / "photos" / "d.jpg").rename(tmp_path / "photos" / "d.jfif")
    (tmp_path / "photos" / "linked").symlink_to("../extern")
    (tmp_path / "photos" / "gone").symlink_to("nothing")
    (tmp_path / "photos" / "f.nef").write_bytes(b"II*\0")
    found = list(Folder(choice=Choice(("raw/",)))(tmp_path / "photos"))
    assert [Path(row.image).name for row in found if isinstance(row, Pair)] == ["a.jpg", "d.jfif", "e"]
    assert [(row.reason, row.text, row.detail) for row in found if isinstance(row, Reject)] == [
        ("unreadable", "gone", "a broken link (No such file or directory)"),
        ("other-media", "f.nef", "raw"),
        ("excluded", "@eaDir", "@eaDir"),
        ("excluded", "raw", "raw/"),
    ]
