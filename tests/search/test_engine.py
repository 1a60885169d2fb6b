"""Vectors in half precision and the ways to find the nearest, beside torch and plain numpy."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clip_italian.errors import UserError
from clip_italian.search import engine
from clip_italian.search.engine import Chosen, Vectors, halved
from clip_italian.search.storage import nearest, nearest_in

DIM = 32


@given(arrays(np.float32, (3, 5), elements=st.floats(-2, 2, width=32)))
def test_vectors_are_halved_as_by_torch(values):
    tensor = torch.from_numpy(values)
    assert np.array_equal(halved(values), tensor.half().numpy())
    older = tensor.bfloat16()  # as older versions stored them
    assert np.array_equal(halved(older.view(torch.int16).numpy().view(np.uint16)), older.half().numpy())


def unit(count, seed, dim=DIM):
    values = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write(folder, values, indexed, dim=DIM):
    folder.mkdir()
    blocks = (halved(values[start : start + 700]) for start in range(0, len(values), 700))
    assert engine.build(folder, dim, blocks, indexed) == len(values)
    return Vectors.open(folder, len(values), dim, indexed)


@pytest.fixture(scope="module", params=[False, True], ids=["flat", "lists"])
def opened(request, tmp_path_factory):
    values = unit(3_000, 0)
    values[2_000:2_010] = values[:10]  # copies
    return values, write(tmp_path_factory.mktemp("v") / "s", values, request.param)


def ranking(values, query, rows):
    stored = values.astype(np.float16).astype(np.float32)
    scores = stored @ query / np.linalg.norm(stored, axis=1)
    order = rows[np.lexsort((rows, -scores[rows]))]
    return order, scores[order]


def test_every_row_has_its_vector(opened):
    values, store = opened
    rows = np.random.default_rng(1).permutation(3_000)
    assert np.array_equal(store.half(rows), values[rows].astype(np.float16))
    assert np.array_equal(store.take(rows), values[rows].astype(np.float16).astype(np.float32))


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
    for codes in (0, 10**9):  # one by one, and from the lists
        monkeypatch.setattr(engine, "_CODES", codes)
        mask = np.random.default_rng(3).random(3_000) < share
        query = unit(1, 11)[0]
        order, _ = ranking(values, query, np.flatnonzero(mask))
        found, _ = nearest(store, query, 20, Chosen(mask))
        assert len(found) == min(20, mask.sum())
        assert len(set(found) & set(order[:20])) >= 0.9 * len(found)
        assert mask[found].all()


def test_a_tenth_of_the_rows_is_searched_as_well_as_all(opened, monkeypatch):
    """The nearest of them lie in more lists, and among more candidates, than the nearest of all."""
    values, store = opened
    for name, value in (("_CODES", 10**9), ("CANDIDATES", 40), ("PROBES", 8)):
        monkeypatch.setattr(engine, name, value)
    mask = np.random.default_rng(4).random(3_000) < 0.1
    queries = unit(200, 12)
    best = [int(ranking(values, query, np.flatnonzero(mask))[0][0]) for query in queries]
    found = [nearest(store, query, 1, Chosen(mask))[0].tolist() for query in queries]
    assert np.mean([[one] == some for one, some in zip(best, found, strict=True)]) > 0.95


def test_lists_find_nearly_what_there_is(opened):
    values, store = opened
    queries = values[:200]
    best = [set(ranking(values, query, np.arange(3_000))[0][:10]) for query in queries]
    found = [set(nearest(store, query, 10)[0].tolist()) for query in queries]
    recall = np.mean([len(a & b) / 10 for a, b in zip(best, found, strict=True)])
    assert recall > 0.95
    assert nearest(store, values[0], 2)[0].tolist() == [0, 2_000], "a copy is as near as the vector itself"


@pytest.mark.parametrize("count", [50, 300])
def test_of_equal_vectors_the_first_are_found(tmp_path, count):
    """More equal ones than a search compares: pages then neither overlap nor leave a gap."""
    values = unit(2_000, 0)
    values[100 : 100 + count] = values[7]
    store = write(tmp_path / "s", values, False)
    for k in (1, 10, 40):
        assert nearest(store, values[7], k)[0].tolist() == [7, *range(100, 100 + k - 1)]


def test_odd_numbers(opened):
    _, store = opened
    nothing = Chosen(np.zeros(3_000, bool))
    assert len(nearest(store, unit(1, 1)[0], 5, nothing)[0]) == 0
    assert len(nearest(store, unit(1, 1)[0], 5_000)[0]) == 3_000
    assert len(nearest(store, unit(1, 1)[0], 5_000, exact=True)[0]) == 3_000


@pytest.mark.parametrize("share", [None, 0.4])
def test_lists_that_are_read_when_needed_find_what_faiss_finds_in_all(share, tmp_path, monkeypatch):
    """Beside FAISS's own search in an index that holds all lists from the start."""
    for name, value in (("CANDIDATES", 40), ("PROBES", 8)):
        monkeypatch.setattr(engine, name, value)
    values = unit(5_000, 0)
    store = write(tmp_path / "s", values, True)
    whole = engine._trained(values.astype(np.float16))
    mask = np.random.default_rng(3).random(5_000) < share if share else np.ones(5_000, bool)
    chosen = Chosen(mask) if share else None
    for query in unit(20, 9):
        probes = round(store._probes(40, chosen))
        settings = faiss.SearchParametersIVF(
            nprobe=probes, sel=faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        )
        expected = whole.search(query[None], 40, params=settings)[1][0]
        assert store.candidates(query, 10, chosen)[0].tolist() == sorted(expected.tolist())


