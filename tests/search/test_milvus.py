"""The same commands with vectors and rows in Milvus: the same answers as from a folder.

The tests use the server at MILVUS_URI (http://HOST:PORT), with collections of their own, or else Milvus Lite.
"""

import json
import os
from collections import Counter
from datetime import date, datetime, timedelta
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.errors import UsageError, UserError
from clip_italian.pairs import Pair
from clip_italian.pictures.coordinates import Point
from clip_italian.search import milvus, update
from clip_italian.search.commit import FolderWriter, write_part
from clip_italian.search.filters import Filter, Near
from clip_italian.search.index import Index
from clip_italian.search.milvus import Collection, MilvusWriter
from clip_italian.search.schema import EMBEDDED, EXISTING, Manifest
from clip_italian.search.words import weights
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.search.test_update import contents

pytestmark = pytest.mark.integration

pytest.importorskip("pymilvus", reason="extra `milvus` is not installed")
SERVER = os.environ.get("MILVUS_URI", "").rpartition("://")[2].strip("/")
if not SERVER:
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")


@pytest.fixture(scope="module")
def new_store(tmp_path_factory):
    """Makes addresses of new collections; those on a server are dropped in the end."""
    made = []

    def make():
        place = SERVER or f"{tmp_path_factory.mktemp('milvus')}/lite.db"
        made.append(f"milvus://{place}/clip_italian_test_{uuid4().hex}")
        return made[-1]

    yield make
    for address in made if SERVER else ():
        collection = Collection(address)
        collection.client.drop_collection(collection.name)


@pytest.fixture
def store(new_store):
    return new_store()


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


def test_a_collection_of_an_older_version_is_kept_and_lacks_metadata_and_words(tmp_path, photos, model, store):
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    for name in ("id", "path", "source", "license", "page", "caption", "sha256", "look"):
        schema.add_field(name, DataType.VARCHAR, max_length=65_535, nullable=name not in ("id", "path"))
    for name in ("root", "offset", "length", "size", "mtime_ns", "taken"):
        schema.add_field(name, DataType.INT64, nullable=name != "root")
    mark = f"clip_italian_model_{model.encoder.weights_hash}"
    schema.add_field(mark, DataType.VARCHAR, max_length=1, nullable=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=24)
    kind = MilvusClient.prepare_index_params()
    kind.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
    collection = Collection(store)
    collection.client.create_collection(collection.name, schema=schema, index_params=kind)
    update.build(tmp_path / "idx", [photos], model, store=store)
    noise(99).save(photos / "new.png")
    assert update.build(tmp_path / "idx", [photos], model, store=store).embedded == 1
    opened = Index.open(tmp_path / "idx")
    assert (len(opened.search(np.eye(24)[0], 20)), opened.info["words"]) == (13, False)
    for where in (Filter(camera="D90"), Filter(keywords=("mare",)), Filter(near=Near(Point(45, 9), 5))):
        with pytest.raises(UserError, match=r"it has no .* to filter by; build the index into another collection"):
            opened.search(np.eye(24)[0], where=where)
    with pytest.raises(UserError, match="no words to search; build it into another collection"):
        opened.search(None, words="mare")
    update.build(tmp_path / "idx", [photos], model, store=store, language="de")  # has no words to write again
    assert contents(tmp_path / "idx").keys() == {*(f"{n:02}.png" for n in range(0, 12, 3)), "new.png"} | {
        f"sub/{n:02}.png" for n in range(12) if n % 3
    }


