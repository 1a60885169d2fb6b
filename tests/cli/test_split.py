import json

from clip_italian import pairs
from clip_italian.pairs import Pair


def test_split(run, tmp_path):
    rows = [Pair(f"p{i}", f"http://h/{i}.jpg", ("una foto",), "s") for i in range(200)]
    pairs.write([*rows, Pair("copy", "https://h/0.jpg", ("la stessa",), "t", split="test")], tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    code, out, err = run("split", tmp_path / "in.parquet", "-o", output, "--val", 0.1, "--test", 0, "--json")
    assert code == 0, err
    figures = json.loads(out)
    assert figures["rejected"] == {"overlaps-test": 1}
    assert figures["splits"]["test"] == 1
    assert sum(figures["splits"].values()) == figures["after"] == 200
    code, out, _ = run("split", tmp_path / "in.parquet", "-o", output)
    assert code == 0
    assert "overlaps-test" in out
    assert "200 different pictures" in out


def test_wrong_use(run, tmp_path):
    assert run("split", tmp_path / "none.parquet", "-o", tmp_path / "out.parquet")[0] == 1
    code, _, err = run("split", tmp_path / "none.parquet", "-o", tmp_path / "o.parquet", "--val", 0.6, "--test", 0.6)
    assert code == 2
    assert "nothing is left for training" in err
