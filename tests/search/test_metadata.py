"""Metadata of pictures and their sidecars in the rows of an index, also of one that an older version made."""

import json
import os
from datetime import date, datetime
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from clip_italian.errors import UserError
from clip_italian.files.digests import sha256_of
from clip_italian.pictures.coordinates import Point
from clip_italian.search import metadata, update
from clip_italian.search.filters import Filter, Near
from clip_italian.search.index import Index
from clip_italian.search.schema import CONTENT
from clip_italian.search.storage import NAMES_FILE, ROWS_FILE
from clip_italian.search.verify import verify
from clip_italian.sources import sidecars
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder

NOTHING = dict.fromkeys(metadata.COLUMNS) | {"keywords": []}


def test_what_is_no_picture_has_no_metadata():
    assert metadata.read(b"no picture") == NOTHING


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:core="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
 exif:GPSLatitude="40,56.1N" exif:GPSLongitude="8,13.8E" tiff:Make="SONY" tiff:Model="ILCE-7"
 photoshop:City="Stintino" photoshop:State="Sardegna" photoshop:Country="Italia" core:Location="La Pelosa">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">La spiaggia</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>mare</rdf:li><rdf:li>Estate</rdf:li></rdf:Bag></dc:subject>
<lr:hierarchicalSubject><rdf:Bag><rdf:li>Luoghi|Sardegna</rdf:li></rdf:Bag></lr:hierarchicalSubject>
<ext:PersonInImage><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></ext:PersonInImage>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def gps(latitude=(45, 27, 51.12), south="N", longitude=(9, 11, 24), west="E"):
    data = Image.Exif()
    data[0x010F], data[0x0110] = "NIKON CORPORATION\0", "NIKON D90"
    data[0x9C9E] = "Festa;mare".encode("utf-16-le")
    data.get_ifd(0x8825).update({1: south, 2: latitude, 3: west, 4: longitude})
    return data


def test_metadata_inside_a_picture(tmp_path):
    noise(1).save(tmp_path / "a.jpg", exif=gps())
    found = metadata.read((tmp_path / "a.jpg").read_bytes())
    expected = {"camera": "NIKON D90", "keywords": ["Festa", "mare"]}
    expected |= {"latitude": pytest.approx(45.4642), "longitude": pytest.approx(9.19)}
    assert found == NOTHING | expected
    noise(1).save(tmp_path / "a.jpg", exif=gps(south="S", west="W"))
    found = metadata.read((tmp_path / "a.jpg").read_bytes())
    assert (found["latitude"], found["longitude"]) == (pytest.approx(-45.4642), pytest.approx(-9.19))


def test_metadata_in_xmp_and_beside_a_picture(tmp_path):
    in_xmp = {
        "title": "La spiaggia", "keywords": ["mare", "Estate", "Anna", "Luoghi", "Sardegna"], "camera": "SONY ILCE-7",
        "location": "La Pelosa, Stintino, Sardegna, Italia",
        "latitude": pytest.approx(40.935), "longitude": pytest.approx(8.23),
    }  # fmt: skip
    path = tmp_path / "a.jpg"
    noise(1).save(path, xmp=XMP.encode())
    assert metadata.read(path.read_bytes()) == NOTHING | in_xmp
    noise(1).save(path)
    (tmp_path / "a.xmp").write_text(XMP)
    assert metadata.read(path.read_bytes(), path) == NOTHING | in_xmp
    assert metadata.read(path.read_bytes()) == NOTHING, "part of an archive, which has no sidecars"
    # The picture's own coordinates and camera come first, keywords of both are joined without regard to case.
    noise(1).save(path, exif=gps())
    found = metadata.read(path, path)
    assert (found["camera"], found["latitude"]) == ("NIKON D90", pytest.approx(45.4642))
    assert found["keywords"] == ["Festa", "mare", "Estate", "Anna", "Luoghi", "Sardegna"]


