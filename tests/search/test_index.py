"""An index of real pictures with a real, tiny model: searching, opening, refusing."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from clip_italian.errors import UserError
from clip_italian.search import commit, engine, index, storage, update
from clip_italian.search.index import Index
from clip_italian.search.sheet import write_sheet
from clip_italian.search.storage import MANIFEST_FILE
from tests.conftest import draw_shape

# What rounding to bfloat16 may cost a cosine of two vectors of 24 numbers.
ROUNDING = 3e-3


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for number, (shape, colour) in enumerate([("cerchio", "red"), ("quadrato", "blue"), ("triangolo", "green")]):
        draw_shape(shape, colour, number).save(folder / "sub" / f"{shape}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


@pytest.fixture
def built(pictures, tmp_path, tiny_encoder):
    change = update.build(tmp_path / "idx", [pictures], update.Model(tiny_encoder, "tiny"))
    assert [one.id for one in change.left_out] == ["broken.jpg"]
    return Index.open(tmp_path / "idx")


def test_search_is_an_exact_ranking(built, pictures, tiny_encoder):
    files = sorted(pictures.glob("sub/*.png"))
    query = tiny_encoder.encode_text(["un cerchio rosso"])[0]
    scores = tiny_encoder.encode_images(files) @ query
    hits = built.search(query, 5)
    assert {hit.id for hit in hits} == {f"sub/{file.name}" for file in files}
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert np.allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=ROUNDING)
    assert all(hit.path.is_file() for hit in hits)
    assert [built.hit(hit.row).path for hit in hits] == [hit.path for hit in hits]
    assert built.hit(99) is None
    assert [hit.id for hit in built.search(query, 2, skip=1)] == [hit.id for hit in hits[1:]]
    assert [hit.rank for hit in built.search(query, 2, skip=1)] == [2, 3]


def test_a_picture_finds_itself(built, pictures, tiny_encoder):
    for path in sorted(pictures.glob("sub/*.png")):
        (hit,) = built.search(tiny_encoder.encode_images([path])[0], 1)
        assert hit.path.resolve() == path.resolve()
        assert hit.score == pytest.approx(1, abs=1e-4)


def test_another_model_is_refused(built, tiny_encoder):
    built.check_model(tiny_encoder)
    tiny_encoder.model.text_projection.weight.data += 1
    del tiny_encoder.__dict__["weights_hash"]
    with pytest.raises(UserError, match="another model"):
        built.check_model(tiny_encoder)


def test_no_index_an_old_one_and_damaged_ones(built, tmp_path):
    with pytest.raises(UserError, match="no index here"):
        Index.open(tmp_path / "none")
    (segment,) = built.manifest.segments
    for name in segment.files:
        path = built.folder / segment.name / name
        whole = path.read_bytes()
        for damage in (b"junk", whole[: len(whole) // 2]):
            path.write_bytes(damage)
            with pytest.raises(UserError, match=r"index build|build the index|build it"):
                Index.open(built.folder)
        path.unlink()
        with pytest.raises(UserError, match="missing"):
            Index.open(built.folder)
        path.write_bytes(whole)
    text = (built.folder / MANIFEST_FILE).read_text()
    for damage, words in (("{", "damaged"), ('{"format": 1}', "format 1"), ("[]", "format None")):
        (built.folder / MANIFEST_FILE).write_text(damage)
        with pytest.raises(UserError, match=words):
            Index.open(built.folder)
    (built.folder / MANIFEST_FILE).write_text(json.dumps(json.loads(text) | {"new": 1}))
    with pytest.raises(UserError, match="damaged at new"):
        Index.open(built.folder)


def test_an_index_that_may_not_be_read_is_told_from_none(built, pictures, tiny_encoder, monkeypatch):
    place, read = built.folder / MANIFEST_FILE, Path.open

    def refuse(self, *arguments, **named):
        if self == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self, *arguments, **named)

    before = place.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match=r"index\.json: cannot be read \(Permission denied\); change who may"):
            Index.open(built.folder)
        with pytest.raises(PermissionError):
            update.build(built.folder, [pictures], update.Model(tiny_encoder, "tiny"))
    assert place.read_bytes() == before


def test_index_json_is_read_again_only_when_it_changes(built, pictures, tiny_encoder, monkeypatch):
    reads, read = [], index.read_manifest

    def counted(folder):
        reads.append(folder)
        return read(folder)

    monkeypatch.setattr(index, "read_manifest", counted)
    assert built.fresh() is built
    assert reads == []
    place = built.folder / MANIFEST_FILE
    os.utime(place, ns=(1, 1))
    touched = built.fresh()
    assert (touched.store, touched.manifest, len(reads)) == (built.store, built.manifest, 1)
    assert touched.fresh() is touched
    assert len(reads) == 1
    draw_shape("cerchio", "blue", 9).save(pictures / "new.png")
    update.build(built.folder, [pictures], update.Model(tiny_encoder, "tiny"))
    assert (len(built), len(touched.fresh())) == (3, 4)
    place.unlink()
    with pytest.raises(UserError, match="no index here"):
        touched.fresh()


def test_odd_queries_are_refused(built):
    one = np.ones(24)
    for query, k, skip in (
        (np.ones(3), 1, 0),
        (one, 0, 0),
        (one, 1, -1),
        (0 * one, 1, 0),
        (one * np.nan, 1, 0),
    ):
        with pytest.raises(UserError):
            built.search(query, k, skip=skip)
    assert built.search(7 * one, 2) == built.search(one, 2), "length does not matter"


def test_contact_sheet_is_self_contained_and_escaped(built, tiny_encoder, tmp_path, pictures):
    hits = built.search(tiny_encoder.encode_text(["un gatto"])[0], 3)
    (pictures / "sub" / "cerchio.png").unlink()
    sheet = tmp_path / "sheet.html"
    write_sheet(sheet, [("<script>un gatto</script>", hits)])
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "il file non c&#39;è più" in page
    assert "<script>" not in page


def with_old_vectors(folder, graph=False):
    """Give an index the vectors of an older version: bfloat16 after a head of two numbers, a graph after them."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for segment in manifest["segments"]:
        place = folder / segment["name"]
        values = np.load(place / "vectors.npy").astype(np.float32)
        for name in ("vectors.npy", engine.LISTS_FILE, engine.SIZES_FILE, engine.BLOCKS_FILE):
            (place / name).unlink(missing_ok=True)
            segment["files"].pop(name, None)
        new = place / ("vectors.usearch" if graph else "vectors.bbin")
        head = np.array([len(values), 2 * values.shape[1]], np.uint32).tobytes()
        new.write_bytes(head + (values.view(np.uint32) >> 16).astype(np.uint16).tobytes() + b"graph" * graph)
        segment["graph"] = graph
        segment["files"][new.name] = [new.stat().st_size, ""]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


