"""A lane works on what waits together; each asker gets its own answers, errors and time limit."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from clip_italian.serve.encoder import Lane, SharedEncoder, deadline
from tests.wait import until


def halves(items):
    if 0 in items:
        raise ValueError(f"no zero: {items}")
    return [12 / item for item in items]


def test_each_asker_gets_its_own_answers():
    sizes = []
    lane = Lane(halves, 4, sizes.append)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: lane.ask([n, n + 1]), range(1, 101)))
    assert answers == [[12 / n, 12 / (n + 1)] for n in range(1, 101)]
    assert sum(sizes) == 200
    assert max(sizes) <= 4
    lane.close()


class Held:
    """Work that starts nothing before `go`; the first item is alone in its batch, the others wait for it."""

    def __init__(self, work):
        self.work, self.started, self.go = work, threading.Event(), threading.Event()

    def __call__(self, items):
        self.started.set()
        assert self.go.wait(20)
        return self.work(items)

    def ask(self, pool, lane, first, *others):
        asked = [pool.submit(lane.ask, [first])]
        assert self.started.wait(20)
        asked += [pool.submit(lane.ask, [item]) for item in others]
        until(lambda: lane._waiting.qsize() == len(others))
        return asked


def test_one_that_fails_does_not_fail_the_others():
    sizes, held = [], Held(halves)
    lane = Lane(held, 8, sizes.append)
    with ThreadPoolExecutor(4) as pool:
        asked = held.ask(pool, lane, 1, 2, 0, 3)
        held.go.set()
        assert [asked[at].result(20) for at in (0, 1, 3)] == [[12], [6], [4]]
        with pytest.raises(ValueError, match=r"no zero: \[0\]"):
            asked[2].result(20)
    assert sizes == [1, 3]
    lane.close()


def test_a_deadline_gives_up_and_what_nobody_waits_for_is_not_done():
    go, done = threading.Event(), []

    def work(items):
        assert go.wait(20)
        done.extend(items)
        return items

    lane = Lane(work, 1)
    token = deadline.set(time.monotonic() + 0.1)
    try:
        for item in ("first", "second"):
            with pytest.raises(TimeoutError):
                lane.ask([item])
    finally:
        deadline.reset(token)
    go.set()
    assert lane.ask(["third"]) == ["third"]
    assert done == ["first", "third"]
    lane.close()


def test_closing_finishes_what_waits():
    held = Held(list)
    lane = Lane(held, 2)
    with ThreadPoolExecutor(7) as pool:
        asked = held.ask(pool, lane, *range(6))
        closing = pool.submit(lane.close)
        held.go.set()
        assert [one.result(20) for one in asked] == [[n] for n in range(6)]
        closing.result(20)
    assert not lane._thread.is_alive()


class Counting:
    """A model that counts the texts it embeds."""

    info: ClassVar[dict] = {}
    dim = 2

    def __init__(self):
        self.seen = []

    def encode_text(self, texts):
        self.seen += texts
        return np.array([[len(text), 1] for text in texts], np.float32)

    def encode_pixels(self, pixels):
        return np.zeros((len(pixels), 2), np.float32)


def test_recent_texts_are_not_embedded_again(monkeypatch):
    monkeypatch.setattr("clip_italian.serve.encoder._RECENT", 3)
    model = Counting()
    shared = SharedEncoder(model)
    try:
        first = shared.encode_text(["a", "bb", "a"])
        assert first.tolist() == [[1, 1], [2, 1], [1, 1]] and model.seen == ["a", "bb"]
        assert shared.encode_text(["bb", "ccc"]).tolist() == [[2, 1], [3, 1]] and model.seen == ["a", "bb", "ccc"]
        shared.encode_text(["dddd"])  # "a" was not asked for longest
        assert shared.encode_text(["bb"]).tolist() == [[2, 1]] and len(model.seen) == 4
        assert shared.encode_text(["a"]).tolist() == [[1, 1]] and model.seen[-1] == "a"
        assert shared.encode_text([]).shape == (0, 2)
    finally:
        shared.close()


def test_a_kept_embedding_does_not_keep_its_batch():
    recent = SharedEncoder(Counting())
    try:
        recent.encode_text(["a", "bb", "ccc"])
        assert recent._recent.get("a").base is None
    finally:
        recent.close()
