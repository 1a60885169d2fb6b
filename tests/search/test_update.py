"""What an index holds after building, adding, removing and compacting: only what is new is embedded."""

import errno
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.search import commit, inputs, update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.query import Query, embed
from clip_italian.search.storage import read_manifest
from clip_italian.search.verify import verify
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.sources.test_webdataset import DOTTED


def contents(folder):
    """Id → vector of everything that is in an index."""
    found = {}
    for table, vectors in Index.open(folder).store.content(["id"]):
        found |= zip(table["id"].to_pylist(), map(bytes, vectors), strict=True)
    return found


def expected(photos, encoder, names=None):
    paths = {path.relative_to(photos).as_posix(): path for path in photos.rglob("*.png")}
    vectors = encoder.encode_images(list(paths.values())).astype(np.float16)
    return {name: bytes(vector) for name, vector in zip(paths, vectors, strict=True) if names is None or name in names}


def test_unchanged_moved_changed_and_deleted_files(tmp_path, photos, model, encoder):
    index = tmp_path / "idx"
    change = update.build(index, [photos], model)
    assert (change.pictures, change.added, change.embedded, change.removed) == (12, 12, 12, 0)
    assert [(one.id, one.reason) for one in change.left_out] == [("broken.jpg", "unreadable")]
    assert encoder.embedded == 12
    assert contents(index) == expected(photos, FakeEncoder())
    rows = {hit.id: hit.row for hit in Index.open(index).search(np.eye(24)[0], 12)}

    again = update.build(index, [photos], model)
    assert (again.pictures, again.added, again.embedded) == (12, 0, 0)
    assert Index.open(index).manifest.generation == 1, "nothing changed, so nothing was written"

    (photos / "00.png").rename(photos / "sub" / "moved.png")
    (photos / "sub" / "01.png").unlink()
    noise(77).save(photos / "sub" / "02.png")
    os.utime(photos / "03.png", (1, 1))
    shutil.copy(photos / "sub" / "04.png", photos / "copy.png")
    encoder.embedded = 0
    change = update.build(index, [photos], model)
    assert encoder.embedded == change.embedded == 1, "only the changed picture"
    assert change.pictures == 12
    assert contents(index) == expected(photos, FakeEncoder())
    now = {hit.id: hit.row for hit in Index.open(index).search(np.eye(24)[0], 12)}
    assert {id_: now[id_] for id_ in ("sub/05.png", "sub/11.png")} == {
        id_: rows[id_] for id_ in ("sub/05.png", "sub/11.png")
    }
    assert max(rows.values()) < now["copy.png"], "numbers are never given twice"
    assert verify(index) == []


def test_building_with_another_model_starts_anew(tmp_path, photos, model):
    update.build(tmp_path / "idx", [photos], model)
    other = FakeEncoder(seed=5)
    opened = Index.open(tmp_path / "idx")
    with pytest.raises(UserError, match="made with another model"):
        update.add(tmp_path / "idx", [photos], update.Model(other, "other"))
    assert update.build(tmp_path / "idx", [photos], update.Model(other, "other")).embedded == 12
    assert contents(tmp_path / "idx") == expected(photos, other)
    with pytest.raises(UserError, match="another model"):
        Index.open(tmp_path / "idx").check_model(model.encoder)
    opened.check_model(model.encoder)
    assert opened.fresh().manifest.model == other.weights_hash


def test_add_keeps_what_is_there_and_tells_folders_of_one_name_apart(tmp_path, photos, model, encoder):
    others = tmp_path / "elsewhere" / "photos"
    others.mkdir(parents=True)
    noise(50).save(others / "00.png")
    noise(51).save(others / "new.png")
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    encoder.embedded = 0
    change = update.add(index, [others], model)
    assert (change.pictures, change.added, encoder.embedded) == (14, 2, 2)
    assert [one.id for one in change.left_out] == ["broken.jpg"], "what was left out before stays listed"
    assert {"00.png", "photos/00.png", "photos/new.png"} <= set(contents(index))
    assert update.add(index, [photos / "sub"], model).added == 0, "a folder below an indexed one is known"
    (photos / "sub" / "01.png").unlink()
    assert update.add(index, [photos], model).pictures == 14, "adding removes nothing"
    assert update.build(index, [photos, others], model).pictures == 13