def test_a_killed_update_goes_on_and_doubles_no_row(tmp_path, photos, model, store, monkeypatch):
    monkeypatch.setattr(milvus, "_BATCH", 5)
    real, calls = milvus.entity_of, []

    def stop(row, words):
        calls.append(row)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(row, words)

    monkeypatch.setattr(milvus, "entity_of", stop)
    with pytest.raises(KeyboardInterrupt):
        update.build(tmp_path / "idx", [photos], model, store=store)
    assert not (tmp_path / "idx" / "index.json").exists()
    assert Collection(store).count() == 5
    monkeypatch.setattr(milvus, "entity_of", real)
    encoder = FakeEncoder()
    change = update.build(tmp_path / "idx", [photos], update.Model(encoder, "fake"), store=store)
    assert (change.pictures, change.added, encoder.embedded) == (12, 7, 0)
    ids = Counter(row["id"] for some in Collection(store).rows(["id"]) for row in some)
    assert (len(ids), set(ids.values())) == (12, {1})


@pytest.mark.parametrize("rows", [["a.jpg", "b.jpg"], []])
def test_writing_rows_again_replaces_them(tmp_path, store, rows):
    """As where a connection breaks after Milvus has written a block, and the client sends it again."""
    made(tmp_path / "one", [row(id_) for id_ in ("a.jpg", "b.jpg", "c.jpg")], store)
    made(tmp_path / "two", [row(id_, caption="again") for id_ in rows], store)
    found = {one["id"]: one["caption"] for some in Collection(store).rows(["id", "caption"]) for one in some}
    assert found == dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"]) | dict.fromkeys(rows, "again")
    assert Collection(store).count() == 3


def test_blocks_are_bounded_in_rows_and_bytes(tmp_path, store, monkeypatch):
    sizes, real = [], MilvusWriter._upsert

    def counted(writer, block):
        sizes.append(len(block))
        real(writer, block)

    monkeypatch.setattr(MilvusWriter, "_upsert", counted)
    monkeypatch.setattr(milvus, "_BATCH", 4)
    monkeypatch.setattr(milvus, "_MOST_BYTES", 10_000)
    rows = [row(f"{number}.jpg", caption="a " * (3_000 if number in (5, 6) else 5)) for number in range(10)]
    made(tmp_path / "idx", rows, store)
    assert sizes == [4, 2, 2, 2]  # in the second four rows, two texts are too long for one block
    monkeypatch.setattr(milvus, "_READ", 3)
    found = {one["id"]: len(one["caption"]) for some in Collection(store).rows(["id", "caption"]) for one in some}
    assert found == {one["id"]: len(one["caption"]) for one in rows}


def test_searches_see_an_update_block_by_block_and_then_all_of_it(tmp_path, store, monkeypatch):
    """A reader on a connection of its own; a search that begins after the update has ended sees all of it."""
    made(tmp_path / "idx", [row(f"{number}.jpg") for number in range(6)], store)
    reader, seen, real = Index.open(tmp_path / "idx"), [], MilvusWriter._upsert

    def watched(writer, block):
        seen.append(len(reader.search(np.ones(DIM), 50)))
        real(writer, block)

    monkeypatch.setattr(MilvusWriter, "_upsert", watched)
    monkeypatch.setattr(milvus, "_BATCH", 4)
    made(tmp_path / "idx", [row(f"{number}.jpg", caption="gatto") for number in range(3, 13)], store)
    assert seen == [6, 7, 11]
    assert len(reader.search(np.ones(DIM), 50)) == len(reader) == 13
    assert {hit.id for hit in reader.search(None, 50, words="gatto")} == {f"{number}.jpg" for number in range(3, 13)}
    if SERVER:  # Milvus Lite keeps no level
        collection = Collection(store)
        assert collection.client.describe_collection(collection.name)["consistency_level"] in (0, "Strong")


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
    other = Collection(store)
    other.client.create_collection(other.name, dimension=4)
    with pytest.raises(UserError, match="holds something else"):
        update.build(tmp_path / "idx", [photos], model, store=store)
    assert other.client.has_collection(other.name)


DIM = 8
ROOTS = ["/photos", "/more"]


def row(id_, **more):
    path = more.pop("path", id_)
    return dict.fromkeys(EXISTING.names) | {"id": id_, "root": 0, "path": path, "keywords": []} | more