def test_iptc(tmp_path):
    def entry(tag, text):
        return bytes([0x1C, 2, tag]) + len(text.encode()).to_bytes(2, "big") + text.encode()

    facts = [(25, "mare"), (25, "città"), (90, "Alghero"), (95, "Sardegna"), (101, "Italia"), (5, "Il porto")]
    records = b"".join(entry(*fact) for fact in facts)
    resource = b"8BIM\x04\x04\0\0" + len(records).to_bytes(4, "big") + records + b"\0" * (len(records) % 2)
    body = b"Photoshop 3.0\0" + resource
    noise(1).save(tmp_path / "a.jpg")
    plain = (tmp_path / "a.jpg").read_bytes()
    found = metadata.read(plain[:2] + b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:])
    expected = {"title": "Il porto", "keywords": ["mare", "città"], "location": "Alghero, Sardegna, Italia"}
    assert found == NOTHING | expected


def test_takeout_and_exiftool(tmp_path):
    path = tmp_path / "IMG_1.jpg"
    noise(1).save(path)
    data = {
        "title": "IMG_1.jpg", "description": "Il compleanno", "people": [{"name": "Anna"}, {"x": 1}],
        "geoData": {"latitude": 0.0, "longitude": 0.0}, "geoDataExif": {"latitude": -33.9, "longitude": 18.4},
    }  # fmt: skip
    (tmp_path / "IMG_1.jpg.supplemental-metadata.json").write_text(json.dumps(data))
    expected = {"description": "Il compleanno", "keywords": ["Anna"], "latitude": -33.9, "longitude": 18.4}
    assert metadata.read(path, path) == NOTHING | expected
    data = {
        "IPTC:Keywords": ["mare", "sole"], "XMP:City": "Bari", "EXIF:Make": "Apple", "EXIF:Model": "iPhone 12",
        "Composite:GPSLatitude": "41 deg 7' 30.00\" N", "Composite:GPSLongitude": "16 deg 52' 12.00\" E",
    }  # fmt: skip
    (tmp_path / "IMG_1.jpg.supplemental-metadata.json").unlink()
    (tmp_path / "IMG_1.jpg.json").write_text(json.dumps([data]))
    expected = {"keywords": ["mare", "sole"], "location": "Bari", "camera": "Apple iPhone 12"}
    expected |= {"latitude": pytest.approx(41.125), "longitude": pytest.approx(16.87)}
    assert metadata.read(path, path) == NOTHING | expected


def test_captions_beside_a_picture_are_its_description(tmp_path):
    path = tmp_path / "a.jpg"
    noise(1).save(path)
    (tmp_path / "a.txt").write_text("\n  un gatto  nero\nun micio\n")
    assert metadata.read(path, path) == NOTHING | {"description": "un gatto nero"}
    (tmp_path / "a.jpg.json").write_text('{"captions": ["due gatti", 3], "description": "x y"}')
    assert metadata.read(path, path) == NOTHING | {"description": "due gatti"}
    (tmp_path / "a.jpg.json").write_bytes(b"{broken")
    (tmp_path / "a.txt").write_bytes(b"\0")
    assert metadata.read(path, path) == NOTHING


def test_texts_that_are_too_long_are_cut_or_left_out(tmp_path):
    path = tmp_path / "a.jpg"
    noise(1).save(path)
    words = [f"parola {number}" for number in range(200)]
    (tmp_path / "a.jpg.json").write_text(json.dumps({"description": "è " * 30_000, "keywords": ["x" * 101, *words]}))
    found = metadata.read(path, path)
    assert (len(found["description"]), found["keywords"]) == (10_000, words[:100])


ORIGINAL, DIGITIZED, CHANGED, OFFSET = 0x9003, 0x9004, 0x0132, 0x9011


def dated(**tags):
    data = Image.Exif()
    for name, value in tags.items():
        tag = {"original": ORIGINAL, "digitized": DIGITIZED, "changed": CHANGED, "offset": OFFSET}[name]
        (data if tag == CHANGED else data.get_ifd(0x8769))[tag] = value
    return data


def packet(properties):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {properties}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def picture(path, **options):
    noise(1).save(path, **options)
    return path


def when(path):
    return metadata.read(path.read_bytes(), path)["taken"]


