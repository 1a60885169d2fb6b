"""Own data: JSON lines, CSV and Parquet, and pairs files put together."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.tables import Columns, Csv, JsonLines, Parquet

NAMED = Columns("image", "caption")
DATA = Path(__file__).parents[1] / "data"
FLICKR = Path(__file__).parents[3] / "shared/flickr8k-it/captions.jsonl"


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures, a.png and sub/a.png."""
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "sub" / "a.png")
    return tmp_path


def found(read, path, raw):
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return list(read(path))


def short(items):
    """Captions of pairs, reasons of rejects."""
    return [item.captions if isinstance(item, Pair) else item.reason for item in items]


def test_the_sample_files():
    table = list(Csv(Columns("foto", "didascalia"))(DATA / "own_sample.csv"))
    assert short(table) == [("Un ponte; sotto, il fiume",), ('Pane "di casa" su un tavolo',)]
    lines = list(JsonLines()(DATA / "own_sample.jsonl"))
    assert short(lines) == [("Un ponte", "Il fiume sotto il ponte"), ("Pane su un tavolo",)]
    assert [pair.id for pair in table] == [pair.id for pair in lines]


# JSON lines


def test_json_lines_of_the_original_project(folder):
    line = json.dumps({"image_path": "sub/a.png", "captions": ["un quadro", " blu\n"], "captions_en": ["a", "b"]})
    (pair,) = found(JsonLines(), folder / "own.jsonl", line)
    assert pair.image == str(folder / "sub" / "a.png")
    assert (pair.captions, pair.captions_original, pair.source) == (("un quadro", "blu"), ("a", "b"), "own")
    assert pair.id.startswith("img-")


def test_json_lines_with_other_names(folder):
    line = json.dumps({"file": "a.png", "testo": "rosso", "chiave": 7, "id": 1, "split": "dev", "license": "mine"})
    (pair,) = found(
        JsonLines(Columns("file", "testo", "chiave", "foto")), folder / "own.jsonl.gz", gzip.compress(line.encode())
    )
    assert pair == Pair("7", str(folder / "a.png"), ("rosso",), "foto", "val", license="mine")


def test_ids_follow_the_picture_not_its_name(folder):
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    lines = [{"image_path": image, "caption": "c"} for image in ("a.png", "sub/a.png", "copy.png", "http://a/a.png")]
    ids = [item.id for item in found(JsonLines(), folder / "own.jsonl", "\n".join(map(json.dumps, lines)))]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"image_path": "a.png", "captions": ["x"]', "not-json"),
        ("nonsense", "not-json"),
        ("[" * 50_000, "not-json"),
        ("[1]", "no-object"),
        ('"x"', "no-object"),
        ('{"captions": ["x"]}', "no-image"),
        ('{"image_path": 3, "captions": ["x"]}', "no-image"),
        ('{"image_path": "a.png"}', "no-caption"),
        ('{"image_path": "a.png", "captions": ["", null, 3]}', "no-caption"),
        ('{"image_path": "a.png", "captions": {"x": 1}}', "no-caption"),
        ('{"image_path": "b.png", "captions": ["x"]}', "missing-image"),
        ('{"image_path": "sub", "captions": ["x"]}', "missing-image"),
        ('{"image_path": "' + "x" * 5000 + '", "captions": ["x"]}', "missing-image"),
        ('{"image_path": "b.png", "captions": ["x"], "id": "1", "source": "s"}', "missing-image"),
        ('{"image_path": "a.png", "captions": ["\\u0000"]}', "nul-byte"),
        ('{"image_path": "a\\u0000.png", "captions": ["x"]}', "nul-byte"),
        ('{"image_path": "a.png", "captions": ["\\ud83d"]}', "broken-text"),
        ('{"image_path": "a.png", "captions": ["x"], "id": "\\ud83d", "source": "s"}', "broken-text"),
    ],
)
def test_json_lines_that_cannot_be_used(folder, line, reason):
    good = '{"image_path": "a.png", "captions": ["prima"]}'
    items = found(JsonLines(), folder / "own.jsonl", f"\ufeff{good}\n\n{line}\n{good}\n")
    assert short(items) == [("prima",), reason, ("prima",)]
    assert "own.jsonl, line 3" in items[1].detail


