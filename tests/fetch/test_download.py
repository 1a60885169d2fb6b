"""Single pictures from a server with troubles: what comes, what does not and why, and how the host is treated."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from clip_italian.clean.pictures import PictureLimits
from clip_italian.fetch.download import Fetcher, Policy
from clip_italian.http import FetchError
from tests.fetch.web import Web, photo

LIMITS = PictureLimits()


@pytest.fixture(scope="module")
def web():
    with Web() as server:
        yield server


def fetcher(**more):
    return Fetcher(Policy(LIMITS, **({"timeout": 20.0, "retries": 2} | more)))


def opened(picture):
    image = Image.open(io.BytesIO(picture.jpeg))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.size == (picture.width, picture.height)
    return image


@pytest.mark.parametrize(
    ("path", "seed"),
    [("/good/1.jpg", 1), ("/redirect", 8), ("/busy-once", 9), ("/slow", 12), ("/truncated-once", 7)],
)
def test_what_comes(web, path, seed):
    found = np.asarray(opened(fetcher().fetch(web.url(path))), np.int16)
    assert np.abs(found - np.asarray(photo(seed), np.int16)).mean() < 6


def test_pictures_come_as_a_person_sees_them(web):
    turned = opened(fetcher().fetch(web.url("/turned")))
    assert turned.size == (200, 300)
    upright = np.asarray(photo(1).transpose(Image.Transpose.ROTATE_270), np.int16)
    assert np.abs(np.asarray(turned, np.int16) - upright).mean() < 6
    assert opened(fetcher().fetch(web.url("/gif"))).size == (300, 200)
    deep = np.asarray(opened(fetcher().fetch(web.url("/png16"))))
    assert deep[0, 0].max() < 5
    assert deep[-1, -1].min() > 250


@pytest.mark.parametrize(
    ("path", "reason", "times"),
    [
        ("/missing", "http-404", 1),
        ("/text", "unreadable", 1),
        ("/half", "unreadable", 1),
        ("/moving", "animated", 1),
        ("/small", "too-small", 1),
        ("/bomb", "too-many-pixels", 1),
        ("/noai", "robots-tag", 1),
        ("/huge", "too-many-bytes", 1),
        ("/closed-for-hours", "http-429", 1),
        ("/truncated", "truncated", 2),
        ("/drip", "timeout", 2),
    ],
)
def test_what_does_not_come(web, path, reason, times):
    with pytest.raises(FetchError, match=f"^{reason}$"):
        fetcher(retries=1, timeout=2.0 if reason == "timeout" else 20.0).fetch(web.url(path))
    assert web.asked[path] == times


def test_pictures_are_reduced_and_keep_their_shape(web):
    small = fetcher(size=128, quality=80).fetch(web.url("/good/1.jpg"))
    assert (small.width, small.height, small.original_width, small.original_height) == (192, 128, 300, 200)
    expected = np.asarray(photo(1).resize((192, 128), Image.Resampling.BOX), np.int16)
    assert np.abs(np.asarray(opened(small), np.int16) - expected).mean() < 6
    turned = fetcher(size=100).fetch(web.url("/turned"))
    assert (turned.width, turned.height, turned.original_width, turned.original_height) == (100, 150, 200, 300)
    assert len(fetcher(size=128, quality=95).fetch(web.url("/good/1.jpg")).jpeg) > len(small.jpeg)


def test_circles_and_wrong_addresses(web):
    with pytest.raises(FetchError, match="redirects"):
        fetcher().fetch(web.url("/circle"))
    for address in ("http://", "http://[::1", "http://a b/", "http://" + "a" * 300):
        with pytest.raises(FetchError, match=r"bad-address|no-connection"):
            fetcher(retries=0).fetch(address)


def test_busy_hosts_are_waited_for():
    with Web() as server:  # of its own: others ask for these pages too, in whichever process they run
        fetcher(retries=2).fetch(server.url("/busy-twice"))
        fetcher(retries=2).fetch(server.url("/busy-once"))
    first, second, third = server.times["/busy-twice"]
    assert second - first > 0.9
    assert third - second > 1.8
    asked, again = server.times["/busy-once"]
    assert again - asked > 0.9


def test_a_host_gets_so_many_requests_at_once_and_knows_who_asks():
    with Web(delay=0.3) as server:
        polite = fetcher(per_host=3)
        threads = [threading.Thread(target=polite.fetch, args=(server.url(f"/good/{i}.jpg"),)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once == 3
        assert sum(server.asked.values()) == 12
        [agent] = server.agents
        assert agent.startswith("clip-italian/")


def test_a_host_that_is_gone_is_not_waited_for_again_and_again(monkeypatch):
    waits = []
    monkeypatch.setattr("clip_italian.fetch.download.time.sleep", waits.append)
    polite = fetcher(retries=3)
    for _ in range(8):
        with pytest.raises(FetchError, match="no-connection"):
            polite.fetch("http://127.0.0.1:9/x.jpg")
    assert waits == [1, 2, 4, 1]  # after six connections in a row that failed: once a picture