def test_the_order_of_dates(tmp_path, rome):
    path = tmp_path / "a.jpg"
    tags = {"original": "2001:01:01 01:00", "digitized": "2002:01:01 01:00:00", "changed": "2006:01:01 01:00:00"}
    inside = {"xmp": packet('xmp:CreateDate="2003-01-01T01:00"')}
    (tmp_path / "a.xmp").write_bytes(packet('photoshop:DateCreated="2004-01-01"'))
    (tmp_path / "a.jpg.json").write_text(json.dumps({"photoTakenTime": {"timestamp": "1104537600"}}))
    found = [when(picture(path, exif=dated(**tags), **inside))]
    tags["original"] = "0000:00:00 00:00:00"
    found.append(when(picture(path, exif=dated(**tags), **inside)))
    del tags["digitized"]
    found.append(when(picture(path, exif=dated(**tags), **inside)))
    found.append(when(picture(path, exif=dated(**tags))))
    (tmp_path / "a.xmp").write_bytes(b"<broken")
    found.append(when(path))
    (tmp_path / "a.jpg.json").write_text('{"photoTakenTime": {"timestamp": "0"}}')
    found.append(when(path))
    found.append(when(picture(path)))
    assert found == [
        datetime(2001, 1, 1, 1), datetime(2002, 1, 1, 1), datetime(2003, 1, 1, 1), datetime(2004, 1, 1),
        datetime(2005, 1, 1, 1), datetime(2006, 1, 1, 1), None,
    ]  # fmt: skip


def test_offsets(tmp_path, rome):
    path = tmp_path / "a.jpg"
    evening = "2024:05:31 22:30:00"
    assert when(picture(path, exif=dated(original=evening, offset="-05:00"))) == datetime(2024, 5, 31, 22, 30)
    assert when(picture(path, exif=dated(original=evening, offset="Z"))) == datetime(2024, 6, 1, 0, 30)
    assert when(picture(path, exif=dated(original=evening, offset="  :  "))) == datetime(2024, 5, 31, 22, 30)
    tokyo = packet('exif:DateTimeOriginal="2024-06-01T00:30:00+09:00"')
    assert when(picture(path, xmp=tokyo)) == datetime(2024, 6, 1, 0, 30)
    instant = packet('exif:DateTimeOriginal="2024-05-31T22:30:00Z"')
    assert when(picture(path, xmp=instant)) == datetime(2024, 6, 1, 0, 30)
    written_by_darktable = packet('exif:DateTimeOriginal="2024:06:01 00:30:00.000"')
    assert when(picture(path, xmp=written_by_darktable)) == datetime(2024, 6, 1, 0, 30)
    text = PngImagePlugin.PngInfo()
    text.add_text("Creation Time", "Sat, 1 Jun 2024 00:30:00 +0200")
    assert when(picture(tmp_path / "a.png", pnginfo=text)) == datetime(2024, 6, 1, 0, 30)


def test_all_dates_of_an_index_are_on_one_clock(tmp_path, model, rome):
    folder = tmp_path / "photos"
    folder.mkdir()
    instant = 1717194600  # half past midnight of 1 June in Rome, 31 May in UTC
    for number, name in enumerate(("file", "exif", "takeout", "before")):
        noise(number).save(
            folder / f"{name}.jpg", exif=dated(**({"original": "2024:06:01 00:30"} if name == "exif" else {}))
        )
        os.utime(folder / f"{name}.jpg", (instant, instant if name == "file" else 1_000_000_000))
    for name, seconds in (("takeout", instant), ("before", instant - 1801)):
        told = {"title": f"{name}.jpg", "photoTakenTime": {"timestamp": str(seconds)}}
        (folder / f"{name}.jpg.supplemental-metadata.json").write_text(json.dumps(told))
    update.build(tmp_path / "idx", [folder], model)
    index = Index.open(tmp_path / "idx")

    def found(since, until):
        hits = index.search(np.eye(24)[0], 9, where=Filter(since=since, until=until))
        return sorted(hit.id.removesuffix(".jpg") for hit in hits)

    assert found(date(2024, 6, 1), date(2024, 6, 1)) == ["exif", "file", "takeout"]
    assert found(None, date(2024, 5, 31)) == ["before"]
    assert found(datetime(2024, 6, 1, 0, 30), datetime(2024, 6, 1, 0, 30)) == ["exif", "file", "takeout"]
    assert found(datetime(2024, 6, 1, 0, 30, 1), None) == []


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, None), (-86_400, datetime(1969, 12, 31, 1)), (1, datetime(1970, 1, 1, 1, 0, 1))]
)
def test_a_time_of_change_of_zero_is_unknown(tmp_path, model, rome, seconds, taken):
    """Programs that make archives and images of disks set it, so that two of them are equal."""
    noise(1).save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", (seconds, seconds))
    update.build(tmp_path / "idx", [tmp_path], model)
    (table,) = (table for table, _ in Index.open(tmp_path / "idx").store.content(["taken"]))
    assert table["taken"].to_pylist() == [taken]