def made(folder, rows, store=None):
    """An index of rows with random vectors, in a folder or in Milvus."""
    vectors = np.random.default_rng(5).standard_normal((len(rows), DIM)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    run = folder.with_name(f"{folder.name}-{uuid4().hex}")
    run.mkdir()
    write_part(run / "000000", EMBEDDED.empty_table(), vectors)
    writer = FolderWriter(folder, [])
    manifest = Manifest(model="0123456789abcdef", model_name="fake", dim=DIM, exact=True, store=store, roots=ROOTS)
    if store:
        writer = MilvusWriter(folder, manifest, empty=True)
        list(writer.existing())
    rows = [one | {"store": writer.stores, "pos": number} for number, one in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(rows, EXISTING), run / "new.parquet")
    writer.commit(manifest, [run / "000000"], run / "new.parquet", {})
    return Index.open(folder)


# With what Milvus' expressions give a meaning to, letters in both Unicode forms, and both ends of days.
FOLDERS = ["", "2019", "2019/città", "2019/citta\u0300", "2019x", "a_b", "a%b", 'di "x"', "a\\b"]
KEYWORDS = ["mare", "Mare", "MARE", "città", "CITTA\u0300", "mare e monti", 'di "mare"', "a_b", "aXb", "100%", "a\\b"]
CAMERAS = ["NIKON D90", "Nikon d90 II", "iPhone 12", "iPhone-12", "iPhone_12", "100% (a)", "Foto\\1", "Città 2"]
SOURCES = ["wit", "WIT", 'w"it', "w'it", "città", "citta\u0300", "a\\b"]
PLACES = [(45, 9), (45.1, 9.1), (45.5, 9.2), (46, 10), (0, 179.9), (0, -179.9), (89.9, 0), (-33.9, 18.4)]
MOMENTS = [
    moment + timedelta(milliseconds=more)
    for moment in (datetime(2019, 8, 15), datetime(2019, 8, 16), datetime(1969, 12, 31), datetime(2019, 8, 15, 18, 30))
    for more in (-1, 0, 1)
]


def drawn_rows(count):
    random = np.random.default_rng(3)

    def one_of(some, empty=0.2):
        return None if random.random() < empty else some[random.integers(len(some))]

    for number in range(count):
        folder, place = one_of(FOLDERS, 0), one_of(PLACES) or (None, None)
        path = f"{folder}/{number}.jpg" if folder else f"{number}.jpg"
        yield row(
            f"r{number}", path=path, root=int(random.integers(2)), source=one_of(SOURCES), camera=one_of(CAMERAS),
            keywords=[str(word) for word in random.choice(KEYWORDS, random.integers(4), replace=False)],
            latitude=place[0], longitude=place[1], taken=one_of(MOMENTS), license=one_of(["CC0", "cc0"]),
        )  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, new_store):
    """The same rows in a folder and in Milvus."""
    rows = list(drawn_rows(300))
    return [made(tmp_path_factory.mktemp("drawn") / "idx", rows, store) for store in (None, new_store())]


def maybe(some):
    return st.one_of(st.none(), st.sampled_from(some))


FILTERS = st.builds(
    Filter,
    folder=maybe([*FOLDERS[1:], ".", "2019/..", "/photos", "/photos/2019", "/more/a_b", "/", "/elsewhere", "201"]),
    source=maybe([*SOURCES, "w"]),
    since=maybe([date(2019, 8, 15), date(1969, 12, 31), *MOMENTS]),
    until=maybe([date(2019, 8, 15), date(1970, 1, 1), *MOMENTS]),
    equal=st.one_of(st.just(()), st.tuples(st.sampled_from([("license", "CC0"), ("camera", "Città 2"), ("id", "r7")]))),
    camera=maybe([*CAMERAS, "d90", "iphone", "_", "%", "\\", "CITTÀ"]),
    keywords=st.lists(st.sampled_from([*KEYWORDS, "mar", "b", "monti"]), max_size=2).map(tuple),
    near=st.one_of(
        st.none(),
        st.builds(Near, st.sampled_from([Point(*place) for place in PLACES]), st.sampled_from([0, 5, 14, 50, 9_000])),
    ),
)


