"""Pages from a site with troubles: what comes, what does not and why, how the host is treated, and what is kept."""

import gzip
import os
import time

import pytest

from clip_italian.http import USER_AGENT, FetchError
from clip_italian.sources.web import Pages, Policy, checked, read_page
from tests.sources.site import Site, html


def manners(**more):
    return Policy(**({"rate": 1_000.0, "timeout": 20.0, "retries": 2, "first_pause": 0.02} | more))


def robots(text):
    return lambda _: (200, text.encode(), {"X-Robots-Tag": "noindex"})


def fails(status, **headers):
    return lambda _: (status, b"", {name.replace("_", "-"): value for name, value in headers.items()})


def slow(_):
    time.sleep(60)
    return 200, b"", {}


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = time.monotonic() + 1_000
        self.slept = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    time = staticmethod(time.time)


def reason(pages, url):
    with pytest.raises(FetchError) as caught:
        pages.get(url)
    return caught.value.reason


def test_a_page_is_asked_for_once_and_kept(tmp_path):
    with Site({"/a": html("<p>perché no</p>")}) as site:
        kept = Pages(tmp_path, manners()).get(site.url("/a"))
        again = Pages(tmp_path, manners()).get(site.url("/a#foto"))
        assert kept == again
        assert site.paths() == ["/a"]
        assert {agent for _, _, agent in site.asked} == {USER_AGENT}
        assert (
            read_page(kept) == f"<!-- saved from url=({len(site.url('/a')):04d}){site.url('/a')} -->\n<p>perché no</p>"
        )
        assert [path.name for path in tmp_path.iterdir()] == [kept.name]


def test_robots_txt(tmp_path):
    text = "User-agent: *\nDisallow: /\n\nUser-agent: clip-italian\nDisallow: /no\nAllow: /no/but\n"
    answers = {path: html("x") for path in ("/yes", "/no/1", "/no/but")}
    answers["/turn"] = fails(301, Location="/no/1")
    with Site(answers | {"/robots.txt": robots(text)}) as site:
        pages = Pages(tmp_path / "ours", manners())
        pages.get(site.url("/yes"))
        pages.get(site.url("/no/but"))
        assert reason(pages, site.url("/no/1")) == "robots"
        assert reason(pages, site.url("/turn")) == "robots"
        assert (
            reason(Pages(tmp_path / "other", manners(user_agent="other/1.0 clip-italian")), site.url("/yes"))
            == "robots"
        )
        assert site.paths() == ["/yes", "/no/but", "/turn"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(fails(404), None), (fails(403), None), (fails(500), "http-500"), (slow, "timeout"), (fails(429), "http-429")],
)
def test_robots_txt_that_does_not_come(tmp_path, answer, expected):
    with Site({"/robots.txt": answer, "/a": html("x"), "/b": html("y")}) as site:
        pages = Pages(tmp_path, manners(retries=1, timeout=1.0 if answer is slow else 20.0))
        if expected is None:
            assert pages.get(site.url("/a")).is_file()
        else:
            assert [reason(pages, site.url(path)) for path in ("/a", "/b")] == [expected] * 2
            assert [path for path, _, _ in site.asked] == ["/robots.txt"] * 2


@pytest.mark.parametrize(
    ("text", "rate", "pause"),
    [
        ("User-agent: *\nCrawl-delay: 0.3", 100.0, 0.3),
        ("User-agent: *\nRequest-rate: 4/1", 100.0, 0.25),
        ("User-agent: *\nCrawl-delay: 0.01", 5.0, 0.2),
        ("", 4.0, 0.25),
    ],
)
def test_pauses(tmp_path, monkeypatch, text, rate, pause):
    clock = Clock()
    monkeypatch.setattr("clip_italian.sources.web.time", clock)
    with Site({"/robots.txt": robots(text)} | {f"/{n}": html("x") for n in range(3)}) as site:
        pages = Pages(tmp_path, manners(rate=rate))
        for number in range(3):
            pages.get(site.url(f"/{number}"))
        assert [path for path, _, _ in site.asked] == ["/robots.txt", "/0", "/1", "/2"]
    assert clock.slept == pytest.approx([0.0, pause, pause, pause])


def test_two_sites_of_one_host_share_the_pace(tmp_path):
    with Site({"/a": html("x")}) as one, Site({"/b": html("x")}) as two:
        pages = Pages(tmp_path, manners(rate=5.0))
        pages.get(one.url("/a"))
        pages.get(two.url("/b"))
        times = sorted(when for site in (one, two) for _, when, _ in site.asked)
        assert times[-1] - times[0] > 3 * 0.2 - 0.05