def rows(index):
    columns = ["row", "id", *CONTENT.names]
    return [row for table, _ in Index.open(index).store.content(columns) for row in table.to_pylist()]


def made_older(index):
    """Turn an index into one of format 2, whose rows have no metadata but the date, and no stamps of sidecars."""
    path = index / "index.json"
    manifest = json.loads(path.read_text()) | {"format": 2}
    gone = ["sidecars", *CONTENT.names[CONTENT.names.index("taken") + 1 :]]
    for segment in manifest["segments"]:
        folder = index / segment["name"]
        pq.write_table(pq.ParquetFile(folder / ROWS_FILE).read().drop_columns(gone), folder / ROWS_FILE)
        names = pa.ipc.open_file(folder / NAMES_FILE).read_all().drop_columns(["taken", "latitude", "longitude"])
        with pa.ipc.new_file(str(folder / NAMES_FILE), names.schema) as file:
            file.write_table(names)
        for name in (ROWS_FILE, NAMES_FILE):
            segment["files"][name] = [(folder / name).stat().st_size, sha256_of(folder / name)]
    path.write_text(json.dumps(manifest))


@pytest.fixture
def annotated(photos):
    noise(0).save(photos / "00.jpg", exif=gps())
    (photos / "03.xmp").write_text(XMP)
    return photos


