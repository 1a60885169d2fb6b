"""Behind a proxy that publishes the service below a prefix, and asked by HEAD."""

import re
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from clip_italian.errors import UsageError
from clip_italian.serve import settings
from clip_italian.serve.app import create
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.settings import access

KEY = "0123456789abcdef"
HOME = "http://testserver/foto/"
GETS = ("/", "/page.css", "/page.js", "/docs", "/openapi.json", "/health", "/metrics", "/v1/model", "/v1/pictures/1")


def stripping(app, prefix="/foto"):
    """A proxy that hands on what lies below the prefix without it, and answers 404 to all else."""

    async def proxy(scope, receive, send):
        if scope["type"] == "http":
            if not scope["path"].startswith(f"{prefix}/"):
                await send({"type": "http.response.start", "status": 404, "headers": []})
                return await send({"type": "http.response.body", "body": b""})
            path = scope["path"].removeprefix(prefix)
            scope = {**scope, "path": path, "raw_path": path.encode()}
        return await app(scope, receive, send)

    return proxy


def behind(client, wrap=stripping, prefix="", keys=()):
    """A client of the same service behind a proxy."""
    app = create(client.service, access("127.0.0.1", keys, (), ("testserver",)), Metrics(), prefix)
    return TestClient(wrap(app), base_url=HOME)


def addresses(html):
    return [found for found in re.findall(r'(?:href|src)="([^"#]*)"', html) if not found.startswith("data:")]


@pytest.mark.parametrize("place", ["", "docs"])
def test_every_address_of_a_page_leads_to_something(client, place):
    proxied = behind(client)
    page = proxied.get(urljoin(HOME, place))
    assert page.status_code == 200
    found = {urljoin(HOME + place, address) for address in addresses(page.text)}
    assert found >= {HOME + "page.css", HOME + ("docs" if not place else "openapi.json")}
    assert {address: proxied.get(address).status_code for address in found} == dict.fromkeys(found, 200)


def test_the_scripts_ask_below_the_page(client):
    script = "".join(behind(client).get(HOME + name).text for name in ("page.js", "search.js"))
    asked = re.findall(r"[\"'`](/?v1/[^\"'`]*)", script)
    assert {re.split(r"[?$]", one)[0] for one in asked} == {
        "v1/search", "v1/pictures/", "v1/classify", "v1/locate", "v1/model",
    }  # fmt: skip


def test_the_description_says_where_the_service_is(client):
    for prefix in ("", "/foto"):
        description = behind(client, prefix=prefix).get(HOME + "openapi.json")
        server = urljoin(HOME + "openapi.json", description.json()["servers"][0]["url"])
        assert server.rstrip("/") + "/" == HOME


def pass_on(app):
    """A proxy that leaves the prefix where it is."""
    return app


def mount(app):
    """Another application that has the service in a sub-folder."""
    return Starlette(routes=[Mount("/foto", app)])


@pytest.mark.parametrize(("wrap", "prefix"), [(stripping, "/foto"), (pass_on, "/foto"), (mount, "")])
def test_with_the_prefix_known_pictures_have_whole_addresses(client, wrap, prefix):
    proxied = behind(client, wrap, prefix)
    answer = proxied.get(HOME + "v1/search", params={"text": "rosso", "k": 2})
    hits = answer.json()["hits"]
    assert [hit["picture"] for hit in hits] == [f"/foto/v1/pictures/{hit['row']}" for hit in hits]
    shown = proxied.get(urljoin(str(answer.url), hits[0]["picture"]))
    assert shown.headers["content-type"] == "image/jpeg" and shown.content.startswith(b"\xff\xd8")


def test_without_a_proxy_pictures_are_where_they_were(client):
    hit = client.get("/v1/search", params={"text": "rosso", "k": 1}).json()["hits"][0]
    assert hit["picture"] == f"/v1/pictures/{hit['row']}"
    assert client.get(hit["picture"]).status_code == 200


@pytest.mark.parametrize("wrap", [stripping, pass_on])
def test_keys_are_wanted_below_the_prefix_too(client, wrap):
    proxied = behind(client, wrap, "/foto", keys=(KEY,))
    assert proxied.get(HOME).status_code == proxied.get(HOME + "health").status_code == 200
    assert proxied.get(HOME + "v1/model").status_code == 401
    assert proxied.get(HOME + "v1/model", headers={"X-API-Key": KEY}).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/foto"])
def test_redirects_stay_below_the_prefix(client, prefix):
    proxied = behind(client, prefix=prefix)
    found = proxied.get(HOME + "docs/?x=1", follow_redirects=False)
    assert found.status_code == 307
    assert urljoin(HOME + "docs/?x=1", found.headers["location"]) == HOME + "docs?x=1"
    assert proxied.get(HOME + "v1/search/", params={"text": "rosso"}).status_code == 200


def test_the_prefix_without_a_slash_leads_to_the_page(client):
    found = behind(client, pass_on, "/foto").get("http://testserver/foto", follow_redirects=False)
    assert urljoin("http://testserver/foto", found.headers["location"]) == HOME


@pytest.mark.parametrize(
    ("given", "found"), [("", ""), ("/", ""), ("foto", "/foto"), ("/foto/", "/foto"), ("/a/b-c/", "/a/b-c")]
)
def test_prefixes(given, found):
    assert settings.prefix(given) == found


@pytest.mark.parametrize("given", ["http://example.org/foto", "/foto?x", "/../foto", "/fo to", '/"><script>'])
def test_what_is_no_prefix_is_one_line(given):
    with pytest.raises(UsageError, match=r"--root-path .*like /photos"):
        settings.prefix(given)


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_the_body(client, path):
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    counted = {"content-length"} if path == "/metrics" else set()  # each request is counted there
    assert head.headers.keys() == get.headers.keys()
    assert {k: v for k, v in head.headers.items() if k not in counted} == {
        k: v for k, v in get.headers.items() if k not in counted
    }
    assert int(head.headers["content-length"]) > 0


def test_head_of_a_search_and_of_what_is_not_there(client):
    assert client.head("/v1/search", params={"text": "rosso"}).status_code == 200
    assert client.head("/v1/search").status_code == client.get("/v1/search").status_code == 422
    missing = client.head("/v1/pictures/99999")
    assert (missing.status_code, missing.content) == (404, b"")


def test_head_needs_the_key_that_get_needs(start):
    guarded = start(keys=(KEY,))
    assert guarded.head("/v1/model").status_code == 401
    assert guarded.head("/v1/model", headers={"X-API-Key": KEY}).status_code == 200


def test_refusals_of_a_method_name_head_where_get_is(client):
    refused = client.delete("/health")
    assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    refused = client.head("/v1/classify")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_other_sites_may_ask_by_head(start):
    ours = start(origins=("https://example.org",))
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "HEAD"}
    assert ours.options("/v1/model", headers=asked).status_code == 200
