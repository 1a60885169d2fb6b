"""Who may ask, what answers never tell, and what happens when there is too much to do."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clip_italian.errors import UsageError, UserError
from clip_italian.search import update
from clip_italian.serve.settings import access, read_keys
from tests.conftest import draw_shape
from tests.serve.conftest import exif, served, upload
from tests.wait import until

KEY = "0123456789abcdef"
CITY = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Milano"/></rdf:RDF></x:xmpmeta>"""


def test_keys(start, photos):
    client = start(keys=[KEY, "another key of mine"])
    for path in ("/", "/docs", "/page.js", "/search.js", "/page.css", "/openapi.json", "/health"):
        assert client.get(path).status_code == 200
    for path in ("/v1/search?text=gatto", "/v1/model", "/v1/pictures/1", "/v1/pictures/1/details", "/metrics"):
        for headers in ({}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": ""}, {"Authorization": f"Basic {KEY}"}):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
        for headers in ({"X-API-Key": KEY}, {"Authorization": "Bearer another key of mine"}):
            assert client.get(path, headers=headers).status_code == 200
    assert client.post("/v1/search", **upload(photos / "quadrato" / "blu-0.png")).status_code == 401


def test_only_names_of_this_machine_without_keys(start):
    client = start(names=["Bilder.example"])
    for host in ("localhost", "127.0.0.1:7860", "[::1]:7860", "bilder.example:80"):
        assert client.get("/health", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", ""):
        assert client.get("/v1/search?text=gatto", headers={"host": host}).status_code == 403
    assert start(keys=[KEY]).get("/health", headers={"host": "any.example"}).status_code == 200


def test_cors_for_listed_sites_only(start):
    client = start(keys=[KEY], origins=["https://good.example"])
    for origin, allowed in (("https://good.example", "https://good.example"), ("https://evil.example", None)):
        answer = client.get("/v1/model", headers={"origin": origin, "X-API-Key": KEY})
        assert answer.headers.get("access-control-allow-origin") == allowed
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key",
        }
        preflight = client.options("/v1/search", headers=asked)
        assert preflight.headers.get("access-control-allow-origin") == allowed
    assert (
        "access-control-allow-origin" not in start().get("/health", headers={"origin": "https://good.example"}).headers
    )


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/model", "/v1/pictures/1", "/v1/pictures/99", "/nothing"])
def test_every_answer_keeps_browsers_strict(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_pages_hold_nothing_from_elsewhere(client):
    for path in ("/", "/docs", "/page.css", "/page.js", "/search.js"):
        text = client.get(path).text
        assert not re.search(r"(src|href)=\"(https?:)?//|url\(|@import|<style|style=|<script>| on\w+=", text)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/pictures/../../../etc/passwd", "/v1/pictures/..%2f..%2f..%2fetc%2fpasswd", "/v1/pictures/-1",
        "/v1/pictures/1.png", "/v1/pictures/1e3", "/v1/pictures/99999999999999999999", "/v1/pictures/%00",
        "/page.css/../page.html",
        "/..%2f..%2fetc/passwd", "//etc/passwd", "/templates/serve/page.html",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert list(answer.json()) == ["error"]


def test_folder_filters_only_compare_text(client):
    for folder in ("../../etc", "..", "cerchio/../../..", "~"):
        assert client.get("/v1/search", params={"text": "gatto", "folder": folder}).json()["hits"] == []


def test_answers_hold_no_path_of_this_machine(alters, client, tmp_path, photos, monkeypatch):
    texts = [client.get(path).text for path in ("/v1/search?text=gatto&k=36", "/v1/model", "/metrics", "/", "/docs")]
    (photos / "cerchio" / "rosso-0.png").unlink()
    texts += [client.get(f"/v1/pictures/{row}{more}").text for row in range(36) for more in ("?size=large", "/details")]

    def fail(*_, **__):
        raise UserError(f"{tmp_path}/idx: something with a path")

    monkeypatch.setattr("clip_italian.serve.service.find", fail)
    answer = client.get("/v1/search?text=gatto")
    assert answer.status_code == 500
    assert answer.json() == {"error": "an error inside the service; its log says which"}
    assert "content-security-policy" in answer.headers
    for text in (*texts, answer.text):
        assert str(tmp_path) not in text
        assert "Traceback" not in text


def test_places_can_be_kept_out_of_answers(tmp_path, encoder):
    (tmp_path / "photos").mkdir()
    draw_shape("cerchio", "red", 1).save(
        tmp_path / "photos" / "a.jpg", exif=exif("2019:08:12 14:30:00", ((45.0, 27.0, 36.0), (9.0, 11.0, 24.0)))
    )
    (tmp_path / "photos" / "a.jpg.xmp").write_text(CITY, encoding="utf-8")
    update.build(tmp_path / "idx", [tmp_path / "photos"], update.Model(encoder, "tiny"))
    for places in (True, False):
        with served(tmp_path / "idx", encoder, places=places) as client:
            (hit,) = client.get("/v1/search?text=gatto").json()["hits"]
            assert hit["taken"] == "2019-08-12T14:30:00"
            assert (hit["latitude"], hit["longitude"]) == ((45.46, 9.19) if places else (None, None))
            details = client.get(f"{hit['picture']}/details").json()
            assert "error" not in details, details
            assert (details["camera"], details["location"]) == ("Pinhole 3", "Milano" if places else None)
            near = client.get("/v1/search?text=gatto&near=45.46,9.19")
            assert near.status_code == (200 if places else 422)
            assert ("<label hidden>" in client.get("/").text) != places
    assert access("127.0.0.1", [], [], []).places
    assert not access("127.0.0.1", [KEY], [], []).places
    assert access("127.0.0.1", [KEY], [], [], places=True).places


class Slow:
    """Holds the text lane until it is let go."""

    def __init__(self, service, monkeypatch):
        self.started, self.go, self.batches = threading.Event(), threading.Event(), []
        work = service.encoder._texts._work

        def slow(texts):
            self.batches.append(list(texts))
            self.started.set()
            assert self.go.wait(20)
            return work(texts)

        monkeypatch.setattr(service.encoder._texts, "_work", slow)


def test_too_many_at_once_get_503_and_waiting_texts_go_together(start, monkeypatch, encoder):
    client = start(requests=5)
    slow = Slow(client.service, monkeypatch)
    words = ["gatto", "foto", "nero", "rosso", "blu"]
    with ThreadPoolExecutor(5) as pool:
        ask = lambda word: client.post("/v1/embed", json={"texts": [word]})  # noqa: E731
        answers = [pool.submit(ask, words[0])]
        assert slow.started.wait(20)
        answers += [pool.submit(ask, word) for word in words[1:]]
        until(lambda: client.service.encoder._texts._waiting.qsize() == 4)
        refused = client.get("/v1/model")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/health").status_code == 200  # it lives
        slow.go.set()
        found = [answer.result().json()["embeddings"][0] for answer in answers]
    assert slow.batches[0] == ["gatto"]
    assert sorted(slow.batches[1]) == sorted(words[1:])
    assert np.allclose(found, encoder.encode_text(words), atol=1e-5)
    assert client.get("/v1/model").status_code == 200


def test_what_takes_too_long_gets_504(start, monkeypatch):
    client = start(seconds=0.5, requests=2)
    slow = Slow(client.service, monkeypatch)
    try:
        answer = client.get("/v1/search?text=gatto")
        assert (answer.status_code, list(answer.json())) == (504, ["error"])
        assert "retry-after" in answer.headers
    finally:
        slow.go.set()
    until(lambda: client.get("/v1/search?text=gatto").status_code == 200)  # it is itself again


def test_a_request_counts_until_its_thread_has_ended(start, monkeypatch):
    client = start(seconds=0.3, requests=1)
    go, facts = threading.Event(), client.service.facts

    def held():
        assert go.wait(20)
        return facts()

    monkeypatch.setattr(client.service, "facts", held)
    assert client.get("/v1/model").status_code == 504
    assert client.get("/v1/model").status_code == 503
    assert client.get("/health").status_code == 200
    go.set()
    until(lambda: client.get("/v1/model").status_code == 200)


def test_settings(tmp_path):
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(UsageError, match="others can reach it"):
            access(host, [], [], [])
        assert access(host, [KEY], [], []).hosts is None
    assert "localhost" in access("127.0.0.7", [], [], []).hosts
    with pytest.raises(UsageError, match="an origin looks like"):
        access("::1", [], ["example.org"], [])
    file = tmp_path / "keys"
    for content, told in (("", "no key"), ("# none\n\n", "no key"), ("short\n", "16 characters"), (16 * "à", "ASCII")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=told):
            read_keys(file)
    with pytest.raises(UserError, match="No such file"):
        read_keys(tmp_path / "missing")
    file.write_text(f"# mine\n{KEY}\n  another key of mine \n")
    assert read_keys(file) == [KEY, "another key of mine"]


def test_a_body_that_never_ends_gets_408(start):
    app = start(seconds=0.2).app
    sent = []

    async def receive():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/embed", "raw_path": b"/v1/embed", "root_path": "", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b"took too long to arrive" in sent[1]["body"]