def few(filters):
    """Filters with at most three conditions: of more, hardly any row passes all."""
    return filters.filter(lambda where: 0 < len(set(where.columns) - {"path", "longitude"}) <= 3)


@settings(max_examples=80, deadline=None)
@given(few(FILTERS))
def test_filters_give_the_hits_of_a_folder(drawn, where):
    here, there = (index.search(np.eye(DIM)[0], 300, where=where) for index in drawn)
    assert [hit.id for hit in there] == [hit.id for hit in here]
    assert np.allclose([hit.score for hit in there], [hit.score for hit in here], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(few(FILTERS), st.integers(1, 5))
def test_filtered_pages_join_up(drawn, where, k):
    whole = [hit.id for hit in drawn[0].search(np.eye(DIM)[1], 3 * k, where=where)]
    pages = [drawn[1].search(np.eye(DIM)[1], k, skip=page * k, where=where) for page in range(3)]
    assert [hit.id for page in pages for hit in page] == whole


# How many of 300 rows have each word: no two alike, so that equal shares come from the same words.
COUNTS = {"spiaggia": 150, "tramonto": 90, "gatto": 61, "anna": 40, "napoli": 23, "neve": 11, "sci": 4, "lupo": 1}
QUERIES = st.lists(st.sampled_from([*COUNTS, "Gatti", "l'Anna", "balena"]), min_size=1, max_size=5).map(" ".join)
WHERE = st.sampled_from([None, Filter(source="wit"), Filter(near=Near(Point(45, 9), 14)), Filter(camera="d90")])


@pytest.fixture(scope="module")
def worded(tmp_path_factory, new_store):
    """The same rows with captions in a folder and in Milvus."""
    random, rows = np.random.default_rng(8), list(drawn_rows(300))
    for one in rows:
        one["keywords"], one["path"], one["source"] = [], f"IMG_{one['id'][1:].zfill(4)}.jpg", one["source"] and "wit"
    for word, count in COUNTS.items():
        for at in random.choice(len(rows), count, replace=False):
            rows[at]["caption"] = f"{rows[at]['caption'] or ''} {word}"
    return [made(tmp_path_factory.mktemp("worded") / "idx", rows, store) for store in (None, new_store())]


@pytest.mark.parametrize("candidates", [400, 1])  # all rows with a word, and few of them
@settings(max_examples=30, deadline=None)
@given(QUERIES, WHERE, st.sampled_from([1, 3, 10, 40, 400]))
def test_words_and_looks_give_the_hits_of_a_folder(candidates, worded, words, where, k):
    query = np.eye(DIM)[2].astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus, "_CANDIDATES", candidates)
        here, there = (index.store.matching(index._words(words), query, k, where) for index in worded)
        assert [one.match.row.id for one in there] == [one.match.row.id for one in here]
        for name in ("share", "cosine"):
            of = [[one.share if name == "share" else one.match.score for one in some] for some in (there, here)]
            assert np.allclose(*of, atol=1e-5)
        hits = [[hit.id for hit in index.search(query, k, where=where, words=words)] for index in worded]
    assert hits[1] == hits[0]