def test_tries_again_after_the_time_that_the_host_asks_for(tmp_path):
    def busy(number):
        return (429, b"", {"Retry-After": "1"}) if number == 1 else (200, b"<p>x", {})

    def broken(number):
        return (503, b"", {}) if number <= 2 else (200, b"<p>y", {})

    def cut(number):
        return (200, b"<p>z", {"Content-Length": "999", "Connection": "close"}) if number == 1 else (200, b"<p>z", {})

    with Site({"/busy": busy, "/broken": broken, "/cut": cut}) as site:
        pages = Pages(tmp_path, manners())
        for path, text in (("/busy", "<p>x"), ("/broken", "<p>y"), ("/cut", "<p>z")):
            assert read_page(pages.get(site.url(path))).endswith(text)
        assert site.paths() == ["/busy"] * 2 + ["/broken"] * 3 + ["/cut"] * 2
        first, second = (when for path, when, _ in site.asked if path == "/busy")
        assert second - first >= 1.0


def test_what_does_not_come(tmp_path):
    answers = {
        "/500": fails(500),
        "/circle": fails(302, Location="/circle"),
        "/mail": fails(302, Location="mailto:x@y"),
        "/pdf": lambda _: (200, b"%PDF", {"Content-Type": "application/pdf"}),
        "/noai": html("x", X_Robots_Tag="noai, noimageai"),
        "/huge": html("x" * 5_000),
        "/short": lambda _: (200, b"x", {"Content-Length": "999", "Connection": "close"}),
        "/zip": html("x" * 50, Content_Encoding="gzip"),
        "/empty": html(" \n"),
    }
    expected = {
        "/404": ("http-404", 1), "/500": ("http-500", 3), "/circle": ("redirects", 6), "/mail": ("bad-address", 1),
        "/pdf": ("not-html", 1), "/noai": ("robots-tag", 1), "/huge": ("too-many-bytes", 1), "/short": ("truncated", 3),
        "/zip": ("truncated", 3), "/empty": ("empty-page", 1),
    }  # fmt: skip
    with Site(answers) as site:
        pages = Pages(tmp_path, manners(max_bytes=4_000))
        assert {path: reason(pages, site.url(path)) for path in expected} == {
            path: r for path, (r, _) in expected.items()
        }
        assert {path: site.paths().count(path) for path in expected} == {path: n for path, (_, n) in expected.items()}
        lasting = [path for path in expected if path in ("/404", "/pdf", "/noai", "/huge")]
        before = len(site.asked)
        assert [reason(Pages(tmp_path, manners()), site.url(path)) for path in lasting] == [
            expected[p][0] for p in lasting
        ]
        assert len(site.asked) == before


def test_what_is_gone_is_asked_for_again_after_a_day(tmp_path):
    with Site({}) as site:
        assert reason(Pages(tmp_path, manners()), site.url("/a")) == "http-404"
        (refused,) = tmp_path.iterdir()
        yesterday = time.time() - 90_000
        os.utime(refused, (yesterday, yesterday))
        site.answers["/a"] = html("x")
        assert Pages(tmp_path, manners()).get(site.url("/a")).is_file()


def test_a_host_out_of_reach_is_given_up(tmp_path):
    with Site({}) as site:
        gone = site.url("")
    pages = Pages(tmp_path, manners(retries=0))
    assert {reason(pages, f"{gone}/{number}") for number in range(3)} == {"no-connection"}

    with Site({f"/{number}": fails(503) for number in range(9)}) as site:
        pages = Pages(tmp_path, manners(retries=0))
        assert {reason(pages, site.url(f"/{number}")) for number in range(9)} == {"http-503"}
        assert len(site.paths()) == 5


def test_a_host_that_wants_to_be_left_alone_for_hours(tmp_path):
    with Site({"/a": fails(429, Retry_After="7200"), "/b": html("x")}) as site:
        pages = Pages(tmp_path, manners())
        assert [reason(pages, site.url(path)) for path in ("/a", "/b")] == ["http-429"] * 2
        assert site.paths() == ["/a"]


def test_a_page_that_drips_is_cut_off(tmp_path):
    with Site({"/drip": html("x" * 100, X_Drip="0.2")}) as site:
        # Every byte comes in time, the whole page (20 seconds) does not.
        assert reason(Pages(tmp_path, manners(retries=0, timeout=3.0)), site.url("/drip")) == "timeout"


def test_an_empty_file_is_no_page(tmp_path):
    with Site({"/a": html("x")}) as site:
        kept = Pages(tmp_path, manners()).get(site.url("/a"))
        kept.write_bytes(b"")
        assert gzip.decompress(Pages(tmp_path, manners()).get(site.url("/a")).read_bytes()).endswith(b"x")
        assert site.paths() == ["/a", "/a"]


@pytest.mark.parametrize(
    "url",
    ["", "ilpost.it/a", "ftp://h/a", "http://", "http://[::1", "http://h:99999/", "http://h/a b", "file:///etc/passwd",
     "http://h/\ud800", "https://?x"],
)  # fmt: skip
def test_addresses_that_are_none(url):
    with pytest.raises(FetchError, match="bad-address"):
        checked(url)


def test_addresses():
    assert checked(" https://www.ilpost.it/2020/01/02/città/?a=b#c ") == "https://www.ilpost.it/2020/01/02/città/?a=b"