def test_remove_by_id_path_folder_pattern_and_missing(tmp_path, photos, model):
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    with pytest.raises(UserError, match="nothing in it matches"):
        update.remove(index, ["nothing.png"])
    assert update.remove(index, ["00.png"]).removed == 1
    assert update.remove(index, [str(photos / "03.png"), "0[69].png"]).removed == 3
    assert update.remove(index, [str(photos / "sub")]).pictures == 0
    assert Index.open(index).search(np.eye(24)[0]) == []
    assert update.remove(index, [], missing=True).removed == 0
    update.build(index, [photos], model)
    (photos / "00.png").unlink()
    change = update.remove(index, [], missing=True)
    assert (change.pictures, change.removed) == (11, 1)
    assert verify(index) == []


def test_pairs_files_bring_their_fields(tmp_path, photos, model):
    rows = [
        Pair("a", "photos/00.png", ("un gatto", "un micio"), "wit", license="CC0", page="https://h/1"),
        Pair("b", str(photos / "03.png"), ("un cane",), "coco"),
        Pair("c", "https://h/3.jpg", ("un fiore",), "wit"),
        Pair("d", "photos/none.png", ("un treno",), "wit"),
        Pair("e", "photos/broken.jpg", ("un muro",), "wit"),
        Pair("a", "photos/06.png", ("un altro",), "wit"),
    ]
    pairs.write(rows, tmp_path / "pairs.jsonl")
    change = update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], model)
    assert [(one.id, one.reason) for one in change.left_out] == [
        ("c", "no-file"), ("d", "unreadable"), ("e", "unreadable"), ("a", "same-id"),
    ]  # fmt: skip
    ((table, _),) = Index.open(tmp_path / "idx").store.content(["id", "source", "license", "page", "caption"])
    assert table.to_pylist() == [
        {"id": "a", "source": "wit", "license": "CC0", "page": "https://h/1", "caption": "un gatto"},
        {"id": "b", "source": "coco", "license": None, "page": None, "caption": "un cane"},
    ]
    assert {hit.id: hit.open().size for hit in Index.open(tmp_path / "idx").search(np.eye(24)[0])} == {
        "a": (20, 20), "b": (20, 20),
    }  # fmt: skip
    # Another caption is another row with the same vector.
    before = contents(tmp_path / "idx")
    pairs.write([Pair("a", "photos/00.png", ("un felino",), "wit"), rows[1]], tmp_path / "pairs.jsonl")
    change = update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], model)
    assert (change.added, change.embedded, change.removed) == (1, 0, 1)
    assert contents(tmp_path / "idx") == before


def write_shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def png(seed):
    sink = io.BytesIO()
    noise(seed).save(sink, "PNG")
    return sink.getvalue()


def test_shards_are_read_where_they_lie(tmp_path, model, encoder):
    shards = tmp_path / "shards"
    shards.mkdir()
    told = json.dumps({"id": "x-1", "source": "wit", "url": "https://h/1.png", "caption": "un  gatto"}).encode()
    write_shard(shards / "00000.tar", [("0.png", png(1)), ("0.json", told), ("1.png", png(2)), ("1.txt", b"un cane\n")])
    write_shard(shards / "00001.tar", [("0.png", png(3)), ("2.png", b"no picture"), ("3.txt", b"alone")])
    cut = tmp_path / "shards" / "00002.tar"
    write_shard(cut, [("0.png", png(4))])
    cut.write_bytes(cut.read_bytes()[:700])
    change = update.build(tmp_path / "idx", [shards], model)
    assert sorted((one.id, one.reason) for one in change.left_out) == [
        ("00001/2", "unreadable"), ("00001/3", "no-picture"), ("00002.tar", "damaged-tar"),
    ]  # fmt: skip
    index = Index.open(tmp_path / "idx")
    assert set(contents(tmp_path / "idx")) == {"x-1", "00000/1", "00001/0"}
    for id_, seed in (("x-1", 1), ("00000/1", 2), ("00001/0", 3)):
        (hit,) = index.search(encoder.encode_images([noise(seed)])[0], 1)
        assert hit.id == id_
        assert np.array_equal(np.asarray(hit.open()), np.asarray(noise(seed)))
        assert index.hit(hit.row).id == id_
    encoder.embedded = 0
    write_shard(shards / "00001.tar", [("9.png", png(9)), ("0.png", png(3))])
    change = update.build(tmp_path / "idx", [shards], model)
    assert (change.pictures, encoder.embedded) == (4, 1), "a member that moved within its shard keeps its vector"
    assert update.build(tmp_path / "idx", [shards], model).added == 0


