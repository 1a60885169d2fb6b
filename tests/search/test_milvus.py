"""The same commands with vectors and rows in Milvus Lite: the same answers as from a folder."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from clip_italian import pairs
from clip_italian.errors import UsageError, UserError
from clip_italian.pairs import Pair
from clip_italian.pictures.coordinates import Point
from clip_italian.search import update
from clip_italian.search.filters import Filter, Near
from clip_italian.search.index import Index
from clip_italian.search.schema import ROWS
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.search.test_update import contents

pytest.importorskip("pymilvus", reason="extra `milvus` is not installed")
pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")


@pytest.fixture
def store(tmp_path):
    return f"milvus://{tmp_path}/lite.db/pictures"


def test_the_same_updates_and_searches_as_in_a_folder(tmp_path, photos, model, encoder, store):
    there, here = tmp_path / "there", tmp_path / "here"
    query = np.eye(24)[0].astype(np.float32)

    def both(step):
        changes = [step(index, **({"store": store} if index == there else {})) for index in (there, here)]
        assert changes[0] == changes[1]
        assert contents(there) == contents(here)
        found = [Index.open(index).search(query, 5, group=True) for index in (there, here)]
        assert [hit.id for hit in found[0]] == [hit.id for hit in found[1]]
        assert np.allclose([hit.score for hit in found[0]], [hit.score for hit in found[1]], atol=1e-4)
        return changes[0]

    assert both(lambda index, **more: update.build(index, [photos], model, **more)).embedded == 12
    (photos / "00.png").rename(photos / "moved.png")
    (photos / "03.png").unlink()
    noise(77).save(photos / "06.png")
    encoder.embedded = 0
    change = both(lambda index, **more: update.build(index, [photos], model, **more))
    assert (change.pictures, change.embedded, encoder.embedded) == (11, 1, 2)
    noise(90).save(photos / "new.png")
    both(lambda index, **_: update.add(index, [photos], model))
    assert both(lambda index, **_: update.remove(index, ["sub/0*"])).removed == 6
    index = Index.open(there)
    assert index.info["store"] == store
    for hit in index.search(query, 3):
        assert index.hit(hit.row).path == hit.path
        assert hit.open().size == (20, 20)
    assert index.hit(1) is None
    assert index.store.sample(3).shape == (3, 24)
    other = Index.open(here)
    for mine, theirs in zip(index.search(query, 3), other.search(query, 3), strict=True):
        assert index.details(mine.row) == other.details(theirs.row)
        assert np.allclose(index.store.vector(mine.row), other.store.vector(theirs.row), atol=1e-2)
    assert (index.details(1), index.store.vector(1)) == (None, None)
    with pytest.raises(UsageError, match="compacts them automatically"):
        update.compact(there)
    with pytest.raises(UsageError, match="built with --exact"):
        index.search(query, exact=True)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (Filter(source="wit"), "ab"),
        (Filter(source='w"it'), "d"),
        (Filter(equal=(("license", "CC0"),)), "ac"),
        (Filter(folder="photos/sub"), "cd"),
        (Filter(folder="photos/su"), ""),
        (Filter(folder="/nowhere"), ""),
        (Filter(folder="."), "abcd"),
        (Filter(since=date(2000, 1, 1), source="wit"), "ab"),
        (Filter(until=date(2000, 1, 1)), ""),
    ],
)
def test_filters(tmp_path, photos, model, store, filter_, expected):
    rows = [
        Pair("a", "photos/00.png", ("x",), "wit", license="CC0"),
        Pair("b", "photos/03.png", ("x",), "wit"),
        Pair("c", "photos/sub/01.png", ("x",), "coco", license="CC0"),
        Pair("d", "photos/sub/02.png", ("x",), 'w"it'),
    ]
    pairs.write(rows, tmp_path / "pairs.jsonl")
    update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], model, store=store)
    index = Index.open(tmp_path / "idx")
    assert sorted(hit.id for hit in index.search(np.eye(24)[0], 9, where=filter_)) == list(expected)


@pytest.mark.parametrize(
    "filter_",
    [
        Filter(keywords=("anna",)), Filter(keywords=("Mare", "anna")), Filter(keywords=("mar",)), Filter(camera="D9"),
        Filter(camera="d9"), Filter(camera="D_0"), Filter(near=Near(Point(45, 9), 60)),
        Filter(near=Near(Point(45, 9), 80)), Filter(near=Near(Point(45, 9), 900), camera="Apple"),
    ],
)  # fmt: skip
def test_filters_by_metadata_give_the_rows_of_a_folder(tmp_path, photos, model, store, filter_):
    facts = [([45.5, 9], ["Anna", "Mare"], "D90"), ([45.5, 9.8], ["mare"], "D9_0"), ([41.9, 12.5], ["ANNA"], "X")]
    for number, ((latitude, longitude), words, camera) in enumerate(facts):
        data = {"latitude": latitude, "longitude": longitude, "keywords": words, "Make": "Apple", "Model": camera}
        (photos / "sub" / f"{(1, 2, 4)[number]:02}.png.json").write_text(json.dumps(data))
    found = []
    for name, options in (("there", {"store": store}), ("here", {})):
        update.build(tmp_path / name, [photos], model, **options)
        hits = Index.open(tmp_path / name).search(np.eye(24)[0], 2, where=filter_)
        found.append([(hit.id, hit.taken, hit.latitude, hit.longitude) for hit in hits])
    assert found[0] == found[1]


def test_a_collection_of_an_older_version_is_kept_and_lacks_metadata(tmp_path, photos, model, store, monkeypatch):
    from clip_italian.search import milvus

    columns = pa.schema([field for field in ROWS if field.name not in ("keywords", "camera", "latitude", "longitude")])
    with monkeypatch.context() as patch:
        patch.setattr(milvus, "ROWS", columns)
        patch.setattr(milvus, "_LISTS", ())
        update.build(tmp_path / "idx", [photos], model, store=store)
    noise(99).save(photos / "new.png")
    assert update.build(tmp_path / "idx", [photos], model, store=store).embedded == 1
    opened = Index.open(tmp_path / "idx")
    assert len(opened.search(np.eye(24)[0], 20)) == 13
    with pytest.raises(UserError, match="it has no camera to filter by; build the index into another"):
        opened.search(np.eye(24)[0], where=Filter(camera="D90"))


def test_a_killed_update_goes_on(tmp_path, photos, model, store, monkeypatch):
    from clip_italian.search import milvus

    monkeypatch.setattr(milvus, "_BATCH", 5)
    real, calls = milvus.entity_of, []

    def stop(row):
        calls.append(row)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(row)

    monkeypatch.setattr(milvus, "entity_of", stop)
    with pytest.raises(KeyboardInterrupt):
        update.build(tmp_path / "idx", [photos], model, store=store)
    assert not (tmp_path / "idx" / "index.json").exists()
    monkeypatch.setattr(milvus, "entity_of", real)
    encoder = FakeEncoder()
    change = update.build(tmp_path / "idx", [photos], update.Model(encoder, "fake"), store=store)
    assert (change.pictures, change.added, encoder.embedded) == (12, 7, 0)


def test_another_model_and_what_is_not_there(tmp_path, photos, model, store):
    update.build(tmp_path / "idx", [photos], model, store=store)
    opened = Index.open(tmp_path / "idx")
    other = update.Model(FakeEncoder(seed=4), "other")
    update.build(tmp_path / "other", [photos], other, store=store)
    with pytest.raises(UserError, match="filled anew"):
        Index.open(tmp_path / "idx")
    assert len(opened) == 12
    for wrong in ("milvus://", "milvus://host", "milvus://host:1/a/b", "redis://host/a", "milvus:///pictures"):
        with pytest.raises(UserError, match="give milvus://"):
            update.build(tmp_path / "new", [photos], model, store=wrong)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/pictures: Milvus says: .*connect"):
        update.build(tmp_path / "new", [photos], model, store="milvus://127.0.0.1:9/pictures")


def test_collections_of_others_are_left_alone(tmp_path, photos, model, store):
    from pymilvus import MilvusClient

    client = MilvusClient(uri=str(tmp_path / "lite.db"))
    client.create_collection("pictures", dimension=4)
    with pytest.raises(UserError, match="holds something else"):
        update.build(tmp_path / "idx", [photos], model, store=store)
    assert client.has_collection("pictures")
