"""A lane works on what waits together; each asker gets its own answers, errors and time limit."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clip_italian.serve.lanes import Lane, deadline


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


def test_one_that_fails_does_not_fail_the_others():
    go = threading.Event()

    def work(items):
        assert go.wait(20)
        return halves(items)

    lane = Lane(work, 8)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(lane.ask, [n]) for n in (1, 2, 0, 3)]
        while lane._waiting.qsize() < 3:
            time.sleep(0.005)
        go.set()
        assert [asked[at].result() for at in (0, 1, 3)] == [[12], [6], [4]]
        with pytest.raises(ValueError, match=r"no zero: \[0\]"):
            asked[2].result()
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
    lane = Lane(lambda items: [time.sleep(0.02) or item for item in items], 2)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(lane.ask, [n]) for n in range(6)]
        while not any(one.done() for one in asked):
            time.sleep(0.001)
        lane.close()
        assert [one.result(timeout=20) for one in asked] == [[n] for n in range(6)]
