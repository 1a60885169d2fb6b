"""The DeepL engine against a server that has its troubles: batches, retries, and what stops it."""

import itertools
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.errors import UsageError, UserError
from clip_italian.translate.deepl import DeepL, Options
from tests.translate.fake_deepl import KEY, FakeDeepL, italian

BODY = 128 * 1024


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("DEEPL_AUTH_KEY", KEY)


def engine(server, slept=None, **options):
    slept = [] if slept is None else slept
    return DeepL(Options("EN", "IT", **options), server.url, sleep=slept.append)


def statuses(*codes, **headers):
    """Trouble: these answers first, then translations."""
    return lambda number: (codes[number - 1], headers) if number <= len(codes) else None


def test_options_go_to_the_server():
    with FakeDeepL() as server:
        found = engine(server, formality="prefer_less", context="Photos.").translate(["A cat", "È così"])
    assert found == [italian("A cat"), italian("È così")]
    (body,) = server.bodies
    assert (body["source_lang"], body["target_lang"]) == ("EN", "IT")
    assert (body["formality"], body["context"]) == ("prefer_less", "Photos.")


def test_retry_after_is_honoured():
    slept = []
    with FakeDeepL(statuses(429, **{"Retry-After": "7"})) as server:
        assert engine(server, slept).translate(["a"]) == [italian("a")]
    assert slept == [7.0]
    assert len(server.bodies) == 2


def test_retry_after_is_waited_for_in_real_time():
    with FakeDeepL(statuses(429, **{"Retry-After": "1"})) as server:
        DeepL(Options("EN", "IT"), server.url).translate(["a"])
    assert server.times[1] - server.times[0] >= 1.0


@pytest.mark.parametrize("status", [500, 503, 529, 429])
def test_errors_of_the_server_are_tried_again_after_longer_and_longer(status):
    slept = []
    with FakeDeepL(statuses(status, status)) as server:
        assert engine(server, slept).translate(["a"]) == [italian("a")]
    assert 0.8 <= slept[0] <= 1.2
    assert 1.6 <= slept[1] <= 2.4
    assert len(server.bodies) == 3, "the client's own retries would have made more"


def test_it_gives_up_in_the_end():
    slept = []
    with FakeDeepL(lambda number: (429, {})) as server, pytest.raises(UserError, match="is overloaded"):
        engine(server, slept).translate(["a"])
    assert len(server.bodies) == 8
    assert len(slept) == 7
    assert sum(slept) < 200


def test_a_retry_after_of_hours_is_not_waited_for():
    slept = []
    with FakeDeepL(statuses(429, **{"Retry-After": "7200"})) as server, pytest.raises(UserError, match="429"):
        engine(server, slept).translate(["a"])
    assert slept == []


@pytest.mark.parametrize(
    ("status", "words"), [(456, "quota is used up"), (403, "rejects the key"), (400, "Bad request"), (413, "413")]
)
def test_what_is_not_tried_again(status, words):
    with FakeDeepL(statuses(status)) as server, pytest.raises(UserError, match=words):
        engine(server).translate(["a"])
    assert len(server.bodies) == 1


def test_a_server_that_is_gone():
    with FakeDeepL() as server:
        pass
    slept = []
    with pytest.raises(UserError, match="cannot be reached"):
        engine(server, slept).translate(["a"])
    assert len(slept) == 7
    with pytest.raises(UserError, match="cannot be reached"):
        engine(server, slept).quota()
    assert len(slept) == 7, "the first question is asked once: a wrong address shows at once"


@pytest.mark.parametrize("url", ["127.0.0.1:1", "nonsense", "http://", "ftp://127.0.0.1"])
def test_no_url(url):
    with pytest.raises(UsageError, match="not a URL"):
        DeepL(Options("EN", "IT"), url)


@pytest.mark.parametrize("key", ["", "  ", "chiave-è"])
def test_no_key(monkeypatch, key):
    monkeypatch.setenv("DEEPL_AUTH_KEY", key)
    with FakeDeepL() as server, pytest.raises(UserError, match="DEEPL_AUTH_KEY: no key"):
        engine(server).quota()


def test_quota():
    with FakeDeepL(limit=100) as server:
        assert engine(server).quota() == 100
        engine(server).translate(["12345"])
        assert engine(server).quota() == 95
    with FakeDeepL() as server:
        assert engine(server).quota() is None


def test_a_wrong_key_shows_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("DEEPL_AUTH_KEY", "another")
    with FakeDeepL() as server, pytest.raises(UserError, match="403"):
        engine(server).quota()


def test_too_few_answers_are_no_translation(monkeypatch):
    with FakeDeepL() as server:
        monkeypatch.setattr(server.RequestHandlerClass, "_send", _empty_answer)
        with pytest.raises(UserError, match="0 of 1 texts"):
            engine(server).translate(["a"])


def _empty_answer(handler, status, answer, headers=None):
    handler.send_response(200)
    handler.send_header("Content-Length", "9")
    handler.end_headers()
    handler.wfile.write(b"<html>hi>")


@pytest.mark.parametrize(
    "left_out",
    [("billed_characters",), ("detected_source_language",), ("billed_characters", "detected_source_language")],
)
def test_a_compatible_server_may_leave_optional_fields_out(left_out):
    with FakeDeepL() as server:
        server.left_out = left_out
        assert engine(server).translate(["a", "b"]) == [italian("a"), italian("b")]


def test_one_entry_without_text_costs_no_other():
    with FakeDeepL() as server:
        server.answer = lambda text: None if text == "b" else italian(text)
        assert engine(server).translate(["a", "b", "c"]) == [italian("a"), "", italian("c")]
        server.left_out = ("text", "billed_characters")
        assert engine(server).translate(["a"]) == [""]


@pytest.mark.parametrize("usage", [{"character_count": "x", "character_limit": []}, [], "tanto"])
def test_a_usage_in_another_form_is_no_quota(monkeypatch, usage):
    with FakeDeepL() as server:
        monkeypatch.setattr(
            server.RequestHandlerClass, "do_GET", lambda handler: handler._send(200, usage), raising=True
        )
        assert engine(server).quota() is None


def test_stop_wakes_those_who_wait():
    with FakeDeepL(lambda number: (503, {"Retry-After": "300"})) as server:
        one = DeepL(Options("EN", "IT"), server.url)
        threading.Timer(0.3, one.stop).start()
        with pytest.raises(UserError, match="Service unavailable"):
            one.translate(["a"])


def test_a_text_longer_than_a_request_is_not_sent():
    with FakeDeepL() as server:
        one = engine(server)
        long, fits = "x" * BODY, "y" * (BODY - 3_000)
        assert [one.translate(batch) for batch in one.batches([long, fits])] == [[None], [italian(fits)]]
        assert (one.characters(long), one.characters(fits), one.characters("è")) == (0, len(fits), 1)
    assert max(server.sizes) <= BODY


@given(
    st.lists(st.sampled_from(["a", "è" * 3_000, "x" * 60_000, "🐈" * 9_000]), max_size=130),
    st.none() | st.text(max_size=9),
)
def test_batches_fit_into_requests_and_keep_the_order(texts, context):
    batches = list(DeepL(Options("EN", "IT", context=context)).batches(texts))
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert 1 <= len(batch) <= 50
        assert len(json.dumps({"text": batch, "context": context}).encode()) < BODY - 500
    # No batch could have taken the first text of the next one.
    for batch, following in itertools.pairwise(batches):
        assert len(batch) == 50 or len(json.dumps([*batch, following[0]])) > BODY - 3_000
