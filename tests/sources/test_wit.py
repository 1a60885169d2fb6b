"""WIT: rows of one language, one pair an image, and no row lost to another one's quotes."""

import csv
import gzip
import io
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.sources.collect import collect
from clip_italian.sources.wit import COLUMNS, Wit

SAMPLE = Path(__file__).parents[1] / "data" / "wit_sample.tsv"
COMMONS = "https://upload.wikimedia.org/wikipedia/commons"


def row(image="a.jpg", caption="Un ponte", language="it", **others):
    values = dict.fromkeys(COLUMNS, "") | {
        "language": language,
        "page_url": f"https://{language}.wikipedia.org/wiki/P",
        "image_url": f"{COMMONS}/{image}",
        "caption_reference_description": caption,
        "mime_type": "image/jpeg",
    }
    return list((values | others).values())


def as_text(table, header=True):
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([COLUMNS, *table] if header else table)
    return file.getvalue()


def found(folder, text, name="wit.tsv"):
    raw = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(raw)
    return list(Wit("it")(folder / name))


def reasons(items):
    return [item.reason for item in items if isinstance(item, Reject)]


def captions(items):
    return [item.captions for item in items if isinstance(item, Pair)]


def test_the_sample_file(tmp_path):
    output = tmp_path / "wit.parquet"
    summary = collect("wit", Wit("it"), {}, [SAMPLE], output)
    kept = pairs.read(output)
    assert [(pair.image.removeprefix(f"{COMMONS}/"), pair.captions) for pair in kept] == [
        ("a/a1/Ponte.jpg", ("Il ponte visto dalla riva sinistra", 'Un ponte detto "dei gatti" sul fiume')),
        ("b/b2/Torre.png", ("La torre del mulino, d'inverno",)),
        ("g/g7/Pane.jpg", ('"Pane" appena sfornato',)),
        ("h/h8/Olio.jpg", ('"Olio in una bottiglia',)),
        ("j/j0/Sale.jpg", ("Saline al tramonto",)),
    ]
    assert kept[0].page == "https://it.wikipedia.org/wiki/Ponte_di_prova"
    assert {(pair.source, pair.license) for pair in kept} == {("wit", "text: CC BY-SA 3.0; image: see the page")}
    assert summary.rejected == {"mime-type": 3, "no-caption": 1, "wrong-columns": 1}
    by_reason = {reject.reason: reject for reject in read_rejects(rejects_path(output))}
    assert by_reason["wrong-columns"].detail == "wit_sample.tsv, line 19: 15 columns, not 17"
    assert by_reason["mime-type"].detail == "wit_sample.tsv, line 15: image/gif"


def test_one_image_in_several_files(tmp_path):
    files = []
    for number, caption in enumerate(("Un ponte", "Il fiume", "Un ponte")):
        files.append(tmp_path / f"{number}.tsv.gz")
        files[-1].write_bytes(gzip.compress(as_text([row(caption=caption), row(f"{number}.jpg", "Altro")]).encode()))
    collect("wit", Wit("it"), {}, files, tmp_path / "wit.parquet", workers=2)
    kept = {pair.image.rpartition("/")[2]: pair.captions for pair in pairs.read(tmp_path / "wit.parquet")}
    assert kept == {
        "a.jpg": ("Un ponte", "Il fiume"), "0.jpg": ("Altro",), "1.jpg": ("Altro",), "2.jpg": ("Altro",),
    }  # fmt: skip


def test_other_languages_are_neither_kept_nor_rejected(tmp_path, capsys):
    table = [row(language="en"), row(), row(language="zh-min-nan"), row(language="simple"), row(language="sr-ec")[:9]]
    items = found(tmp_path, as_text(table))
    assert (captions(items), reasons(items)) == ([("Un ponte",)], ["no-language"])
    assert "wit.tsv: 5 rows, 2 of them in 'it' or unclear" in capsys.readouterr().err
    assert captions(list(Wit("en")(tmp_path / "wit.tsv"))) == [("Un ponte",)]