@pytest.mark.parametrize("graph", [False, True])
def test_large_segments_of_an_older_version_are_slow_until_they_are_rewritten(
    tmp_path, photos, model, graph, monkeypatch
):
    for name in ("EXACT_BELOW", "LISTS_FROM"):
        monkeypatch.setattr(commit, name, 12)
    folder = tmp_path / "my idx"
    update.build(folder, [photos], model)
    monkeypatch.setattr(storage, "_SLOW_FROM", 11)
    opened = Index.open(folder)
    assert (opened.slowness, opened.info["search"]) == (None, "IVF")
    query = opened.store.vector(7)
    found = [hit.id for hit in opened.search(query, 12)]
    with_old_vectors(folder, graph)
    opened = Index.open(folder)
    assert opened.info["search"] == "exact"
    assert opened.slowness == (
        f"{folder}: an older version wrote 12 of its vectors, and every search compares all of them; "
        f"make it fast by: clip-italian index compact '{folder}'"
    )
    monkeypatch.setattr(storage, "_SLOW_FROM", 12)
    assert Index.open(folder).slowness is None
    monkeypatch.setattr(storage, "_SLOW_FROM", 11)
    update.compact(folder)
    opened = Index.open(folder)
    assert (opened.slowness, opened.info["search"]) == (None, "IVF")
    assert opened.search(query, 1)[0].id == found[0]
