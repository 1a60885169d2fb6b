"""Vectors in bfloat16 and the ways to find the nearest, beside torch and plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clip_italian.errors import UserError
from clip_italian.search import engine, storage
from clip_italian.search.engine import Vectors, from_bf16, to_bf16
from clip_italian.search.storage import Chosen, nearest

DIM = 32


@given(arrays(np.float32, (3, 5), elements=st.floats(-2, 2, width=32)))
def test_rounding_is_that_of_torch(values):
    theirs = torch.from_numpy(values).bfloat16()
    assert np.array_equal(to_bf16(values), theirs.view(torch.int16).numpy().view(np.uint16))
    assert np.array_equal(from_bf16(to_bf16(values)), theirs.float().numpy())


def unit(count, seed, dim=DIM):
    values = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write(folder, values, graph, dim=DIM):
    folder.mkdir()
    blocks = (to_bf16(values[start : start + 700]) for start in range(0, len(values), 700))
    assert engine.build(folder, dim, blocks, graph) == len(values)
    return Vectors.open(folder, len(values), dim, graph)


@pytest.fixture(scope="module", params=[False, True], ids=["flat", "graph"])
def opened(request, tmp_path_factory):
    values = unit(3_000, 0)
    values[2_000:2_010] = values[:10]  # copies
    return values, write(tmp_path_factory.mktemp("v") / "s", values, request.param)


def ranking(values, query, rows):
    scores = from_bf16(to_bf16(values)) @ query
    scores /= np.linalg.norm(from_bf16(to_bf16(values)), axis=1)
    order = rows[np.lexsort((rows, -scores[rows]))]
    return order, scores[order]


def test_every_row_has_its_vector(opened):
    values, store = opened
    rows = np.random.default_rng(1).permutation(3_000)
    assert np.array_equal(store.take(rows), from_bf16(to_bf16(values[rows])))


def test_all_vectors_are_looked_at_where_that_is_asked_for(opened):
    values, store = opened
    for query in unit(5, 7):
        order, scores = ranking(values, query, np.arange(3_000))
        found, how_near = nearest(store, query, 50, exact=True)
        assert found.tolist() == order[:50].tolist()
        assert np.allclose(how_near, scores[:50], atol=1e-6)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_only_chosen_rows_are_found(opened, share, monkeypatch):
    values, store = opened
    for few in (storage._FEW, 2):  # one by one, and by asking for more
        monkeypatch.setattr(storage, "_FEW", few)
        mask = np.random.default_rng(3).random(3_000) < share
        query = unit(1, 11)[0]
        order, _ = ranking(values, query, np.flatnonzero(mask))
        found, _ = nearest(store, query, 20, Chosen(mask))
        assert len(found) == min(20, mask.sum())
        assert len(set(found) & set(order[:20])) >= 0.9 * len(found)
        assert mask[found].all()


def test_a_graph_finds_nearly_what_there_is(opened):
    values, store = opened
    queries = values[:200]
    best = [set(ranking(values, query, np.arange(3_000))[0][:10]) for query in queries]
    found = [set(nearest(store, query, 10)[0].tolist()) for query in queries]
    recall = np.mean([len(a & b) / 10 for a, b in zip(best, found, strict=True)])
    assert recall > 0.95
    assert nearest(store, values[0], 2)[0].tolist() == [0, 2_000], "a copy is as near as the vector itself"


def test_odd_numbers(opened):
    _, store = opened
    nothing = Chosen(np.zeros(3_000, bool))
    assert len(nearest(store, unit(1, 1)[0], 5, nothing)[0]) == 0
    assert len(nearest(store, unit(1, 1)[0], 5_000)[0]) == 3_000
    assert len(nearest(store, unit(1, 1)[0], 5_000, exact=True)[0]) == 3_000


def test_files_of_another_shape_are_refused(tmp_path):
    write(tmp_path / "s", unit(20, 0), False)
    for rows, dim in ((21, DIM), (20, DIM + 1), (19, DIM)):
        with pytest.raises(UserError, match="damaged"):
            Vectors.open(tmp_path / "s", rows, dim, False)
    write(tmp_path / "g", unit(20, 0), True)
    path = tmp_path / "g" / engine.GRAPH_FILE
    path.write_bytes(path.read_bytes()[: 8 + 20 * DIM * 2 + 10])
    with pytest.raises(UserError, match="damaged"):
        nearest(Vectors.open(tmp_path / "g", 20, DIM, True), unit(1, 1)[0], 3)