def test_originals_stay_beside_their_captions(folder):
    row = {"image_path": "a.png", "captions": ["uno", "", "tre"], "captions_original": ["one", "two", "three"]}
    (pair,) = found(JsonLines(), folder / "own.jsonl", json.dumps(row))
    assert (pair.captions, pair.captions_original) == (("uno", "tre"), ("one", "three"))


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters_are_found(folder, delimiter):
    file = io.StringIO()
    rows = [["id", "caption", "image"], ["1", 'rosso, "vivo"; e\tcaldo', "a.png"], ["2", "due\nrighe", "sub/a.png"]]
    csv.writer(file, delimiter=delimiter).writerows(rows)
    items = found(Csv(NAMED), folder / "own.csv", file.getvalue())
    assert [item.captions for item in items] == [('rosso, "vivo"; e caldo',), ("due righe",)]
    assert items[1].image == str(folder / "sub" / "a.png")
    assert items[0].id.startswith("img-")


def test_csv_rows_of_one_picture_come_together(folder):
    (folder / "own.csv").write_text("image,caption\na.png,uno\nsub/a.png,due\na.png,tre\na.png,uno\n")
    collect("csv", Csv(NAMED), {}, [folder / "own.csv"], folder / "out" / "pairs.parquet")
    kept = pairs.read(folder / "out" / "pairs.parquet")
    assert [pair.captions for pair in kept] == [("uno", "tre"), ("due",)]
    assert pairs.image_path(kept[0], folder / "out" / "pairs.parquet").samefile(folder / "a.png")


def test_csv_id_column_and_delimiter(folder):
    items = found(
        Csv(Columns("image", "caption", "k"), "|"), folder / "own.csv", "k|image|caption\nx|a.png|rosso\n|a.png|r\n"
    )
    assert items[0].id == "x"
    assert items[1].id.startswith("img-")


def test_csv_encodings_and_damage(folder):
    plain = "image,caption\na.png,perché\n"
    for raw in (plain.encode("utf-8-sig"), plain.encode("cp1252"), gzip.compress(plain.encode())):
        assert short(found(Csv(NAMED), folder / "own.csv", raw)) == [("perché",)]
    assert found(Csv(NAMED), folder / "own.csv", "") == []
    assert found(Csv(NAMED), folder / "own.csv", "image,caption\n") == []
    items = found(Csv(NAMED), folder / "own.csv", 'image,caption\na.png\na.png,b,c\na.png,\na\0.png,x\na.png,"rosso\n')
    assert short(items) == ["wrong-columns", "wrong-columns", "no-caption", "nul-byte", ('"rosso',)]
    assert items[1] == Reject("", "wrong-columns", "a.png,b,c", "own.csv, line 3: 3 columns, not 2")


def test_csv_without_the_columns_says_which_it_has(folder):
    with pytest.raises(UserError, match=r"own\.csv: no column image in its first line 'file, caption'; name columns"):
        found(Csv(NAMED), folder / "own.csv", "file\tcaption\na.png\trosso\n".replace("\t", ","))
    with pytest.raises(UserError, match="no column caption, image"):
        found(Csv(NAMED), folder / "own.csv", b"\x89PNG\r\n\x1a\n")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.sampled_from('ab ",;\t\nè'), min_size=1, max_size=10), min_size=1, max_size=8),
    st.sampled_from(",;\t"),
)
def test_csv_is_read_as_csv_wrote_it(tmp_path_factory, captions, delimiter):
    folder = tmp_path_factory.mktemp("csv")
    file = io.StringIO()
    rows = [(f"http://h/{n}", caption) for n, caption in enumerate(captions)]
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([("image", "caption"), *rows])
    expected = [(" ".join(caption.split()),) if caption.strip() else "no-caption" for caption in captions]
    assert short(found(Csv(NAMED), folder / "own.csv", file.getvalue())) == expected


# Parquet


def test_pairs_files_put_together_stay_as_they_are(folder):
    first = [
        Pair("1", "a.png", ("rosso",), "s", "test", ("red",), "CC0", "http://page", "00ff-0"),
        Pair("2", "http://h/2.jpg", ("due", "tre"), "s"),
    ]
    second = [Pair("3", "a.png", ("blu",), "t"), Pair("1", "a.png", ("azzurro",), "t")]
    pairs.write(first, folder / "one.parquet")
    pairs.write(second, folder / "sub" / "two.parquet")
    output = folder / "all.parquet"
    summary = collect("parquet", Parquet(), {}, [folder / "one.parquet", folder / "sub" / "two.parquet"], output)
    assert (summary.after, summary.rejected) == (3, {})
    joined = Pair("1", "a.png", ("rosso", "azzurro"), "s", "test", None, "CC0", "http://page", "00ff-0")
    assert pairs.read(output) == [joined, first[1], Pair("3", "sub/a.png", ("blu",), "t")]