@pytest.mark.parametrize("sizes", [(2_000, 1_500, 700), (3_000, 40, 40), (50, 30)])
def test_segments_together_find_what_one_of_all_finds(sizes, tmp_path, monkeypatch):
    """With as many vectors compared, not so many for each."""
    for name, value in (("CANDIDATES", 120), ("PROBES", 24)):
        monkeypatch.setattr(engine, name, value)
    values = unit(sum(sizes), 0)
    one = write(tmp_path / "one", values, True)
    ends = np.cumsum(sizes)
    parts = [
        (write(tmp_path / str(number), values[end - size : end], size > 100), None)
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    small, compared, best = sum(size for size in sizes if size <= 100), [], Vectors.best

    def counted(vectors, query, count, rows=None):
        compared.append(len(vectors) if rows is None else len(rows))
        return best(vectors, query, count, rows)

    monkeypatch.setattr(Vectors, "best", counted)
    found = {"one": 0, "several": 0}
    for query in unit(50, 9):
        right = {*ranking(values, query, np.arange(len(values)))[0][:10].tolist()}
        found["one"] += len(right & {*nearest(one, query, 10)[0].tolist()})
        compared.clear()
        numbers, positions, cosines = nearest_in(parts, query, 10)
        assert sum(compared) <= 130 + small  # more than 120 where products are equal
        rows = (ends - sizes)[numbers] + positions
        found["several"] += len(right & {*rows.tolist()})
        stored = values[rows].astype(np.float16).astype(np.float32)
        assert np.allclose(cosines, stored @ query / np.linalg.norm(stored, axis=1), atol=1e-6)
        assert np.all(np.diff(cosines) <= 0)
    assert found["several"] >= 0.93 * found["one"]  # codes of small segments are finer: their products look larger


def test_vectors_are_asked_for_ahead_only_while_they_come_from_the_disk(tmp_path, monkeypatch):
    values = unit(3_000, 0)
    store = write(tmp_path / "s", values, True)
    asked = []
    monkeypatch.setattr(engine, "_read_ahead", lambda mapped, starts, stops: asked.append((mapped.dtype, len(starts))))
    for limit, expected in ((0.0, [True, True]), (np.inf, [True, False]), (np.inf, [False, False])):
        monkeypatch.setattr(engine, "_FROM_MEMORY", limit)  # how long a vector may take that is in memory
        for ahead in expected:
            asked.clear()
            nearest(store, values[1], 5)
            assert any(kind == np.float16 for kind, _ in asked) == ahead


def test_a_search_reads_only_the_lists_that_it_looks_in(tmp_path, monkeypatch):
    """The others may be damaged meanwhile; the first search that looks there finds their vectors."""
    for name, value in (("CANDIDATES", 40), ("PROBES", 4)):
        monkeypatch.setattr(engine, name, value)
    values = unit(5_000, 0)
    store = write(tmp_path / "s", values, True)
    sizes = np.load(tmp_path / "s" / engine.SIZES_FILE)
    nearest(store, values[0], 1)
    read = store._lists._is_read
    assert read[sizes > 0].sum() == round(store._probes(40, None)) < len(sizes)
    before = read.copy()
    nearest(store, values[0], 1)
    assert np.array_equal(read, before)
    for row in range(0, 5_000, 7):
        assert nearest(store, values[row], 1)[0].tolist() == [row]
    assert read.all()


def test_files_of_another_shape_are_refused(tmp_path):
    write(tmp_path / "s", unit(20, 0), False)
    for rows, dim in ((21, DIM), (20, DIM + 1), (19, DIM)):
        with pytest.raises(UserError, match="damaged"):
            Vectors.open(tmp_path / "s", rows, dim, False)
    write(tmp_path / "g", unit(20, 0), True)
    for name in (engine.LISTS_FILE, engine.SIZES_FILE, engine.BLOCKS_FILE):
        path = tmp_path / "g" / name
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], whole[:10], b"", b"junk" * 100):
            path.write_bytes(content)
            with pytest.raises(UserError, match="damaged") as caught:
                nearest(Vectors.open(tmp_path / "g", 20, DIM, True), unit(1, 1)[0], 3)
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    assert len(nearest(Vectors.open(tmp_path / "g", 20, DIM, True), unit(1, 1)[0], 3)[0]) == 3
    for name, value in ((engine.SIZES_FILE, np.array([20.0])), (engine.BLOCKS_FILE, np.zeros(3))):
        write(folder := tmp_path / f"of-{name}", unit(20, 0), True)
        np.save(folder / name, value)
        with pytest.raises(UserError, match="damaged"):
            nearest(Vectors.open(folder, 20, DIM, True), unit(1, 1)[0], 3)
    (tmp_path / "s" / engine.VECTORS_FILE).write_bytes(b"junk")
    with pytest.raises(UserError, match="damaged"):
        Vectors.open(tmp_path / "s", 20, DIM, False)


