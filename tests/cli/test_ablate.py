import json

import pytest

RECIPE = """
output = "OUTPUT"
[data]
pairs = "unset"
[model]
base = "BASE"
projection_dim = 24
start = "random"
[[stage]]
name = "projections"
trainable = ["*projection.*"]
frozen = ["*"]
learning_rate = 1e-2
epochs = 1
patience = 1
"""


@pytest.fixture
def recipe(tmp_path, tiny_folder):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.replace("OUTPUT", str(tmp_path / "runs")).replace("BASE", str(tiny_folder)))
    return path


def test_one_command_trains_compares_and_writes_the_page_and_does_nothing_twice(run, recipe, shapes, tmp_path, cache):
    page = tmp_path / "page.md"
    command = ("ablate", recipe, "--data", f"shapes={shapes}", "--only", "scale 100", "--seeds", 1, "-o", page)
    code, out, err = run(*command, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert [(r["variant"], r["seed"], round(r["scale"])) for r in answer["results"]] == [
        ("as it is", 1, 20), ("scale 100", 1, 100),
    ]  # fmt: skip
    assert answer["page"] == str(page)
    text = page.read_text()
    assert "## shapes" in text
    assert f"clip-italian ablate {recipe} --data shapes={shapes} --only 'scale 100'" in text

    code, out, err = run(*command)
    assert code == 0
    assert "run 1 of" not in err
    assert f"{page}: written" in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data", "photos"], "expected NAME=PAIRS"),
        (["--data", "a/b=x.jsonl"], "expected NAME=PAIRS"),
        (["--data", "photos=none.jsonl"], "no such file: none.jsonl"),
        (["--only", "adam"], "'adam': no such variant"),
        (["data.pairs=x.jsonl"], "with --data NAME=PAIRS"),
    ],
)
def test_wrong_usage_is_one_line(run, recipe, more, words):
    code, out, err = run("ablate", recipe, *more)
    assert code == 2
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
