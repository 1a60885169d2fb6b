"""Words, pictures, both, and what should not be there; filters, pages and copies, in one small index."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.errors import UsageError, UserError
from clip_italian.pairs import Pair
from clip_italian.pictures.decoding import PictureError
from clip_italian.search import update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.query import NOT_WEIGHT, Query, divide, embed, find
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder

WORDS = {"uno": 1, "due": 2, "tre": 3}


class Words(FakeEncoder):
    """A text is embedded like the noise picture that its word names; longer texts a little off."""

    def encode_text(self, texts):
        vectors = self.encode_images([noise(WORDS[text.split()[-1]]) for text in texts])
        vectors[:, 0] += [0.2 * len(text.split()) for text in texts]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def index(photos, tmp_path):
    encoder = Words()
    update.build(tmp_path / "idx", [photos], update.Model(encoder, "fake"))
    return Index.open(tmp_path / "idx"), encoder


def first(hits):
    return hits[0].id


def test_words_pictures_and_both(index, photos):
    index, encoder = index
    assert first(find(Query(("due",)), encoder, index)) == "sub/02.png"
    assert first(find(Query(pictures=(noise(5),)), encoder, index)) == "sub/05.png"
    assert first(find(Query(pictures=(photos / "03.png",)), encoder, index)) == "03.png"
    both = find(Query(("uno",), (noise(5),)), encoder, index, 2)
    assert {hit.id for hit in both} == {"sub/01.png", "sub/05.png"}
    with pytest.raises(PictureError):
        find(Query(pictures=(photos / "broken.jpg",)), encoder, index)


def test_pictures_of_the_index_by_their_rows(index, photos):
    index, encoder = index
    hits = {hit.id: hit.row for hit in index.search(encoder.encode_images([noise(5)])[0], 12)}
    by_row = Query(("uno",), (noise(5),), rows=(hits["03.png"], hits["sub/07.png"]))
    by_picture = Query(("uno",), (noise(5), noise(3), noise(7)))
    assert np.allclose(embed(by_row, encoder, index), embed(by_picture, encoder, index), atol=1e-3)  # half precision
    encoder.embedded = 0
    assert first(find(Query(rows=(hits["03.png"],)), encoder, index)) == "03.png"
    assert encoder.embedded == 0
    assert not Query(rows=(1,)).is_plain
    update.remove(index.folder, ["03.png"])
    with pytest.raises(UsageError, match="no picture"):
        find(Query(rows=(hits["03.png"],)), encoder, index.fresh())


def test_what_should_not_be_there_goes_down(index):
    index, encoder = index
    both = Query(pictures=(noise(1), noise(5)))
    before = {hit.id: hit.score for hit in find(both, encoder, index, 12)}
    assert list(before)[:2] in (["sub/01.png", "sub/05.png"], ["sub/05.png", "sub/01.png"])
    after = {hit.id: hit.score for hit in find(Query((), both.pictures, ("uno",)), encoder, index, 12)}
    assert next(iter(after)) == "sub/05.png"
    assert after["sub/01.png"] < before["sub/01.png"] - 0.2
    assert find(Query(("due",), not_pictures=(noise(9),)), encoder, index, 12)[-1].id == "09.png"


def test_parts_are_balanced_by_the_index(index):
    """The formula by hand: each part divided by the spread of its cosines over all rows, unwanted ones halved."""
    index, encoder = index
    query = Query(("uno",), (noise(5),), ("tre",))
    rows = index.store.sample(1_000)
    assert len(rows) == 12
    parts = [encoder.encode_text(["uno"])[0], encoder.encode_images([noise(5)])[0], encoder.encode_text(["tre"])[0]]
    total = sum(weight * part / np.std(rows @ part) for weight, part in zip((1, 1, -NOT_WEIGHT), parts, strict=True))
    assert np.allclose(embed(query, encoder, index), total / np.linalg.norm(total), atol=1e-5)


def test_wordings_and_prompts_are_averaged(index):
    index, encoder = index
    texts = encoder.encode_text(["una foto di uno", "uno", "una foto di due", "due"])
    total = texts.sum(axis=0)
    found = embed(Query(("uno", "due"), prompts=("una foto di {}", "{}")), encoder, index)
    assert np.allclose(found, total / np.linalg.norm(total), atol=1e-6)


def test_what_cannot_be_looked_for_is_refused(index):
    for wrong in ({}, {"texts": (" ",)}, {"texts": ("uno",), "not_texts": ("",)}, {"texts": ("a",), "prompts": ("x",)}):
        with pytest.raises(UsageError):
            Query(**wrong)
    with pytest.raises(UserError, match="another model"):
        find(Query(("uno",)), Words(seed=3), index[0])
    with pytest.raises(UsageError, match="no field to filter by"):
        Filter(equal=(("colour", "red"),))


@pytest.fixture
def fields(tmp_path, photos):
    rows = [
        Pair("a", "photos/00.png", ("x",), "wit", license="CC0"),
        Pair("b", "photos/03.png", ("x",), "wit"),
        Pair("c", "photos/sub/01.png", ("x",), "coco", license="CC0"),
        Pair("d", "photos/sub/02.png", ("x",), "coco"),
    ]
    for path in ("00.png", "03.png", "sub/01.png"):
        exif = Image.Exif()
        exif[0x0132] = {"00.png": "2019:12:31 23:59:59", "03.png": "2020:01:01 00:00:00"}.get(
            path, "2021:06:05 12:00:00"
        )
        noise(len(path)).save(photos / path, exif=exif)
    pairs.write(rows, tmp_path / "pairs.jsonl")
    update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], update.Model(Words(), "fake"))
    return Index.open(tmp_path / "idx")


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (Filter(), "abcd"),
        (Filter(source="wit"), "ab"),
        (Filter(equal=(("license", "CC0"),)), "ac"),
        (Filter(source="wit", equal=(("license", "CC0"),)), "a"),
        (Filter(since=date(2020, 1, 1), until=date(2021, 6, 5)), "bc"),
        (Filter(until=date(2019, 12, 31)), "a"),
        (Filter(folder="photos/sub"), "cd"),
        (Filter(folder="photos/su"), ""),
        (Filter(folder="photos/sub/../"), "abcd"),
        (Filter(folder="."), "abcd"),
        (Filter(folder="/nowhere"), ""),
        (Filter(source="none"), ""),
    ],
)
def test_filters(fields, filter_, expected):
    for _ in range(2):  # the second is remembered
        assert sorted(hit.id for hit in fields.search(np.eye(24)[0], 9, where=filter_)) == list(expected)
    update.remove(fields.folder, ["c"])
    found = fields.fresh().search(np.eye(24)[0], 9, where=filter_)
    assert sorted(hit.id for hit in found) == [id_ for id_ in expected if id_ != "c"]


@pytest.mark.parametrize("name", ["a[1]", "a_c", "a%", "a*", "a?"])
def test_a_folder_filter_is_no_pattern(tmp_path, name):
    for number, folder in enumerate((name, "a1", "abc", "ab")):
        (tmp_path / "pics" / folder).mkdir(parents=True)
        noise(number).save(tmp_path / "pics" / folder / "p.png")
    update.build(tmp_path / "idx", [tmp_path / "pics"], update.Model(Words(), "fake"))
    hits = Index.open(tmp_path / "idx").search(np.eye(24)[0], 9, where=Filter(folder=name))
    assert [hit.id for hit in hits] == [f"{name}/p.png"]


def test_absolute_folders(fields, photos):
    for folder, expected in ((photos / "sub", "cd"), (photos, "abcd"), (photos.parent.parent, "abcd")):
        found = fields.search(np.eye(24)[0], 9, where=Filter(folder=str(folder)))
        assert sorted(hit.id for hit in found) == list(expected)


def test_pages_of_a_search_fit_together(index):
    index, encoder = index
    query = encoder.encode_text(["uno"])[0]
    whole = [hit.id for hit in index.search(query, 12)]
    pages = [index.search(query, 5, skip=start) for start in (0, 5, 10, 15)]
    assert [hit.id for page in pages for hit in page] == whole
    assert [hit.rank for page in pages for hit in page] == list(range(1, 13))


def test_copies_of_a_picture_count_as_one(photos, tmp_path):
    encoder = Words()
    large = noise(5, (8, 8)).resize((320, 320), Image.Resampling.BICUBIC)
    large.save(photos / "a.png")
    large.save(photos / "sub" / "a again.png")
    large.resize((200, 200)).save(photos / "a small.jpg", quality=70)
    update.build(tmp_path / "idx", [photos], update.Model(encoder, "fake"))
    index = Index.open(tmp_path / "idx")
    query = encoder.encode_images([large])[0]
    hits = index.search(query, 15, group=True)
    assert len(hits) == 13
    same = {hits[0].id, *(copy.id for copy in hits[0].copies)}
    assert same == {"a.png", "sub/a again.png", "a small.jpg"}
    assert len(index.search(query, 15)) == 15
    first_page, second = index.search(query, 7, group=True), index.search(query, 7, skip=7, group=True)
    assert [hit.id for hit in (*first_page, *second)] == [hit.id for hit in hits]


def test_a_text_that_names_a_picture_file_is_that_picture(photos, tmp_path, monkeypatch):
    (photos / "sub" / "05.png").rename(photos / "a.jfif")
    (photos / "sub" / "08.png").rename(photos / "gatto")
    (photos / "note.txt").write_text("un gatto")
    (photos / "cane").mkdir()
    (photos / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0")
    monkeypatch.chdir(photos)
    what = ["a.jfif", "gatto", "cane", "un gatto", "due cani.", "x" * 5_000, "a\0b", "~nobody/x", "\ud83d", "foto/none"]
    image = noise(1)
    texts, pictures = divide([*what, Path("a.jfif"), Path("none"), image, "none.JPE"])
    assert list(texts) == what[2:]
    assert pictures == (Path("a.jfif"), Path("gatto"), Path("a.jfif"), Path("none"), image, Path("none.JPE"))
    (photos / "perche\u0301").write_bytes((photos / "gatto").read_bytes())
    assert divide(["perch\u00e9"]) == ((), (Path("perch\u00e9"),)), "in whatever form its accent is stored"
    for name, reason in (
        ("note.txt", "note.txt: a file with this name exists, but it is not a picture"),
        ("film.mp4", r"this name exists \(video\)"),
    ):
        with pytest.raises(UserError, match=reason):
            divide(["un gatto", name])


def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a picture"):
        divide([str(tmp_path / "pipe")])
