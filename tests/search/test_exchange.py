"""Embeddings from elsewhere and for elsewhere: clip-retrieval's folders and Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_italian.errors import UserError
from clip_italian.search import update
from clip_italian.search.exchange import export
from clip_italian.search.index import Index
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.search.test_update import contents


def clip_retrieval(folder, photos, encoder, dtype=np.float16):
    """Two parts, as `clip-retrieval inference` writes them for a folder of pictures."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    paths = sorted(photos.rglob("*.png"))
    for number, some in enumerate((paths[:7], paths[7:])):
        from PIL import Image

        vectors = encoder.encode_images([Image.open(path) for path in some])
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors.astype(dtype))
        table = {"image_path": [str(path) for path in some], "caption": [f"foto {path.stem}" for path in some]}
        pq.write_table(pa.table(table), folder / "metadata" / f"metadata_{number}.parquet")
    return paths


def test_what_clip_retrieval_wrote_is_searched(tmp_path, photos, model, encoder):
    paths = clip_retrieval(tmp_path / "emb", photos, FakeEncoder())
    change = update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    assert (change.pictures, change.embedded) == (12, 0)
    assert encoder.embedded == 4, "some pictures, to see that it is the same model"
    index = Index.open(tmp_path / "idx")
    (hit,) = index.search(FakeEncoder().encode_images([noise(5)])[0], 1)
    assert hit.path == next(path for path in paths if path.stem == "05")
    assert hit.score == pytest.approx(1, abs=1e-4)
    # The same import again, with one vector changed.
    file = tmp_path / "emb" / "img_emb" / "img_emb_1.npy"
    np.save(file, np.load(file)[::-1])
    update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    assert len(Index.open(tmp_path / "idx")) == 12
    assert Index.open(tmp_path / "idx").search(FakeEncoder().encode_images([noise(5)])[0], 1)[0].id != hit.id


def test_embeddings_of_another_model_or_shape_are_refused(tmp_path, photos, model):
    clip_retrieval(tmp_path / "emb", photos, FakeEncoder(seed=9))
    with pytest.raises(UserError, match="the model did not make these embeddings"):
        update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    file = tmp_path / "emb" / "img_emb" / "img_emb_0.npy"
    np.save(file, np.zeros((7, 25), np.float32))
    with pytest.raises(UserError, match="25 numbers, the model's have 24"):
        update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    np.save(file, np.zeros((6, 24), np.float32))
    with pytest.raises(UserError, match="belong together"):
        update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    file.write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read"):
        update.build(tmp_path / "idx", [tmp_path / "emb"], model)
    assert not (tmp_path / "idx").exists()


def test_bad_vectors_are_listed(tmp_path, model):
    vectors = FakeEncoder().encode_images([noise(number) for number in range(4)])
    vectors[1], vectors[2, 3] = 0, np.nan
    rows = {"id": list("abcd"), "image_path": [f"{name}.jpg" for name in "abcd"], "embedding": list(3 * vectors)}
    pq.write_table(pa.table(rows), tmp_path / "e.parquet")
    change = update.build(tmp_path / "idx", [tmp_path / "e.parquet"], model)
    assert [(one.id, one.reason) for one in change.left_out] == [("b", "bad-vector"), ("c", "bad-vector")]
    found = contents(tmp_path / "idx")
    assert found == {name: bytes(vectors.astype(np.float16)[row]) for name, row in (("a", 0), ("d", 3))}


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_an_export_comes_back_as_it_was(tmp_path, photos, model, name):
    update.build(tmp_path / "idx", [photos], model)
    update.remove(tmp_path / "idx", ["00.png"])
    index = Index.open(tmp_path / "idx")
    assert export(index, tmp_path / name) == 11
    if name == "out":
        table = pq.read_table(tmp_path / "out" / "metadata" / "metadata_0000.parquet")
        vectors = np.load(tmp_path / "out" / "img_emb" / "img_emb_0000.npy")
        by_path = dict(zip(table["image_path"].to_pylist(), vectors, strict=True))
        expected = FakeEncoder().encode_images([noise(3)])[0]
        assert np.abs(by_path[str(photos / "03.png")] - expected).max() < 2e-3
        assert vectors.dtype == np.float16
    update.build(tmp_path / "again", [tmp_path / name], model)
    before, after = contents(tmp_path / "idx"), contents(tmp_path / "again")
    assert set(before) == set(after)
    for id_, vector in before.items():
        old, new = (np.frombuffer(half, np.float16).astype(np.float32) for half in (vector, after[id_]))
        assert np.abs(old - new).max() < 4e-3
    columns = ["id", "size", "mtime_ns", "sha256", "look", "taken"]
    rows = [
        {row["id"]: row for table, _ in opened.store.content(columns) for row in table.to_pylist()}
        for opened in (index, Index.open(tmp_path / "again"))
    ]
    assert rows[0] == rows[1]