def test_an_empty_caption_of_a_shard_ends_nothing(tmp_path, model, encoder):
    members = []
    for number, (data, text) in enumerate(
        [({"caption": " "}, "\n un  cane\n"), ({"captions": ["", "un gatto"]}, "no"), ({"caption": 3}, "un topo")]
    ):
        told = json.dumps(data).encode()
        members += [(f"{number}.png", png(number)), (f"{number}.json", told), (f"{number}.txt", text.encode())]
    write_shard(tmp_path / "a.tar", members)
    update.build(tmp_path / "idx", [tmp_path / "a.tar"], model)
    index = Index.open(tmp_path / "idx")
    for number, caption in enumerate(("un cane", "un gatto", "un topo")):
        (hit,) = index.search(encoder.encode_images([noise(number)])[0], 1, where=Filter(equal=(("caption", caption),)))
        assert hit.id == f"a/{number}"


def test_keys_with_dots_are_pictures_or_told(tmp_path, model):
    dotted = {**DOTTED, "alone/foto.1.png": b"8", "alone/foto.2.png": b"9", "none/foto.1.txt": b"niente"}
    members = [(name, png(int(found)) if found.isdigit() else found) for name, found in dotted.items()]
    write_shard(tmp_path / "s.tar", members)
    change = update.build(tmp_path / "idx", [tmp_path / "s.tar"], model)
    assert set(contents(tmp_path / "idx")) == {
        f"s/{key}"
        for key in (
            "foto.1",
            "foto.2",
            "a.b/c",
            "2024.06.01_mare",
            "k/foto",
            "k/foto.1",
            "000",
            "alone/foto.1",
            "alone/foto.2",
        )
    }
    assert [(one.id, one.reason) for one in change.left_out] == [
        ("s/000.depth", "further-picture"), ("s/000.seg", "further-picture"), ("s/none/foto", "no-picture"),
    ]  # fmt: skip
    assert "further picture of a sample" in change.left_out[0].detail
    assert change.left_out[2].detail == "no picture in this sample of s.tar"


def test_pictures_of_every_size_of_index(tmp_path, photos, model, monkeypatch):
    """Lists from 8 rows on, in segments of 20: the same answers, and everything is found."""
    monkeypatch.setattr(commit, "EXACT_BELOW", 30)
    monkeypatch.setattr(commit, "LISTS_FROM", 8)
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 20)
    index = tmp_path / "idx"
    for number in range(100, 160):
        noise(number).save(photos / f"{number}.png")
    update.build(index, [photos], model)
    opened = Index.open(index)
    assert opened.info["search"] == "IVF"
    assert sorted(one.rows for one in opened.manifest.segments) == [12, 20, 20, 20]
    assert contents(index) == expected(photos, FakeEncoder())
    assert verify(index) == []
    query = FakeEncoder().encode_images([noise(131)])[0]
    assert [hit.id for hit in opened.search(query, 5)] == [hit.id for hit in opened.search(query, 5, exact=True)]
    update.remove(index, ["1[0-4]*"])
    update.compact(index)
    assert [one.rows for one in Index.open(index).manifest.segments] == [20, 2]
    assert Index.open(index).info["search"] == "exact"
    assert contents(index) == expected(photos, FakeEncoder(), set(contents(index)))


