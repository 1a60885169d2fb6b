"""A part that another machine embeds with the model that it has under the name; when pictures were taken."""

import json
import os
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from clip_italian.errors import UserError
from clip_italian.models.precision import Identity
from clip_italian.search import embed, update
from clip_italian.search.commit import PART_ROWS_FILE
from clip_italian.search.embed import Embed
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.schema import EMBEDDED, TO_EMBED
from tests.search.conftest import noise


def test_another_model_under_the_same_name_is_refused(tmp_path, tiny_folder, tiny_encoder):
    pq.write_table(pa.Table.from_pylist([], TO_EMBED), tmp_path / "todo.parquet")
    with pytest.raises(UserError, match="another model on this machine"):
        Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), Identity("0123", "0123"))(0, tmp_path / "part")
    Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), tiny_encoder.identity)(0, tmp_path / "part")
    assert pq.read_table(tmp_path / "part" / PART_ROWS_FILE).schema.equals(EMBEDDED)


def test_when_a_picture_was_taken(tmp_path):
    assert embed.taken(b"no picture") is None


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
    return embed.taken(path.read_bytes(), path)


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