def test_pairs_as_json_lines_stay_as_they_are(folder):
    table = [Pair("1", "a.png", ("rosso",), "s", "test", ("red",), "CC0", "http://page", "00ff-0")]
    pairs.write(table, folder / "one.jsonl")
    collect("jsonl", JsonLines(), {}, [folder / "one.jsonl"], folder / "two.jsonl")
    assert pairs.read(folder / "two.jsonl") == table


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_foreign_parquet(folder, kind):
    table = pa.table({
        "URL": pa.array(["http://h/1", None, "http://h/3"]).cast(kind),
        "TEXT": pa.array(["uno", "due", None]).cast(kind),
        "id": [1, 2, 3],
        "other": [b"x", b"y", b"z"],
    })  # fmt: skip
    pq.write_table(table, folder / "f.parquet")
    items = list(Parquet(Columns("URL", "TEXT"))(folder / "f.parquet"))
    expected = [("uno",), "no-image", "no-caption"] if kind != pa.binary() else ["no-image", "no-image", "no-image"]
    assert short(items) == expected
    assert items[1].detail == "f.parquet, row 2"


def test_parquet_with_lists_and_bad_text(folder):
    raw = pa.array([b"perch\xe9", "città".encode(), None], pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"image": [f"http://h/{n}" for n in range(3)], "caption": bad}), folder / "f.parquet")
    assert short(Parquet()(folder / "f.parquet")) == [("perché",), ("città",), "no-caption"]
    nested = pa.ListArray.from_arrays([0, 1, 3, 3], bad)
    pq.write_table(pa.table({"image": [f"http://h/{n}" for n in range(3)], "caption": nested}), folder / "f.parquet")
    assert short(Parquet()(folder / "f.parquet")) == [("perché",), ("città",), "no-caption"]
    lists = pa.table({"image": ["http://h/1", "http://h/2"], "captions": [["uno", None, "", "due"], None]})
    pq.write_table(lists, folder / "f.parquet")
    assert short(Parquet()(folder / "f.parquet")) == [("uno", "due"), "no-caption"]


def test_large_parquet_streams_in_order(folder):
    rows = 5_000
    table = pa.table({"image": [f"http://h/{n}" for n in range(rows)], "caption": [f"riga {n}" for n in range(rows)]})
    pq.write_table(table, folder / "f.parquet", row_group_size=1_700)
    assert short(Parquet()(folder / "f.parquet")) == [(f"riga {n}",) for n in range(rows)]


def test_parquet_that_cannot_be_read(folder):
    path = folder / "f.parquet"
    for raw in (b"", b"PAR1", b"\0" * 100, "testo".encode("utf-16")):
        with pytest.raises(UserError, match=r"f\.parquet: not a Parquet file"):
            found(Parquet(), path, raw)
    pq.write_table(pa.table({"URL": ["http://h"], "caption": ["x"]}), path)
    with pytest.raises(UserError, match="no column 'image'; it has URL, caption; name it with --image-column"):
        list(Parquet()(path))
    with pytest.raises(UserError, match=r"no column 'text'; it has .*--caption-column"):
        list(Parquet(Columns("URL", "text"))(path))
    with pytest.raises(UserError, match=r"no column 'key'; it has .*--id-column"):
        list(Parquet(Columns("URL", "caption", "key"))(path))
    pq.write_table(pa.table({"image": [{"bytes": b"x", "path": "a"}], "caption": ["x"]}), path)
    with pytest.raises(UserError, match="holds picture contents"):
        list(Parquet()(path))


def test_damaged_parquet(folder):
    path = folder / "f.parquet"
    table = pa.table({"image": [f"http://h/{n}" for n in range(9_000)], "caption": [f"riga {n}" for n in range(9_000)]})
    pq.write_table(table, path, row_group_size=3_000, compression="zstd")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 400] = b"\xff" * 400
    with pytest.raises(UserError, match=r"f\.parquet: damaged after row \d+"):
        found(Parquet(), path, bytes(raw))


@pytest.mark.skipif(not FLICKR.is_file(), reason=f"needs {FLICKR}")
def test_real_captions_with_photos(tmp_path):
    collect("jsonl", JsonLines(Columns(source="flickr8k-it")), {}, [FLICKR], tmp_path / "f.parquet")
    expected = [json.loads(line) for line in FLICKR.read_text(encoding="utf-8").splitlines()]
    kept = pairs.read(tmp_path / "f.parquet")
    assert [Path(pair.image).name for pair in kept] == [Path(row["image_path"]).name for row in expected]
    assert [list(pair.captions) for pair in kept] == [
        [" ".join(c.split()) for c in row["captions"]] for row in expected
    ]
    assert {len(pair.captions_original) for pair in kept} == {5}