@pytest.mark.parametrize("dim", [1, 2, 7, 24])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_few_vectors_and_short_ones_have_lists(dim, count, tmp_path):
    values = unit(count, dim, dim)
    store = write(tmp_path / "s", values, True, dim)
    for row in range(count):
        assert nearest(store, values[row], 1)[1][0] == pytest.approx(1, abs=1e-3)


def test_threads_that_search_first_at_the_same_time_get_the_same(tmp_path):
    values = unit(3_000, 0)
    store = write(tmp_path / "s", values, True)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: int(nearest(store, values[row], 1)[0][0]), range(64)))
    assert found == list(range(64))


def test_lists_are_the_same_each_time(tmp_path):
    values = unit(3_000, 0)
    digests = set()
    for name in "ab":
        write(tmp_path / name, values, True)
        content = [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
        digests.add(hashlib.sha256(b"".join(content)).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("with_graph", [False, True])
def test_vectors_of_older_versions_are_read(with_graph, tmp_path):
    """A head of two numbers, then bfloat16, in an order of its own where there is a graph, which follows."""
    values = unit(50, 3)
    bits = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    order = np.random.default_rng(5).permutation(50) if with_graph else np.arange(50)
    slots = np.argsort(order).astype(np.uint32)  # of each row
    head = np.array([50, 2 * DIM], np.uint32).tobytes()
    name = "vectors.usearch" if with_graph else "vectors.bbin"
    (tmp_path / name).write_bytes(head + bits[order].tobytes() + (b"a graph" if with_graph else b""))
    if with_graph:
        np.save(tmp_path / "slots.npy", slots)
    store = Vectors.open(tmp_path, 50, DIM, with_graph)
    expected = torch.from_numpy(values).bfloat16().half().numpy()
    assert np.array_equal(store.half(np.arange(50)), expected)
    for row in (0, 17, 49):
        assert nearest(store, values[row], 1)[0].tolist() == [row]
    for rows, dim in ((51, DIM), (50, DIM + 1)):
        with pytest.raises(UserError, match="damaged"):
            Vectors.open(tmp_path, rows, dim, with_graph)
