"""Outcomes over shards, against the same told row by row."""

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.fetch.outcomes import FETCHED, read
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject

BUSY = "http-429"


def write_shard(folder, number, rows):
    columns = ("id", "source", "url", "status", "error_message")
    schema = pa.schema([(name, pa.string()) for name in columns])
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=schema)
    pq.write_table(table, folder / f"{number:05d}.parquet")
    (folder / f"{number:05d}_stats.json").write_text("{}")


def test_the_last_outcome_counts_in_words_of_ours(tmp_path):
    write_shard(tmp_path, 0, [
        ("a", "wit", "http://h/a", "success", None),
        ("b", "wit", "http://h/b", "failed_to_download", BUSY),
        ("c", "coco", "http://h/c", "failed_to_resize", "image too small"),
        ("d", "wit", "http://h/d", "failed_to_resize", "OpenCV says a lot"),
        ("e", "wit", "http://h/e", "failed_to_download", BUSY),
        ("f", "coco", "http://h/f", "failed_to_resize", None),
        ("g", "coco", "http://h/g", "failed_to_resize", "image area too large"),
    ])  # fmt: skip
    write_shard(tmp_path, 1, [("b", "wit", "http://h/b", "success", None), ("e", "wit", "u", "failed", "http-404")])
    (tmp_path / "00002.parquet").write_bytes(b"of a shard that is not finished")
    with read(tmp_path) as found:
        assert list(found.failed()) == [
            Reject("c", "too-small", "http://h/c"),
            Reject("d", "unreadable", "http://h/d"),
            Reject("f", "unreadable", "http://h/f"),
            Reject("g", "too-many-pixels", "http://h/g"),
            Reject("e", "http-404", "u"),
        ]
        assert found.by_source() == {
            "wit": {FETCHED: 2, "http-404": 1, "unreadable": 1},
            "coco": {"too-many-pixels": 1, "too-small": 1, "unreadable": 1},
        }
        assert found.count_retryable() == 0
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 2 + [".parquet"] * 3


def test_what_to_ask_again(tmp_path):
    rows = [Pair(id_, f"http://h/{id_}", ("una foto",), "wit", license="CC0") for id_ in "abca"]
    pairs.write(rows[:2], tmp_path / "0.parquet")
    pairs.write(rows[2:], tmp_path / "1.parquet")
    write_shard(tmp_path, 0, [(id_, "wit", "u", "failed_to_download", BUSY) for id_ in "ca"])
    write_shard(tmp_path, 1, [("b", "wit", "u", "failed_to_download", "http-404")])
    with read(tmp_path) as found:
        assert found.count_retryable() == 2
        again = found.retryable([tmp_path / "0.parquet", tmp_path / "1.parquet"])
        assert [pair for batch in again for pair in pairs.from_batch(batch)] == [rows[0], rows[2]]


def test_no_shard_at_all(tmp_path):
    with read(tmp_path) as found:
        assert list(found.failed()) == []
        assert found.by_source() == {}
        assert found.count_retryable() == 0


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["", BUSY, "http-404"])), max_size=5), max_size=4
    )
)
def test_the_same_as_row_by_row(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("shards")
    fetched, failed = 0, {}
    for number, rows in enumerate(shards):
        # The source of an id is always the same.
        told = [(id_, id_, "u", "failed" if error else "success", error or None) for id_, error in rows]
        write_shard(folder, number, told)
        for id_, error in rows:
            failed.pop(id_, None)
            if error:
                failed[id_] = error
            else:
                fetched += 1
    with read(folder) as found:
        assert [(reject.id, reject.reason) for reject in found.failed()] == list(failed.items())
        assert sum(counts.get(FETCHED, 0) for counts in found.by_source().values()) == fetched