def test_files_without_a_header_or_in_another_order(tmp_path):
    assert captions(found(tmp_path, as_text([row()], header=False))) == [("Un ponte",)]
    turned = as_text([COLUMNS[::-1], row()[::-1], row(caption="La\nriva")[::-1]], header=False)
    assert captions(found(tmp_path, turned)) == [("Un ponte",), ("La riva",)]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (row(mime_type="image/svg+xml"), "mime-type"),
        (row(mime_type="IMAGE/TIFF"), "mime-type"),
        (row(mime_type="image/gif"), "mime-type"),
        (row(mime_type="", image="a.svg"), "mime-type"),
        (row(mime_type="", image="noname"), "mime-type"),
        (row(caption=" \n "), "no-caption"),
        (row(image_url="a.jpg"), "no-url"),
        (row(image_url=""), "no-url"),
        (row(image_url="http://a/b c.jpg"), "no-url"),
        (row()[:16], "wrong-columns"),
        ([*row(), "more"], "wrong-columns"),
        (row(language=""), "no-language"),
    ],
)
def test_rows_that_cannot_be_used_are_rejected_with_the_reason(tmp_path, broken, reason):
    items = found(tmp_path, as_text([row(caption="Prima"), broken, row(caption="Dopo")]))
    assert captions(items) == [("Prima",), ("Dopo",)]
    assert reasons(items) == [reason]
    assert "wit.tsv, line 3" in next(item for item in items if isinstance(item, Reject)).detail


def test_mime_types_in_use(tmp_path):
    table = [row(mime_type=mime) for mime in ("image/jpeg", "image/png", "image/webp", "IMAGE/JPEG")]
    assert reasons(found(tmp_path, as_text([*table, row(mime_type="", image="b.JPG")]))) == []


def test_bad_bytes(tmp_path):
    plain = as_text([row(caption="Città")])
    assert captions(found(tmp_path, b"\xef\xbb\xbf" + plain.encode())) == [("Città",)]
    assert captions(found(tmp_path, plain.encode("latin-1"))) == [("Città",)]
    assert captions(found(tmp_path, plain.replace("\n", "\r\n"))) == [("Città",)]
    items = found(tmp_path, as_text([row(caption="N\0o"), row(caption="Sì")]))
    assert (captions(items), reasons(items)) == ([("Sì",)], ["nul-byte"])
    assert found(tmp_path, "") == []
    assert found(tmp_path, as_text([])) == []


def test_another_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="lacks the columns language, page_url"):
        found(tmp_path, "image_url\tcaption\nhttp://a/b.jpg\tciao\n")


CELL = st.text(st.sampled_from('ab "\t\n\r,è'), max_size=10)
FREE = [name for name in COLUMNS if name not in ("language", "page_url", "image_url", "mime_type")]


@st.composite
def tables(draw):
    """Rows with any text in the columns of text; captions say which row they are of."""
    table = []
    for number in range(draw(st.integers(1, 6))):
        language = draw(st.sampled_from(["it", "it", "en"]))
        cells = {name: draw(CELL) for name in draw(st.lists(st.sampled_from(FREE), max_size=4))}
        cells["caption_reference_description"] = cells.get("caption_reference_description", "") + f" riga {number}"
        table.append(row(f"{number}.jpg", language=language, **cells))
    return table


@settings(max_examples=150, deadline=None)
@given(tables())
def test_every_row_is_read_as_csv_wrote_it(tmp_path_factory, table):
    items = found(tmp_path_factory.mktemp("w"), as_text(table))
    at = COLUMNS.index("caption_reference_description")
    assert captions(items) == [(" ".join(cells[at].split()),) for cells in table if cells[0] == "it"]
    assert reasons(items) == []


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_a_stray_quote_costs_its_own_row_at_most(tmp_path_factory, table, data):
    parts = [as_text([cells], header=False) for cells in table]
    hit = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, len(parts[hit]) - 1))
    damaged = [*parts[:hit], parts[hit][:at] + '"' + parts[hit][at:], *parts[hit + 1 :]]
    folder = tmp_path_factory.mktemp("w")
    undisturbed = found(folder, as_text([]) + "".join(parts))
    ours = {pair.id for pair in undisturbed if pair.image.endswith(f"/{hit}.jpg")}
    others = [astuple(pair) for pair in undisturbed if pair.id not in ours]
    disturbed = [pair for pair in found(folder, as_text([]) + "".join(damaged)) if isinstance(pair, Pair)]
    assert [astuple(pair) for pair in disturbed if astuple(pair) in others] == others
    assert len(disturbed) <= len(others) + 1


def test_an_unclosed_quote_in_a_large_file(tmp_path):
    table = [row(f"{number}.jpg", f"Riga {number}") for number in range(5_000)]
    text = as_text(table).replace("\tRiga 100\t", '\t"Riga 100\t')
    items = found(tmp_path, text)
    assert reasons(items) == []
    assert captions(items) == [('"Riga 100' if n == 100 else f"Riga {n}",) for n in range(5_000)]
