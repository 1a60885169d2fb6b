"""`clip-italian translate` against a server of our own: exit codes, one JSON object, one-line errors."""

import json

import pytest

from clip_italian import pairs
from clip_italian.pairs import Pair
from tests.translate.fake_deepl import KEY, FakeDeepL


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPL_AUTH_KEY", KEY)
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(tmp_path / "cache"))
    rows = [Pair(str(i), f"http://h/{i}.jpg", (f"caption {i}", "the same for all"), "cc") for i in range(3)]
    pairs.write(rows, tmp_path / "cc.parquet")
    return tmp_path / "cc.parquet"


def command(source, server, *more):
    return ["translate", source, "-o", source.parent / "it.parquet", "--engine", "deepl",
            "--server-url", server.url, *more]  # fmt: skip


def test_once_and_again(run, source):
    with FakeDeepL() as server:
        code, out, err = run(*command(source, server, "--json"))
        assert code == 0, err
        figures = json.loads(out)
        assert (figures["before"], figures["after"], figures["texts_sent"]) == (3, 3, 4)
        assert figures["characters_sent"] == 3 * len("caption 0") + len("the same for all")
        assert "to translate: 4 texts" in err
        first = (source.parent / "it.parquet").read_bytes()
        code, out, _ = run(*command(source, server))
        assert code == 0
        assert "sent now: 0 texts" in out
        assert server.seen.total() == 4
    assert (source.parent / "it.parquet").read_bytes() == first
    row = pairs.read(source.parent / "it.parquet")[0]
    assert row.captions == ("caption 0 in italiano", "the same for all in italiano")
    assert row.captions_original == ("caption 0", "the same for all")


def test_the_budget_is_kept(run, source):
    with FakeDeepL() as server:
        code, _, err = run(*command(source, server, "--max-characters", 20))
        assert code == 1
        assert "stopped before exceeding --max-characters 20" in err
        assert server.seen.total() == 1
        assert not (source.parent / "it.parquet").exists()
        assert run(*command(source, server, "--max-characters", 1_000))[0] == 0
        assert server.seen.total() == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source-language", "it"], "the captions would be in it already"),
        (["--language", "xx"], "xx"),
        (["--formality", "rude"], "formality"),
        (["--server-url", "nowhere"], "--server-url nowhere: not a URL"),
    ],
)
def test_wrong_options(run, source, options, words):
    with FakeDeepL() as server:
        code, out, err = run(*command(source, server, *options))
    assert code == 2
    assert not out
    assert words in err


def test_no_key(run, source, monkeypatch):
    monkeypatch.delenv("DEEPL_AUTH_KEY")
    with FakeDeepL() as server:
        code, _, err = run(*command(source, server))
    assert code == 1
    assert "DEEPL_AUTH_KEY: no key" in err
    assert len(err.strip().splitlines()) <= 2