@pytest.mark.parametrize("candidates", [400, 1])
@settings(max_examples=20, deadline=None)
@given(QUERIES, WHERE, st.integers(1, 30))
def test_words_alone_give_the_shares_of_a_folder(candidates, worded, words, where, k):
    """Rows with equal shares are in the order of row numbers, which differ; so are the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus, "_CANDIDATES", candidates)
        here, there = (index.search(None, k, where=where, words=words) for index in worded)
        assert np.allclose([hit.score for hit in there], [hit.score for hit in here], atol=1e-6)
        every = {hit.id: hit.score for hit in worded[0].search(None, 300, where=where, words=words)}
        assert np.allclose([every[hit.id] for hit in there], [hit.score for hit in there], atol=1e-6)
        pages = [worded[1].search(None, k, skip=page * k, where=where, words=words) for page in range(2)]
        both = worded[1].search(None, 2 * k, where=where, words=words)
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in both]
    assert len({hit.id for hit in both}) == len(both)


def test_shares_are_those_of_the_formula(worded):
    """Rows that have one of two words, by hand: BM25's idf of 11 and 4 in 300 rows."""
    scores = {round(hit.score, 5) for hit in worded[1].search(None, 300, words="neve sci")}
    neve, sci = weights([11, 4], 300)
    assert scores <= {round(float(one), 5) for one in (neve, sci, 1)} and len(scores) > 1
    unknown = worded[1].search(None, 1, words="neve balena")[0].score
    assert unknown == pytest.approx(weights([11, 0], 300)[0], abs=1e-6)


def test_words_follow_updates_and_the_language(tmp_path, photos, model, store):
    def found(words):
        return [hit.id for hit in Index.open(tmp_path / "idx").search(None, 9, words=words)]

    def say(caption):
        pairs.write(
            [Pair("a", "photos/00.png", (caption,), "x"), Pair("b", "photos/03.png", ("zwei Häuser",), "x")], captions
        )
        return update.build(tmp_path / "idx", [captions], model, store=store, language=language)

    captions, language = tmp_path / "pairs.jsonl", None
    say("due gatti")
    assert (found("gatto"), found("Haus")) == (["a"], [])
    say("due cani")
    assert (found("gatto"), found("cane")) == ([], ["a"])
    assert update.build(tmp_path / "idx", [captions], model, store=store).embedded == 0
    language = "de"
    assert say("due cani").embedded == 0
    assert (found("Haus"), found("cane")) == (["b"], [])  # of words that end alike in German
    update.remove(tmp_path / "idx", ["b"])
    assert found("Haus") == []


def test_a_released_collection_is_loaded(tmp_path, photos, model, store):
    """As Milvus Lite opens it in another process, and a server after someone released it."""
    update.build(tmp_path / "idx", [photos], model, store=store)
    for use in (
        lambda: len(Index.open(tmp_path / "idx").search(np.eye(24)[0], 20)) == 12,
        lambda: update.build(tmp_path / "idx", [photos], model, store=store).pictures == 12,
        lambda: update.remove(tmp_path / "idx", ["sub"]).pictures == 4,
    ):
        collection = Collection(store)
        collection.client.release_collection(collection.name)
        assert use()


def test_exact_is_a_setting_that_can_change(tmp_path, photos, model, store):
    query = np.eye(24)[0].astype(np.float32)
    update.build(tmp_path / "idx", [photos], model, store=store)
    whole = [hit.id for hit in Index.open(tmp_path / "idx").search(query, 12)]
    for exact, kind in ((True, "FLAT"), (False, "AUTOINDEX")):
        assert update.build(tmp_path / "idx", [photos], model, exact, store=store).embedded == 0
        collection = Collection(store)
        (name,) = collection.client.list_indexes(collection.name, field_name="vector")
        assert collection.client.describe_index(collection.name, name)["index_type"] == kind
        opened = Index.open(tmp_path / "idx")
        assert [hit.id for hit in opened.search(query, 12, exact=exact)] == whole
    with pytest.raises(UsageError, match="built with --exact"):
        opened.search(query, exact=True)


def test_too_many_words_for_a_text_are_cut_between_words():
    text = milvus._joined(f"parola{number:06}" for number in range(10_000))
    assert 65_500 < len(text.encode()) <= 65_535
    assert set(map(len, text.split())) == {12}
