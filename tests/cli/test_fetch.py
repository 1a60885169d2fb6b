import json

from clip_italian import pairs
from clip_italian.pairs import Pair
from tests.fetch.web import Web


def test_a_table_by_source_and_reason(run, tmp_path):
    with Web() as web:
        rows = [
            Pair("1", web.url("/good/1.jpg"), ("una foto",), "wit"),
            Pair("2", web.url("/missing"), ("un'altra",), "ilpost"),
        ]
        pairs.write(rows, tmp_path / "in.parquet")
        command = ["fetch", tmp_path / "in.parquet", "-o", tmp_path / "shards", "--workers", 1]
        code, out, err = run(*command, "--json")
        assert code == 0, err
        figures = json.loads(out)
        assert (figures["pairs"], figures["fetched"]) == (2, 1)
        assert figures["by_source"] == {"wit": {"fetched": 1}, "ilpost": {"http-404": 1}}
        code, out, _ = run(*command)
        assert code == 0
        assert "1 of 2 pictures" in out
        assert "http-404" in out
        assert web.asked["/missing"] == 1


def test_wrong_use(run, tmp_path):
    code, _, err = run("fetch", tmp_path / "none.parquet", "-o", tmp_path / "shards")
    assert code == 1
    assert "no such pairs file" in err
    assert not (tmp_path / "shards").exists()
    assert run("fetch", tmp_path / "none.parquet", "-o", tmp_path / "shards", "--size", 0)[0] == 2
