"""An index remembers the precision of its vectors, and is searched in another only where the hits agree."""

import dataclasses

import pytest

from clip_italian.errors import UserError
from clip_italian.models.precision import LEAST_AGREEMENT, Identity
from clip_italian.search import update
from clip_italian.search.index import Index
from clip_italian.search.query import Query, find
from clip_italian.search.schema import Manifest
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder


def quantised(encoder, agreement):
    """The same model in int8: other embeddings, hits that agree so far."""
    other = FakeEncoder()
    other.projection = encoder.projection + 1e-4
    other.identity = Identity("int8-weights", encoder.weights_hash, "int8", agreement)
    other.weights_hash = "int8-weights"
    other.encode_text = lambda texts: other.projection[: len(texts)]
    return other


@pytest.fixture
def index(photos, model, tmp_path):
    update.build(tmp_path / "idx", [photos], model)
    return tmp_path / "idx"


def test_an_index_remembers_its_precision(index, encoder):
    manifest = Index.open(index).manifest
    assert manifest.identity == encoder.identity
    assert (manifest.precisions, Index.open(index).info["precision"]) == (["float32"], "float32")


def test_hits_that_agree_let_another_precision_search_and_add(index, encoder, photos):
    other = quantised(encoder, LEAST_AGREEMENT)
    assert len(find(Query(("un gatto",)), other, Index.open(index), k=20)) == 12
    before = Index.open(index).manifest
    assert update.build(index, [photos], update.Model(other, "fake")).embedded == 0
    assert Index.open(index).manifest == before, "nothing was embedded, nothing changes"
    noise(99).save(photos / "new.png")
    assert update.build(index, [photos], update.Model(other, "fake")).embedded == 1
    manifest = Index.open(index).manifest
    assert manifest.precisions == ["float32", "int8"]
    assert manifest.agreement == LEAST_AGREEMENT and manifest.model == encoder.weights_hash
    Index.open(index).check_model(encoder)


def test_hits_that_differ_are_refused_and_said(index, encoder, photos):
    other = quantised(encoder, 0.5)
    with pytest.raises(UserError, match="made in float32, the model runs in int8 here, and only 50% of the ten best"):
        find(Query(("un gatto",)), other, Index.open(index))
    with pytest.raises(UserError, match="only 50%"):
        update.add(index, [photos], update.Model(other, "fake"))
    assert update.build(index, [photos], update.Model(other, "fake")).embedded == 12, "built again"
    assert Index.open(index).manifest.precisions == ["int8"]
    with pytest.raises(UserError, match="made in int8, the model runs in float32 here"):
        Index.open(index).check_model(encoder)
    Index.open(index).check_model(other)


def test_an_index_of_an_earlier_version_is_float32():
    old = Manifest(model="a", model_name="mini", dim=2)
    assert old.identity == Identity("a", "a", "float32", 1.0)
    assert old.with_precision(Identity("b", "a", "int8", 0.95)).precisions == ["float32", "int8"]


def test_a_worker_with_another_precision_is_refused_where_hits_differ(encoder, monkeypatch):
    from clip_italian.search import embed

    monkeypatch.setattr(embed, "load", lambda _: quantised(encoder, 0.5))
    embed._loaded.cache_clear()
    with pytest.raises(UserError, match="another model on this machine"):
        embed._loaded("mini", encoder.identity)
    agreeing = dataclasses.replace(encoder.identity)
    monkeypatch.setattr(embed, "load", lambda _: quantised(encoder, 1.0))
    assert embed._loaded("mini", agreeing).identity.precision == "int8"
    embed._loaded.cache_clear()
