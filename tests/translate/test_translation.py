"""Runs over pairs files: nothing paid twice, nothing lost, the same output however often it was stopped."""

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from dataclasses import replace

import pytest

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.translate.deepl import DeepL, Options
from clip_italian.translate.translation import translate
from tests.forked import Forked
from tests.translate.fake_deepl import KEY, FakeDeepL, italian
from tests.wait import until

ENGLISH = Options("EN", "IT")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("DEEPL_AUTH_KEY", KEY)


@pytest.fixture
def run(tmp_path):
    """Translate the pairs given, with the server given, in the test's folder."""

    def call(rows, server, name="out.parquet", options=ENGLISH, parallel=4, **more):
        source, output = tmp_path / "in.parquet", tmp_path / name
        pairs.write(rows, source)
        engine = DeepL(options, server.url, parallel, sleep=lambda seconds: None)
        return translate(source, output, engine, tmp_path / "cache.sqlite", **more)

    return call


def some_pairs(count, start=0):
    """Two captions each; every third pair repeats captions of others."""
    return [
        Pair(f"p{i}", f"http://h/{i}.jpg", (f"caption {i - i % 3}", f"another one {i}"), "cc")
        for i in range(start, start + count)
    ]


def translated(rows):
    """What must come out, by the server's rule."""
    return [
        replace(row, captions=tuple(italian(c.strip()) for c in row.captions), captions_original=row.captions)
        for row in rows
    ]


def texts_of(rows):
    return {caption for row in rows for caption in row.captions}


def test_captions_and_originals(run, tmp_path):
    rows = some_pairs(300)
    with FakeDeepL(delay=0.2) as server:
        summary = run(rows, server)
    assert pairs.read(tmp_path / "out.parquet") == translated(rows)
    assert server.seen == Counter(texts_of(rows)), "each text once, also those that occur again"
    assert (summary.before, summary.after, summary.rejected, summary.texts_sent) == (300, 300, {}, 400)
    assert summary.characters_sent == server.billed
    assert max(len(body["text"]) for body in server.bodies) == 50
    assert 2 <= server.most_at_once <= 4
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.parquet", "out.parquet", "out.rejects.jsonl", "cache.sqlite", "cache.sqlite.lock", "cache.sqlite.1.lock"
    }  # fmt: skip


def test_a_second_run_pays_nothing_and_needs_no_server(run, tmp_path, monkeypatch):
    rows = some_pairs(60)
    with FakeDeepL() as server:
        run(rows, server)
        run([*rows, *some_pairs(10, start=60)], server, "more.parquet")
    assert server.seen == Counter(texts_of([*rows, *some_pairs(10, start=60)]))
    monkeypatch.delenv("DEEPL_AUTH_KEY")
    assert run(rows, server, "again.parquet").texts_sent == 0
    assert pairs.read(tmp_path / "again.parquet") == translated(rows)


def test_other_options_are_other_translations(run):
    rows = some_pairs(3)
    with FakeDeepL() as server:
        for options in (ENGLISH, Options("EN", "IT", "more"), Options("DE", "IT"), Options("EN", "IT", None, "x")):
            assert run(rows, server, options=options).texts_sent == 4
    assert set(server.seen.values()) == {4}


def test_what_cannot_be_translated_is_rejected_with_its_reason(run, tmp_path):
    long = "x" * 140_000
    rows = [
        Pair("blank", "b.jpg", ("", " \n"), "cc"),
        Pair("some", "s.jpg", ("  a cat ", "nothing", long), "cc"),
        Pair("same", "e.jpg", ("Roma",), "cc"),
    ]
    answers = {"nothing": " ", "Roma": "Roma"}
    with FakeDeepL() as server:
        server.answer = lambda text: answers.get(text, italian(text))
        summary = run(rows, server)
    kept = pairs.read(tmp_path / "out.parquet")
    assert kept == [
        replace(rows[1], captions=("a cat in italiano",), captions_original=("  a cat ",)),
        replace(rows[2], captions_original=("Roma",)),
    ]
    rejects = list(read_rejects(rejects_path(tmp_path / "out.parquet")))
    assert rejects[:3] == [Reject("blank", "empty-caption"), Reject("blank", "empty-caption", " \n"),
                           Reject("some", "empty-translation", "nothing")]  # fmt: skip
    assert (rejects[3].id, rejects[3].reason) == ("some", "too-long")
    assert summary.rejected == {"empty-caption": 2, "empty-translation": 1, "too-long": 1}
    assert (summary.before, summary.after, summary.unchanged) == (3, 2, 1)
    assert long not in server.seen


def test_pairs_with_translations_pass_unless_again(run, tmp_path):
    done = Pair("d", "d.jpg", ("un cane",), "cc", captions_original=("a dog",))
    rows = [done, *some_pairs(1)]
    with FakeDeepL() as server:
        summary = run(rows, server)
        assert (summary.already, summary.texts_sent) == (1, 2)
        assert pairs.read(tmp_path / "out.parquet") == [done, *translated(rows[1:])]
        summary = run(rows, server, again=True)
        assert (summary.already, summary.texts_sent) == (0, 1)
    assert pairs.read(tmp_path / "out.parquet")[0] == replace(done, captions=("a dog in italiano",))


