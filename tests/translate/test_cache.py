"""The cache: what was stored is there for the same engine and options, and for no other."""

import sqlite3
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.translate.cache import opened
from clip_italian.translate.deepl import DeepL, Options

EN_IT = {"engine": "x", "source": "EN", "target": "IT"}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
some_options = st.builds(
    Options,
    st.sampled_from(["EN", "DE"]),
    st.sampled_from(["IT", "FR"]),
    st.sampled_from([None, "more", "less", "", "None"]),
    st.none() | texts,
)


def test_what_was_stored_outlives_the_run(tmp_path):
    path = tmp_path / "below" / "cache.sqlite"
    with opened(path, EN_IT) as cache:
        cache.store({"a cat": "un gatto", "too long": None, "": ""})
    with opened(path, EN_IT) as cache:
        assert cache.get(["a cat", "too long", "a dog"]) == {"a cat": "un gatto", "too long": None}
        assert cache.get(["A cat", "a cat ", "a cat\0"]) == {}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.tuples(some_options, texts), texts, max_size=8))
def test_other_options_are_never_mixed_up(tmp_path_factory, stored):
    """The cache is a dictionary from (options, text): checked against a real one, with every pairing."""
    path = tmp_path_factory.mktemp("cache") / "c.sqlite"
    for (options, text), translation in stored.items():
        with opened(path, DeepL(options).identity) as cache:
            cache.store({text: translation})
    for options in {options for options, _ in stored}:
        with opened(path, DeepL(options).identity) as cache:
            expected = {text: value for (other, text), value in stored.items() if other == options}
            assert cache.get({text for _, text in stored}) == expected


def test_missing_texts_are_listed_once_in_order(tmp_path):
    with opened(tmp_path / "c.sqlite", EN_IT) as cache:
        cache.store({"b": "B"})
        cache.note_missing({"c": 1, "b": 1, "a": 1})
        cache.note_missing({"long\0er": 7, "a": 1})
        assert list(cache.missing()) == [("c", 1), ("a", 1), ("long\0er", 7)]
        assert cache.count_missing() == (3, 9)
        assert cache.count_done() == (0, 0)
        cache.store({"long\0er": "x", "d": "y"})
        assert cache.count_done() == (1, 7)
        cache.note_missing({f"n{i}": 2 for i in range(1_234)})
        assert [text for text, _ in cache.missing()][3:] == [f"n{i}" for i in range(1_234)]
    with opened(tmp_path / "c.sqlite", EN_IT) as cache:
        assert cache.count_missing() == (0, 0), "the list is of one run"


def test_threads_and_other_engines_write_at_once(tmp_path):
    path = tmp_path / "c.sqlite"

    def fill(name):
        with opened(path, EN_IT | {"engine": name}) as cache:
            threads = [
                threading.Thread(target=lambda i=i: [cache.store({f"{i} {j}": name}) for j in range(10)])
                for i in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    both = [threading.Thread(target=fill, args=(name,)) for name in "xy"]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for name in "xy":
        with opened(path, EN_IT | {"engine": name}) as cache:
            assert cache.get(f"{i} {j}" for i in range(4) for j in range(10)) == {
                f"{i} {j}": name for i in range(4) for j in range(10)
            }


def test_a_second_run_with_the_same_options_waits(tmp_path, capsys):
    path = tmp_path / "c.sqlite"
    order = []

    def second():
        with opened(path, EN_IT) as cache:
            order.append(cache.get(["a"]))

    with opened(path, EN_IT) as cache:
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
        cache.store({"a": "A"})
    thread.join()
    assert order == ["first", {"a": "A"}]
    assert "waiting" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"no database at all, but long enough" * 10, b"\0" * 5_000])
def test_a_file_that_is_no_cache(tmp_path, content):
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"c\.sqlite: the translation cache cannot be used"), opened(path, EN_IT):
        pass


def test_a_database_of_something_else(tmp_path):
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE translations (a INTEGER)")
    base.close()
    with pytest.raises(UserError, match="cannot be used"), opened(path, EN_IT) as cache:
        cache.get(["a"])