def test_only_broken_pictures_make_no_index_and_leave_nothing(tmp_path, model):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(UserError, match=r"no picture could be read.*not a picture"):
        update.build(tmp_path / "out" / "idx", [tmp_path], model)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_index_of_the_older_format_is_built_anew(tmp_path, photos, model):
    index = tmp_path / "idx"
    index.mkdir()
    (index / "index.json").write_text('{"format": 1, "model": "x"}')
    for name in ("vectors.usearch", "rows.parquet"):
        (index / name).write_text("x")
    with pytest.raises(UserError, match="format 1, not 3"):
        update.add(index, [photos], model)
    assert update.build(index, [photos], model).pictures == 12
    assert {path.name for path in index.iterdir()} == {"index.json", "segment-000001-0", "left-out-000001.jsonl"}


def test_a_folder_with_other_things_is_not_touched(tmp_path, photos, model):
    for output in (photos, tmp_path / "file"):
        (tmp_path / "file").write_text("precious")
        with pytest.raises(UserError, match=r"holds other files|a file"):
            update.build(output, [photos], model)
    assert (tmp_path / "file").read_text() == "precious"
    assert not list(tmp_path.glob("*.parts"))


class Mirror(RuleBasedStateMachine):
    """Random updates of a folder and its index, beside a plain dict."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.room = tempfile.TemporaryDirectory()
        self.folder, self.index = Path(self.room.name) / "p", Path(self.room.name) / "idx"
        self.folder.mkdir()
        self.encoder = FakeEncoder()
        self.model = update.Model(self.encoder, "fake")
        self.files, self.indexed, self.built = {}, {}, False
        self.clock = 0

    def teardown(self):
        self.room.cleanup()

    @rule(name=st.sampled_from("abcdefg"), seed=st.integers(0, 9))
    def put(self, name, seed):
        noise(seed).save(self.folder / f"{name}.png")
        self.clock += 1
        os.utime(self.folder / f"{name}.png", (self.clock, self.clock))
        self.files[f"{name}.png"] = seed

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data):
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.folder / name).unlink()
        del self.files[name]

    @precondition(lambda self: self.files)
    @rule()
    def build(self):
        update.build(self.index, [self.folder], self.model)
        self.indexed, self.built = dict(self.files), True

    @precondition(lambda self: self.files and self.built)
    @rule()
    def add(self):
        update.add(self.index, [self.folder], self.model)
        self.indexed |= self.files

    @precondition(lambda self: self.indexed)
    @rule(data=st.data())
    def remove(self, data):
        names = data.draw(st.lists(st.sampled_from(sorted(self.indexed)), min_size=1))
        update.remove(self.index, names)
        for name in names:
            self.indexed.pop(name, None)

    @precondition(lambda self: self.built)
    @rule()
    def compact(self):
        update.compact(self.index)

    @invariant()
    def the_index_holds_what_it_should(self):
        if self.built:
            vectors = contents(self.index)
            wanted = FakeEncoder().encode_images([noise(seed) for seed in range(10)])
            assert vectors == {id_: bytes(wanted.astype(np.float16)[seed]) for id_, seed in self.indexed.items()}
            assert len(Index.open(self.index)) == Index.open(self.index).manifest.pictures == len(self.indexed)


Mirror.TestCase.settings = settings(
    max_examples=5, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMirror = Mirror.TestCase


@pytest.mark.parametrize("seconds", [10_413_792_000, -10_000_000_000, -1, 253_402_300_800, 2**40])
def test_no_time_of_change_stops_a_build(tmp_path, photos, model, seconds):
    os.utime(photos / "03.png", (seconds, seconds))
    kept = (photos / "03.png").stat().st_mtime_ns  # as far as the file system goes
    change = update.build(tmp_path / "idx", [photos], model)
    assert (change.pictures, [one.id for one in change.left_out]) == (12, ["broken.jpg"])
    tables = Index.open(tmp_path / "idx").store.content(["id", "taken"])
    taken = {row["id"]: row["taken"] for table, _ in tables for row in table.to_pylist()}
    if abs(kept) < 2**63:
        assert abs(taken["03.png"].year - 1970 - kept / 31_556_952e9) < 1.1
    else:
        assert taken["03.png"] is None
    again = update.build(tmp_path / "idx", [photos], model)
    assert (again.added, again.embedded, again.removed) == (0, 0, 0)
    assert verify(tmp_path / "idx") == []


@pytest.mark.parametrize("nanoseconds", [10**19, -(10**19), 10**40, 2**63, -(2**63)])
def test_times_beyond_64_bits_are_the_nearest_within(nanoseconds):
    (kept,) = inputs.as_table([inputs.Entry("a", 0, "a", 1, nanoseconds)])["mtime_ns"].to_pylist()
    assert kept == (2**63 - 1 if nanoseconds > 0 else 1 - 2**63)


def test_an_index_remembers_what_it_leaves_out(tmp_path, photos, model):
    index = tmp_path / "idx"
    (photos / ".hidden").mkdir()
    noise(50).save(photos / ".hidden" / "a.png")
    (photos / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0")
    change = update.build(index, [photos], model, exclude=["sub", "*.jpg"])
    assert set(contents(index)) == {"00.png", "03.png", "06.png", "09.png"}
    assert change.left_out == ()
    assert (change.aside.other, change.aside.excluded) == ({"video": 1}, {"sub": 1, "*.jpg": 1, "hidden": 1})
    again = update.build(index, [photos], model)
    assert (again.pictures, again.added, again.removed, again.aside) == (4, 0, 0, change.aside)
    more = update.build(index, [photos], model, hidden=True)
    assert (more.pictures, ".hidden/a.png" in contents(index)) == (5, True)
    assert update.build(index, [photos], model).pictures == 5
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    for name in ("x.png", "sub/y.png", "z.gif", ".w.png"):
        noise(60 + len(name)).save(other / name)
    update.add(index, [other], model, exclude=["*.gif"], hidden=False)
    assert {id_ for id_ in contents(index) if id_.startswith("other/")} == {"other/x.png"}
    settings = read_manifest(index)
    assert (settings.exclude, settings.hidden) == (["sub", "*.jpg", "*.gif"], False)
    everything = update.build(index, [photos, other], model, exclude=[])
    assert everything.pictures == 12 + 3
    assert (read_manifest(index).exclude, Index.open(index).info["hidden"]) == ([], False)
    with pytest.raises(UserError, match="--exclude"):
        update.build(index, [photos], model, exclude=[""])


def test_linked_folders_are_part_of_an_index(tmp_path, photos, model):
    (tmp_path / "extern").mkdir()
    noise(70).save(tmp_path / "extern" / "a.png")
    (photos / "linked").symlink_to("../extern")
    (photos / "again").symlink_to(".")
    index = tmp_path / "idx"
    assert update.build(index, [photos], model).pictures == 13
    (hit,) = Index.open(index).search(np.frombuffer(b"\0" * 96, np.float32) + 1, 1, where=Filter(folder="linked"))
    assert (hit.id, hit.open().size) == ("linked/a.png", (20, 20))
    assert update.build(index, [photos], model).embedded == 0


@pytest.mark.parametrize(
    ("names", "what", "gone"),
    [
        (("foto[1].png", "foto1.png"), "foto[1].png", ["foto[1].png"]),
        (("foto1.png", "foto2.png"), "foto[1].png", ["foto1.png"]),
        (("a?.png", "ab.png"), "a?.png", ["a?.png"]),
        (("a*.png", "ab.png"), "a*.png", ["a*.png"]),
        (("rome[1]/a.png", "rome1/a.png"), "rome[1]", ["rome[1]/a.png"]),
        (("rome[1]/a.png", "rome1/a.png"), "rome[1]/*.png", ["rome[1]/a.png"]),
        (("rome1/a.png", "rome2/a.png"), "rome[1]/*.png", ["rome1/a.png"]),
        (("100%_a.png", "100xya.png"), "100%_a.png", ["100%_a.png"]),
        (("sub/a.png", "b.png"), "./sub//a.png", ["sub/a.png"]),
    ],
)
def test_a_name_that_fits_exactly_is_no_pattern(tmp_path, model, names, what, gone):
    folder = tmp_path / "pics[1]"
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(number).save(folder / name)
    index = tmp_path / "idx[1]*"
    update.build(index, [folder], model)
    assert set(contents(index)) == set(names)
    update.remove(index, [what])
    assert set(contents(index)) == set(names) - set(gone)


def test_each_name_is_read_by_itself(tmp_path, photos, model):
    """One name is literal, another a pattern, a third fits nothing and is reported; an empty one is refused."""
    noise(90).save(photos / "0[0].png")
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    for empty in ("", " "):
        with pytest.raises(UserError, match="an empty name fits nothing"):
            update.remove(index, [empty])
    change = update.remove(index, ["0[0].png", "sub/0[12].png", "spost*", "spost*"])
    assert (change.removed, change.unmatched) == (3, ("spost*",))
    assert set(contents(index)) == set(expected(photos, FakeEncoder())) - {"0[0].png", "sub/01.png", "sub/02.png"}
    change = update.remove(index, ["00.png", str(photos / "0[36].png"), "no.png"])
    assert (change.removed, change.unmatched) == (3, ("no.png",)), "patterns fit whole paths as well"


def test_a_root_that_is_not_there_keeps_its_rows(tmp_path, photos, model):
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    photos.rename(tmp_path / "off")
    for state in ("is not there", "is empty"):
        with pytest.raises(UserError, match=f"{photos}: this folder of .* {state}, 12 pictures .*--force"):
            update.remove(index, [], missing=True)
        photos.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=str(photos)):
        update.build(index, [photos], model)
    assert len(contents(index)) == 12
    assert update.remove(index, ["00.png"]).removed == 1, "what is named goes"
    assert update.remove(index, [], missing=True, force=True).pictures == 0


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_that_vanished_as_a_whole_keeps_its_rows(tmp_path, photos, model, empty):
    index, sub = tmp_path / "idx", photos / "sub"
    update.build(index, [photos], model)
    sub.rename(tmp_path / "off")
    if empty:
        sub.mkdir()
    (photos / "00.png").unlink()
    change = update.build(index, [photos], model)
    assert (change.pictures, change.removed) == (11, 1), "the single one goes"
    assert [(one.folder, one.pictures) for one in change.kept] == [(str(sub), 8)]
    (photos / "03.png").unlink()
    change = update.remove(index, [], missing=True)
    assert (change.pictures, change.removed) == (10, 1)
    assert [(one.folder, one.pictures) for one in change.kept] == [(str(sub), 8)]
    assert verify(index) == []
    if empty:
        sub.rmdir()
    (tmp_path / "off").rename(sub)
    change = update.build(index, [photos], model)
    assert (change.pictures, change.embedded, change.kept) == (10, 0, ()), "back again, as if nothing had been"
    shutil.rmtree(sub)
    assert update.build(index, [photos], model, force=True).pictures == 2


def test_what_moved_or_was_deleted_one_by_one_goes_without_a_question(tmp_path, photos, model, encoder):
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    (photos / "sub").rename(photos / "moved")
    encoder.embedded = 0
    change = update.build(index, [photos], model)
    assert (change.pictures, change.removed, change.kept, encoder.embedded) == (12, 8, (), 0)
    for path in sorted((photos / "moved").glob("*.png"))[:-1]:
        path.unlink()
    assert update.remove(index, [], missing=True).removed == 7
    assert update.build(index, [photos / "moved"], model).pictures == 1, "other inputs are no vanished folder"


def test_rows_that_cannot_stay_are_not_lost(tmp_path, photos, model):
    """With the inputs in another order the rows of a vanished folder would be at another place."""
    other = tmp_path / "other"
    other.mkdir()
    noise(50).save(other / "x.png")
    index = tmp_path / "idx"
    update.build(index, [photos, other], model)
    shutil.rmtree(photos / "sub")
    with pytest.raises(UserError, match="the inputs are others than before"):
        update.build(index, [other, photos], model)
    assert len(contents(index)) == 13
    assert update.build(index, [other, photos], model, force=True).pictures == 5


NFC, NFD = "Citt\u00e0", "Citta\u0300"


@pytest.mark.parametrize(("stored", "typed"), [(NFD, NFC), (NFC, NFD)])
def test_names_in_either_unicode_form(tmp_path, model, encoder, stored, typed):
    photos = tmp_path / stored
    for number, name in enumerate((f"{stored}/a.png", f"{stored}/{stored}.png", "b.png", f"{stored}[1].png")):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        noise(number).save(photos / name)
    index = tmp_path / "idx"
    assert update.build(index, [tmp_path / typed], model).pictures == 4
    opened = Index.open(index)
    for folder, count in ((typed, 2), (f"{typed}/", 2), (str(tmp_path / typed / typed), 2), (str(tmp_path / typed), 4)):
        assert len(opened.search(np.eye(24)[0], 9, where=Filter(folder=folder))) == count
    for name, value in (("source", typed), ("id", f"{typed}/a.png"), ("path", f"{typed}/{typed}.png")):
        where = Filter(equal=((name, value),))
        assert len(opened.search(np.eye(24)[0], 9, where=where)) == (4 if name == "source" else 1)
    like = Query(pictures=(tmp_path / typed / typed / f"{typed}.png",))
    assert np.allclose(embed(like, encoder, opened), encoder.encode_images([noise(1)])[0])
    assert update.remove(index, [f"{typed}/{typed}.png"]).removed == 1
    assert update.remove(index, [f"{typed}[1].png"]).removed == 1
    assert update.remove(index, [f"{typed}/*"]).removed == 1


def test_pairs_name_pictures_in_either_unicode_form(tmp_path, model):
    (tmp_path / NFD).mkdir()
    noise(1).save(tmp_path / NFD / "a.png")
    pairs.write([Pair(f"row {NFD}", f"{NFC}/a.png", ("x",), "wit")], tmp_path / "pairs.jsonl")
    index = tmp_path / "idx"
    assert update.build(index, [tmp_path / "pairs.jsonl"], model).pictures == 1
    (hit,) = Index.open(index).search(np.eye(24)[0])
    assert hit.open().size == (20, 20)
    assert update.remove(index, [f"row {NFC}"]).removed == 1


def test_names_from_the_working_folder_and_through_links(tmp_path, model, monkeypatch):
    """A pattern starts where a name does; a path that was indexed through a link is found through it."""
    names = ["a1.png", "a2.png", "linked/b.png", "linked/sub[1]/c.png", "d.png", "e/f.png"]
    (tmp_path / "disk[1]").mkdir()
    (tmp_path / "extern" / "sub[1]").mkdir(parents=True)
    (tmp_path / "disk[1]" / "linked").symlink_to("../extern")
    (tmp_path / "disk[1]" / "e").mkdir()
    for number, name in enumerate(names):
        noise(number).save(tmp_path / "disk[1]" / name)
    (tmp_path / "foto").symlink_to("disk[1]")
    index = tmp_path / "idx"
    update.build(index, [tmp_path / "foto"], model)
    whole = Index.open(index)
    for folder, count in (("foto", 6), ("foto/linked", 2), ("foto/linked/sub[1]/", 1), ("extern", 0)):
        assert len(whole.search(np.eye(24)[0], 9, where=Filter(folder=str(tmp_path / folder)))) == count
    monkeypatch.chdir(tmp_path)
    for what, gone in (
        ("disk[1]/a*.png", 2), ("foto/linked/b.png", 1), ("foto/linked/sub[1]/*", 1), ("./*/e/[f].png", 1), ("foto", 1)
    ):  # fmt: skip
        assert update.remove(index, [what]).removed == gone, what


def test_a_link_to_a_picture_is_not_followed(tmp_path, photos, model):
    (photos / "z.png").symlink_to("00.png")
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    assert update.remove(index, [str(photos / "z.png")]).removed == 1
    assert "00.png" in contents(index)


def test_an_archive_beside_pictures_hides_none(tmp_path, photos, model):
    with tarfile.open(photos / "backup.tar", "w") as archive:
        archive.add(photos / "00.png", "00.png")
    change = update.build(tmp_path / "idx", [photos], model)
    assert (change.pictures, change.aside.other) == (12, {"tar": 1})
    for path in photos.glob("*.png"):
        path.unlink()
    assert update.build(tmp_path / "idx", [photos], model).pictures == 8, "also where all pictures lie below it"
    shutil.rmtree(photos / "sub")
    (photos / "broken.jpg").unlink()
    assert inputs.kind(photos) == "shards"


def test_a_mount_point_holds_what_systems_put_there(tmp_path, photos, model):
    index, sub = tmp_path / "idx", photos / "two"
    sub.mkdir()
    for number in (40, 41):
        noise(number).save(sub / f"{number}.png")
    update.build(index, [photos], model)
    shutil.rmtree(sub)
    for name in ("@eaDir", "$RECYCLE.BIN", "System Volume Information", ".Trash-1000", "lost+found"):
        (sub / name).mkdir(parents=True)
    (sub / "desktop.ini").write_text("")
    assert [(one.folder, one.pictures) for one in update.build(index, [photos], model).kept] == [(str(sub), 2)]
    (sub / "README").write_text("")
    assert update.build(index, [photos], model).removed == 2, "somebody is at home, and two pictures are few"


def test_pictures_on_a_disk_with_errors_keep_their_rows(tmp_path, photos, model, encoder, monkeypatch):
    """A network drive that stops to answer below the indexed folder: no file is known to be gone."""
    index = tmp_path / "idx"
    update.build(index, [photos], model)
    look, scan = Path.stat, os.scandir

    def fails(real):
        def call(path, *arguments, **options):
            if str(path).startswith(str(photos / "sub")):
                raise OSError(errno.EIO, "Input/output error", str(path))
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fails(look))
        patch.setattr(os, "scandir", fails(scan))
        (photos / "00.png").unlink()
        change = update.build(index, [photos], model)
        assert (change.pictures, change.removed, change.kept) == (11, 1, ())
        assert sorted(one.id for one in change.left_out) == ["broken.jpg", "sub"]
        assert update.build(index, [photos], model, force=True).pictures == 3
    encoder.embedded = 0
    assert update.build(index, [photos], model).pictures == 11


def test_adding_again_lists_what_is_left_out_once(tmp_path, photos, model):
    index = tmp_path / "idx"
    (photos / "link.png").symlink_to("nowhere")
    update.build(index, [photos], model)
    generation = read_manifest(index).generation
    for _ in range(2):
        change = update.add(index, [photos], model)
        assert sorted(one.id for one in change.left_out) == ["broken.jpg", "link.png"]
    assert read_manifest(index).generation == generation


def test_refresh_refuses_embeddings_and_waits_for_absent_inputs(tmp_path, photos, model):
    index, other = tmp_path / "idx", tmp_path / "other"
    other.mkdir()
    noise(40).save(other / "a.png")
    update.build(index, [photos, other], model)
    other.rename(tmp_path / "off")
    (photos / "00.png").unlink()
    noise(41).save(photos / "new.png")
    change = update.refresh(index, model)
    assert (change.absent, change.added, change.removed, change.pictures) == ((str(other),), 1, 0, 14)
    (tmp_path / "off").rename(other)
    assert update.refresh(index, model).removed == 1
    shutil.rmtree(other)
    shutil.rmtree(photos)
    with pytest.raises(UserError, match=f"{photos}, {other}: not there, or empty"):
        update.refresh(index, model)
    assert len(contents(index)) == 13
    with pytest.raises(UserError, match="another model"):
        update.refresh(index, update.Model(FakeEncoder(seed=5), "other"))
    rows = {"id": list("ab"), "embedding": list(FakeEncoder().encode_images([noise(1), noise(2)]))}
    pq.write_table(pa.table(rows), tmp_path / "emb.parquet")
    update.build(tmp_path / "more", [tmp_path / "emb.parquet"], model)
    with pytest.raises(UserError, match="embeddings, which do not follow files"):
        update.refresh(tmp_path / "more", model)