def test_budget_stops_before_it_is_exceeded_and_the_rest_goes_on(run, tmp_path, capsys):
    rows = [Pair(f"p{i:03d}", "i.jpg", (f"ten chr {i:02d}",), "cc") for i in range(100)]
    with FakeDeepL(limit=5_000) as server:
        with pytest.raises(UserError, match=r"stopped before exceeding --max-characters 259, 75 pairs are left"):
            run(rows, server, max_characters=259)
        assert server.billed == 250
        err = capsys.readouterr().err
        assert "100 texts, 1,000 characters; budget: 259; the account has 5,000 left" in err
        assert not (tmp_path / "out.parquet").exists()
        with pytest.raises(UserError, match="75 pairs are left"):
            run(rows, server, max_characters=0)
        summary = run(rows, server, max_characters=750)
    assert "75 texts, 750 characters" in capsys.readouterr().err
    assert server.billed == summary.characters_sent + 250 == 1_000
    assert pairs.read(tmp_path / "out.parquet") == translated(rows)


@pytest.mark.parametrize(("status", "words"), [(456, "quota is used up"), (403, "rejects the key")])
def test_what_is_done_is_kept_when_the_account_stops(run, tmp_path, status, words):
    rows = some_pairs(300)
    with FakeDeepL(lambda number: (status, {}) if number > 3 else None, delay=0.02) as server:
        with pytest.raises(
            UserError, match=rf"{words}.*run the same command.*\(150 texts translated now, \d+ pairs left\)"
        ):
            run(rows, server, parallel=3)
        assert not list(tmp_path.glob("out*"))
        server.trouble = lambda number: None
        run(rows, server)
    assert server.seen == Counter(texts_of(rows)), "none is paid for again"
    assert pairs.read(tmp_path / "out.parquet") == translated(rows)


def test_busy_servers_only_delay(run, tmp_path):
    rows = some_pairs(300)
    chance = random.Random(3)
    troubles = [None, None, (429, {"Retry-After": "1"}), (500, {}), (503, {})]
    with FakeDeepL(lambda number: chance.choice(troubles)) as server:
        run(rows, server)
    assert server.seen == Counter(texts_of(rows))
    assert pairs.read(tmp_path / "out.parquet") == translated(rows)


def test_a_notice_where_the_quota_is_less_than_needed(run, capsys):
    with FakeDeepL(limit=3) as server:
        run(some_pairs(3), server)
    assert "has less left" in capsys.readouterr().err


def test_json_lines_and_another_folder(tmp_path):
    (tmp_path / "a").mkdir()
    source = tmp_path / "a" / "in.jsonl"
    source.write_text(json.dumps({"image_path": "img/1.jpg", "captions": ["a cat"]}) + "\n")
    with FakeDeepL() as server:
        translate(source, tmp_path / "b" / "out.jsonl", DeepL(ENGLISH, server.url), tmp_path / "c.sqlite")
    row = json.loads((tmp_path / "b" / "out.jsonl").read_text())
    assert row["image_path"] == "../a/img/1.jpg"
    assert (row["captions"], row["captions_original"]) == (["a cat in italiano"], ["a cat"])


def test_an_empty_and_a_missing_input(run, tmp_path):
    with FakeDeepL() as server:
        assert run([], server).after == 0
        with pytest.raises(UserError, match="no such pairs file"):
            translate(tmp_path / "no.parquet", tmp_path / "o.parquet", DeepL(ENGLISH, server.url), tmp_path / "c")
    assert not server.bodies


def start(tmp_path, server, name, parallel=3):
    return Forked(
        translate_by, server.url, parallel, tmp_path / "in.parquet", tmp_path / name, tmp_path / "cache.sqlite"
    )


def translate_by(url, parallel, source, output, cache):
    translate(source, output, DeepL(ENGLISH, url, parallel), cache)


def committed(tmp_path):
    with sqlite3.connect(tmp_path / "cache.sqlite") as base:
        found = {text for (text,) in base.execute("SELECT text FROM translations")}
    base.close()
    return found


@pytest.mark.integration
def test_killed_at_random_moments_nothing_is_lost_and_nothing_paid_twice(tmp_path, run):
    rows = some_pairs(1_500)
    chance = random.Random(os.environ.get("KILL_SEED", "7"))
    with FakeDeepL() as server:
        run(rows, server, "undisturbed.parquet")
    (tmp_path / "cache.sqlite").unlink()

    parallel, kills = 3, 4
    with FakeDeepL(delay=0.05) as server:
        for _ in range(kills):
            server.hold_after = len(server.bodies) + chance.randint(1, 8)
            process = start(tmp_path, server, "out.parquet", parallel)
            until(lambda: len(server.bodies) > server.hold_after, process)
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            server.hold_after = None
            kept = committed(tmp_path)
            assert not (tmp_path / "out.parquet").exists()
            seen = Counter(server.seen)
            assert kept <= set(seen)
            assert len(set(seen) - kept) <= parallel * 50
        server.delay = 0
        assert start(tmp_path, server, "out.parquet", parallel).wait() == 0
    assert kept, "nothing was committed before the kills"
    assert all(server.seen[text] == seen[text] for text in kept), "a committed text was sent again"
    assert set(server.seen) == texts_of(rows)
    assert sum(server.seen.values()) - len(server.seen) <= kills * parallel * 50, "more than what was under way"
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert rejects_path(tmp_path / "out.parquet").read_bytes() == b""


@pytest.mark.integration
def test_two_processes_on_one_cache_pay_once(tmp_path):
    rows = some_pairs(450)
    pairs.write(rows, tmp_path / "in.parquet")
    with FakeDeepL(delay=0.05) as server:
        both = [start(tmp_path, server, name) for name in ("one.parquet", "two.parquet")]
        assert [process.wait() for process in both] == [0, 0]
    assert server.seen == Counter(texts_of(rows))
    for name in ("one.parquet", "two.parquet"):
        assert pairs.read(tmp_path / name) == translated(rows)
