from hypothesis import given
from hypothesis import strategies as st

from clip_italian.pipeline.rejects import Reject, by_reason, read_rejects, rejects_path, write_rejects

TEXT = st.text(max_size=20)


@given(st.lists(st.builds(Reject, TEXT, st.sampled_from(["a", "b"]), TEXT, TEXT), max_size=20))
def test_what_was_written_comes_back(tmp_path_factory, rejects):
    path = tmp_path_factory.mktemp("r") / "out.rejects.jsonl"
    write_rejects(rejects, path)
    assert list(read_rejects(path)) == rejects
    counts = by_reason(path)
    assert counts == {name: n for name in ("a", "b") if (n := sum(r.reason == name for r in rejects))}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_path(tmp_path):
    assert rejects_path(tmp_path / "pairs.parquet").name == "pairs.rejects.jsonl"
