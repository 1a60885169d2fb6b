import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.pairs import Pair, batches, image_path, read, write

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
pairs_strategy = st.lists(
    st.builds(
        Pair,
        id=text,
        image=text,
        captions=st.lists(text, min_size=1, max_size=3).map(tuple),
        source=text,
        split=st.sampled_from([None, "train", "val", "test"]),
        captions_original=st.none() | st.lists(text, min_size=1, max_size=2).map(tuple),
        license=st.none() | text,
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs_strategy, st.sampled_from([".parquet", ".jsonl"]))
def test_both_forms_give_back_what_was_written(tmp_path, pairs, suffix):
    path = tmp_path / f"pairs{suffix}"
    assert write(pairs, path) == len(pairs)
    assert read(path) == pairs


def test_reads_the_original_projects_json_lines(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text(
        json.dumps({"image_path": "images/a.jpg", "captions": ["un gatto"], "captions_en": ["a cat"]}) + "\n"
    )
    (pair,) = read(path)
    assert pair == Pair("a", "images/a.jpg", ("un gatto",), "captions", captions_original=("a cat",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("{", "line 1: not JSON"),
        ('{"image_path": "a.jpg"}', "line 1: no pair"),
        (
            '{"image_path": "a.jpg", "captions": ["x"]}\n{"image_path": "b.jpg", "captions": [" "]}',
            "line 2.*empty caption",
        ),
        ('{"image_path": "a.jpg", "captions": []}', "empty caption"),
        ('{"image_path": "a.jpg", "captions": null}', "empty caption"),
        ('{"image_path": 3, "captions": ["x"]}', "line 1: no pair"),
        ('{"image_path": "a.jpg", "captions": ["x"], "captions_original": 3}', "a number or a list where a text"),
        ('{"image_path": "a.jpg", "captions": ["x"], "license": ["CC0"]}', "a number or a list where a text"),
        ('{"image_path": "a.jpg", "captions": ["perch\xe9"]}'.encode("latin-1"), "line 1: not UTF-8"),
        ('{"image_path": "a.jpg", "captions": ["x\0"]}', "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, content, words):
    path = tmp_path / "p.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words):
        read(path)


def test_a_byte_order_mark_is_no_harm(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"image_path": "a.jpg", "captions": "perché no"}\n', encoding="utf-8-sig")
    assert read(path)[0].captions == ("perché no",)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"captions": [None]}, "column captions has 1 rows with nothing in it"),
        ({"id": pa.nulls(1, pa.string())}, "column id has 1 rows"),
        ({"captions": [[[1]]]}, "column captions is list<"),
    ],
)
def test_foreign_columns(tmp_path, column, words):
    columns = {"id": ["1"], "image": ["a.jpg"], "captions": [["x"]], "source": ["s"]} | column
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=words):
        list(batches(tmp_path / "p.parquet"))


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="no such pairs file"):
        read(tmp_path / "none.parquet")
    junk = tmp_path / "junk.parquet"
    junk.write_bytes(b"junk")
    with pytest.raises(UserError, match="not a Parquet file"):
        read(junk)


def test_a_url_is_not_a_file():
    pair = Pair("1", "http://h/a.jpg", ("x",), "s")
    with pytest.raises(UserError, match=r"pairs\.parquet: http://h/a\.jpg is not on this machine.*clip-italian fetch"):
        image_path(pair, Path("pairs.parquet"))