def test_an_index_shows_when_and_where_pictures_were_taken(tmp_path, annotated, model):
    update.build(tmp_path / "idx", [annotated], model)
    hits = {hit.id: hit for hit in Index.open(tmp_path / "idx").search(np.eye(24)[0], 20)}
    assert (hits["00.jpg"].latitude, hits["00.jpg"].longitude) == (pytest.approx(45.4642), pytest.approx(9.19))
    assert (hits["03.png"].latitude, hits["06.png"].latitude) == (pytest.approx(40.935), None)
    written = datetime.fromtimestamp((annotated / "06.png").stat().st_mtime // 1)
    assert hits["06.png"].taken == written
    found = {row["id"]: row for row in rows(tmp_path / "idx")}
    assert found["03.png"]["location"] == "La Pelosa, Stintino, Sardegna, Italia"
    assert found["06.png"]["keywords"] == []


@pytest.mark.parametrize("step", ["build", "add", "refresh", "compact"])
def test_an_older_index_is_searched_and_turned_into_this_format_without_embedding(tmp_path, annotated, step):
    index, encoder = tmp_path / "idx", FakeEncoder()
    model = update.Model(encoder, "fake")
    update.build(index, [annotated], model)
    whole = rows(index)
    made_older(index)
    query = np.eye(24)[0]
    found = Index.open(index).search(query, 20)
    assert len(found) == 13 and all(hit.taken is None for hit in found)
    for where, lacking in (
        (Filter(camera="NIKON"), "camera"),
        (Filter(keywords=("mare",)), "keywords"),
        (Filter(near=Near(Point(45.46, 9.19), 20)), "latitude, longitude"),
        (Filter(equal=(("location", "Roma"),)), "location"),
    ):
        with pytest.raises(UserError, match=f"without {lacking} to filter by; run clip-italian index build again"):
            Index.open(index).search(query, 20, where=where)
    assert len(Index.open(index).search(query, 20, where=Filter(since=date(2000, 1, 1)))) == 13
    (annotated / "06.png").unlink()
    update.remove(index, ["06.png"])
    assert json.loads((index / "index.json").read_text())["format"] == 2, "a removal writes no rows"
    encoder.embedded = 0
    if step == "build":
        update.build(index, [annotated], model)
    elif step == "add":
        update.add(index, [annotated], model)
    elif step == "refresh":
        update.refresh(index, model)
    else:
        update.compact(index)
    assert encoder.embedded == 0
    assert json.loads((index / "index.json").read_text())["format"] == 3
    expected = {row["id"]: row for row in whole if row["id"] != "06.png"}
    if step != "compact":  # the row of a picture with a sidecar is a new one, which remembers the sidecar
        expected["03.png"]["row"] = len(whole)
    assert {row["id"]: row for row in rows(index)} == expected
    assert verify(index) == []
    update.refresh(index, model)
    changed = rows(index)
    assert update.refresh(index, model).added == 0
    assert rows(index) == changed
    assert [hit.id for hit in Index.open(index).search(query, 20, where=Filter(camera="nikon"))] == ["00.jpg"]


def described(text):
    return XMP.replace("La spiaggia", text)


def write_xmp(name):
    def write(folder, title):
        (folder / name).write_text(described(title))

    return write


def write_json(folder, title):
    (folder / "03.png.supplemental-metadata.json").write_text(json.dumps({"title": title, "people": [{"name": title}]}))


def titled(index):
    return {row["id"]: row["title"] for row in rows(index) if row["title"]}


@pytest.mark.parametrize("step", ["build", "add", "refresh"])
@pytest.mark.parametrize("write", [write_xmp("03.png.xmp"), write_xmp("03.xmp"), write_xmp("03.PNG.XMP"), write_json])
def test_a_sidecar_that_changes_is_read_again_without_embedding(tmp_path, photos, write, step):
    index, encoder = tmp_path / "idx", FakeEncoder()
    model = update.Model(encoder, "fake")
    update.build(index, [photos], model)
    vectors = {row["id"]: vector for row, vector in vectors_of(index)}
    encoder.embedded = 0
    steps = {
        "build": lambda: update.build(index, [photos], model),
        "add": lambda: update.add(index, [photos], model),
        "refresh": lambda: update.refresh(index, model),
    }

    def changed():
        change = steps[step]()
        assert (change.embedded, encoder.embedded) == (0, 0)
        assert change.added == change.removed
        assert {row["id"]: vector for row, vector in vectors_of(index)} == vectors
        return change.added, titled(index), words_of(index)

    write(photos, "Il faro")
    assert changed() == (1, {"03.png": "Il faro"}, ["03.png"])
    assert changed() == (0, {"03.png": "Il faro"}, ["03.png"])
    write(photos, "La torre")
    assert changed() == (1, {"03.png": "La torre"}, [])
    for sidecar in (*photos.glob("03*.[xX]*"), *photos.glob("03*.json")):
        sidecar.unlink()
    assert changed() == (1, {}, [])
    assert changed()[0] == 0


def vectors_of(index):
    return [
        (row, vector.tobytes())
        for table, vectors in Index.open(index).store.content(["id"])
        for row, vector in zip(table.to_pylist(), vectors, strict=True)
    ]


def words_of(index):
    """Ids of the pictures that a search for a word finds."""
    return [hit.id for hit in Index.open(index).search(None, 20, words="faro")]


def test_date_keywords_and_place_of_a_changed_sidecar(tmp_path, photos, model, rome):
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    before = {row["id"]: row for row in rows(index)}["03.png"]
    (photos / "03.png.xmp").write_text(XMP)
    update.build(index, [photos], model)
    found = {row["id"]: row for row in rows(index)}["03.png"]
    assert (found["latitude"], found["location"]) == (
        pytest.approx(40.935),
        "La Pelosa, Stintino, Sardegna, Italia",
    )
    assert found["keywords"] == ["mare", "Estate", "Anna", "Luoghi", "Sardegna"]
    (photos / "03.png.xmp").write_bytes(packet('photoshop:DateCreated="2004-01-01"'))
    update.build(index, [photos], model)
    found = {row["id"]: row for row in rows(index)}["03.png"]
    assert found == before | {"row": found["row"], "taken": datetime(2004, 1, 1)}
    (photos / "03.png.xmp").unlink()
    update.build(index, [photos], model)
    found = {row["id"]: row for row in rows(index)}["03.png"]
    assert found == before | {"row": found["row"]}


def test_a_copy_of_a_picture_has_the_words_of_its_own_sidecar(tmp_path, photos, model):
    index = tmp_path / "idx"
    (photos / "03.png.xmp").write_text(described("Il faro"))
    update.build(index, [photos], model)
    for name in ("bare.png", "own.png"):
        (photos / name).write_bytes((photos / "03.png").read_bytes())
    (photos / "own.xmp").write_text(described("La torre"))
    assert update.build(index, [photos], model).embedded == 0
    assert titled(index) == {"03.png": "Il faro", "own.png": "La torre"}
    (photos / "own.png").rename(photos / "moved.png")
    (photos / "own.xmp").rename(photos / "moved.png.xmp")
    assert update.build(index, [photos], model).embedded == 0
    assert titled(index) == {"03.png": "Il faro", "moved.png": "La torre"}


def test_a_sidecar_that_changes_after_a_kill_is_read_again(tmp_path, photos, model):
    """Embeddings of a killed run wait in parts, with the metadata of that time."""
    index = tmp_path / "idx"
    (photos / "03.png.xmp").write_text(described("Il faro"))
    with patch.object(update.FolderWriter, "commit", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        update.build(index, [photos], model)
    (photos / "03.png.xmp").write_text(described("La torre"))
    assert update.build(index, [photos], model).embedded == 0
    assert titled(index) == {"03.png": "La torre"}


def test_a_sidecar_of_a_picture_in_a_pairs_file_is_read_again(tmp_path, photos, model):
    (photos / "pairs.jsonl").write_text(
        json.dumps({"id": "a", "image_path": "03.png", "captions": ["un gatto"]}) + "\n"
    )
    index = tmp_path / "idx"
    update.build(index, [photos / "pairs.jsonl"], model)
    (photos / "03.png.xmp").write_text(described("Il faro"))
    change = update.build(index, [photos / "pairs.jsonl"], model)
    assert (change.added, change.embedded, titled(index)) == (1, 0, {"a": "Il faro"})


def test_an_unchanged_build_opens_no_sidecar(tmp_path, photos, model, monkeypatch):
    """Not even where Takeout cut off a name, so that only a title says whose sidecar it is."""
    index, name = tmp_path / "idx", f"{'una-fotografia-con-un-nome-lungo-' * 2}.jpg"
    noise(50).save(photos / name)
    (photos / f"{name[:46]}.json").write_text(json.dumps({"title": name, "description": "Il faro"}))
    update.build(index, [photos], model)
    assert words_of(index) == [name]
    with monkeypatch.context() as patched:
        patched.setattr(sidecars, "content", lambda path: pytest.fail(f"{path} was opened"))
        assert update.build(index, [photos], model).added == 0
    (photos / f"{name[:46]}.json").write_text(json.dumps({"title": name, "description": "La torre e la luna"}))
    assert (update.build(index, [photos], model).added, words_of(index)) == (1, [])


def test_metadata_of_a_picture_that_is_gone_or_changed_stays_unread(tmp_path, annotated, model):
    index = tmp_path / "idx"
    update.build(index, [annotated], model)
    made_older(index)
    noise(99).save(annotated / "00.jpg", exif=gps())
    os.utime(annotated / "00.jpg", (1, 1))
    (annotated / "03.png").unlink()
    update.compact(index)
    found = {row["id"]: row for row in rows(index)}
    assert [found[name]["keywords"] for name in ("00.jpg", "03.png", "06.png")] == [None, None, []]


def test_imported_embeddings_get_the_metadata_of_pictures_that_are_there(tmp_path, annotated, model):
    paths = [annotated / "00.jpg", annotated / "03.png"]
    update.write(tmp_path / "idx", annotated, paths, FakeEncoder().encode_images(paths), model, ["a", "b"])
    assert [row["camera"] for row in rows(tmp_path / "idx")] == ["NIKON D90", "SONY ILCE-7"]
