"""The plan of an update gives what a simple model in plain Python gives."""

import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.pictures.decoding import PictureError
from clip_italian.pipeline.rejects import Reject
from clip_italian.search import plan as planning
from clip_italian.search.commit import write_part
from clip_italian.search.inputs import Entry
from clip_italian.search.plan import Plan, write_scan
from clip_italian.search.schema import CONTENT, EMBEDDED, ENTRY, EXISTING, ROWS, SCANNED, TO_EMBED

ROOTS = ["/photos", "/più foto"]
FIRST_PART = 2  # the existing rows lie in two stores
PATHS = ["a.jpg", "sub/b.jpg", "sub/è\n.jpg", "/photos/a.jpg"]
CONTENTS = [bytes([number]) * 32 for number in range(3)]
LOOKS = [None, b"l" * 14, b"L" * 14]
OFFSETS = [None, 0, 512]


def place_of(entry):
    return entry["path"] if entry["path"].startswith("/") else f"{ROOTS[entry['root']]}/{entry['path']}"


def entry(id_="a", path="a.jpg", root=0, size=1, mtime_ns=1, **more):
    return (
        dict.fromkeys(SCANNED.names)
        | {"id": id_, "root": root, "path": path, "size": size, "mtime_ns": mtime_ns}
        | more
    )


def content(sha256=CONTENTS[0], look=LOOKS[1], taken=None):
    return dict.fromkeys(CONTENT.names) | {"sha256": sha256, "look": look, "taken": taken, "keywords": ["mare"]}


def embedded(of, **more):
    """The row of a part for an entry."""
    return {name: of.get(name) for name in EMBEDDED.names} | {"place": place_of(of)} | content() | more


class Model:
    """What `Plan` does, row by row."""

    def __init__(self, scan, existing, parts, digests):
        self.scan, self.existing, self.digests = scan, existing, digests
        self.first = {}
        for n, one in enumerate(scan):
            self.first.setdefault(one["id"], n)
        self.parts, self.pending, self.sources, self.hashed = 0, [], [], Counter()
        for row in existing:
            n = self.first.get(row["id"])
            if n is not None and all(scan[n][name] == row[name] is not None for name in ("size", "mtime_ns")):
                self.sources.append((n, row, all(scan[n][name] == row[name] for name in ENTRY.names)))
        self.use_parts(parts)

    def waiting(self):
        done = {n for n, _, _ in self.sources}
        return [n for n in self.first.values() if n not in done]

    def use_parts(self, parts):
        for rows in parts:
            store = FIRST_PART + self.parts
            self.pending += [row | {"store": store, "pos": pos} for pos, row in enumerate(rows)]
            self.parts += 1
        names = ("id", "offset", "size", "mtime_ns")
        for n in self.waiting():
            one = self.scan[n]
            found = [
                row
                for row in self.pending
                if row["place"] == place_of(one) and all(row[name] == one[name] for name in names)
            ]
            if found:
                self.sources.append((n, min(found, key=lambda row: (-row["store"], row["pos"])), False))

    def find_moved(self):
        known = [row for row in [*self.existing, *self.pending] if row["sha256"] is not None]
        known.sort(key=lambda row: (row["store"], row["pos"]))
        sizes = {row["size"] for row in known} - {None}
        for n in self.waiting():
            if (one := self.scan[n])["size"] in sizes:
                at = (place_of(one), one["offset"])
                self.hashed[at] += 1
                row = next((row for row in known if row["sha256"] == self.digests[at]), None)
                if row is not None:
                    self.sources.append((n, row, False))

    def todo(self):
        rows = [self.scan[n] | {"n": n, "place": place_of(self.scan[n])} for n in self.waiting()]
        return [{name: row[name] for name in TO_EMBED.names} for row in rows if row["size"] is not None]

    def new(self):
        rows = []
        for n, row, stays in sorted(self.sources, key=lambda source: source[0]):
            if not stays:
                known = {name: row[name] for name in (*CONTENT.names, "store", "pos")}
                same = row["sidecars"] == self.scan[n]["sidecars"]
                known["keywords"] = row["keywords"] if same else None
                rows.append(known | self.scan[n] | {"look": self.scan[n]["look"] or row["look"]})
        return rows

    def gone(self, everything):
        stay = {(row["store"], row["pos"]) for _, row, stays in self.sources if stays}
        gone = {}
        for row in sorted(self.existing, key=lambda row: (row["store"], row["pos"])):
            if (everything or row["id"] in self.first) and (row["store"], row["pos"]) not in stay:
                gone.setdefault(row["store"], []).append(row["pos"])
        return gone

    def missing(self, now, is_gone):
        used = {row["sha256"] for _, row, _ in self.sources} - {None}
        missing = {}
        for row in sorted(self.existing, key=lambda row: (row["store"], row["pos"])):
            where = place_of(row)
            if row["id"] in self.first or row["size"] is None or row["sha256"] in used or not is_gone(where):
                continue
            if any(where.startswith(f"{one}/") for one in now):
                missing.setdefault(where, []).append((row["store"], row["pos"], row["root"]))
        return missing

    def duplicates(self):
        rejects = []
        for one in self.scan:
            first = self.scan[self.first[one["id"]]]
            if (place_of(one), one["offset"]) != (place_of(first), first["offset"]):
                rejects.append(Reject(one["id"], "same-id", detail=place_of(one)))
        return rejects


class World:
    """Files of a plan in a folder; `hashed` counts the files whose sha256 was asked for."""

    def __init__(self, folder, scan, existing, parts=(), digests=()):
        self.folder, self.digests, self.hashed = folder, dict(digests), Counter()
        self.parts = []
        write_scan((Entry(**one) for one in scan), folder / "scan.parquet")
        pq.write_table(pa.Table.from_pylist(existing, EXISTING), folder / "existing.parquet", row_group_size=3)
        for number, rows in enumerate(parts):
            self.parts.append(folder / f"{number:06d}")
            write_part(self.parts[-1], pa.Table.from_pylist(rows, EMBEDDED), np.zeros((len(rows), 2), np.float16))

    def plan(self, parts=()):
        return Plan(self.folder / "scan.parquet", self.folder / "existing.parquet", parts, ROOTS, FIRST_PART)

    def find_moved(self, plan):
        with patch.object(planning.embed, "digest", self._digest):
            plan.find_moved()

    def _digest(self, place, part):
        at = (place, part and part[0])
        self.hashed[at] += 1
        if (digest := self.digests.get(at)) is None:
            raise PictureError(place)
        return digest

    def written(self, write, schema):
        path = self.folder / "written.parquet"
        count = write(path)
        table = pq.read_table(path)
        assert table.schema == schema
        assert len(table) == count
        return table.to_pylist()


entries = st.builds(
    entry, st.sampled_from(["a", "b", "c", "ù/d"]), st.sampled_from(PATHS), st.integers(0, 1),
    st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 2]), offset=st.sampled_from(OFFSETS),
    look=st.sampled_from(LOOKS), caption=st.sampled_from([None, "", "un gatto"]), source=st.sampled_from([None, "s"]),
    sidecars=st.sampled_from([None, -1, 2]),
)  # fmt: skip
contents = st.builds(
    content, st.sampled_from([None, *CONTENTS]), st.sampled_from(LOOKS), st.sampled_from([None, datetime(2019, 5, 1)])
)
everywhere = st.fixed_dictionaries(
    {
        (place, offset): st.sampled_from([None, *CONTENTS])
        for place in sorted({place_of(entry(path=path, root=root)) for path in PATHS for root in (0, 1)})
        for offset in OFFSETS
    }
)


@st.composite
def worlds(draw):
    """Scan, existing rows, parts and digests; many rows and parts hold what the scan holds."""
    scan = [one | {"length": one["offset"] and 9} for one in draw(st.lists(entries, max_size=7))]
    rows = st.one_of(entries, st.sampled_from(scan)) if scan else entries
    existing = [one | more for one, more in draw(st.lists(st.tuples(rows, contents), max_size=7))]
    for store, one in enumerate(draw(st.permutations(range(len(existing))))):
        existing[one] |= {"store": store % FIRST_PART, "pos": store}
    parts = [
        [embedded(one, **more) for one, more in part]
        for part in draw(st.lists(st.lists(st.tuples(rows, contents), max_size=3), max_size=4))
    ]
    return scan, existing, parts, draw(everywhere)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 4), st.sets(st.sampled_from([f"{root}/{path}" for root in ROOTS for path in PATHS])))
def test_plan_equals_a_model_in_plain_python(world, before, lost):
    scan, existing, parts, digests = world
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(planning, "_BATCH", 2),
        patch.object(planning, "is_gone", lost.__contains__),
    ):
        files = World(Path(folder), scan, existing, parts, digests)
        plan, model = files.plan(files.parts[:before]), Model(scan, existing, parts[:before], digests)
        files.find_moved(plan)
        model.find_moved()
        assert files.hashed == model.hashed
        assert files.written(plan.write_todo, TO_EMBED) == model.todo()
        plan.use_parts(files.parts[before:])
        model.use_parts(parts[before:])
        assert files.written(plan.write_new, EXISTING) == model.new()
        for everything in (False, True):
            assert plan.gone(everything) == model.gone(everything)
        for now in (ROOTS, ROOTS[:1], []):
            assert plan.missing(ROOTS, now) == model.missing(now, lost.__contains__)
        pictures = [scan[n] for n in model.first.values()]
        assert plan.folders_with_pictures() == {place_of(one).rpartition("/")[0] for one in pictures}
        assert plan.duplicate_ids() == model.duplicates()
        assert plan.count_sources() == len(model.sources)
        assert plan.scanned_ids() == set(model.first)


def test_nothing_scanned_and_nothing_indexed(tmp_path):
    files = World(tmp_path, [], [])
    plan = files.plan()
    files.find_moved(plan)
    assert files.written(plan.write_todo, TO_EMBED) == files.written(plan.write_new, EXISTING) == []
    assert (plan.gone(True), plan.missing([], []), plan.duplicate_ids(), plan.count_sources()) == ({}, {}, [], 0)


def test_a_row_stays_where_null_meets_null(tmp_path):
    one = entry()
    plan = World(tmp_path, [one], [one | content() | {"store": 0, "pos": 0}]).plan()
    assert plan.count_sources() == 1
    assert plan.gone(True) == {}


@pytest.mark.parametrize("change", [{"caption": ""}, {"page": "p"}, {"offset": 0, "length": 0}])
def test_a_row_is_replaced_where_a_value_meets_null(tmp_path, change):
    one = entry()
    files = World(tmp_path, [one | change], [one | content() | {"store": 0, "pos": 0}])
    plan = files.plan()
    [row] = files.written(plan.write_new, EXISTING)
    assert row == one | content() | change | {"store": 0, "pos": 0}
    assert plan.gone(False) == {0: [0]}


@pytest.mark.parametrize(("before", "now"), [(None, 1), (1, 2), (1, None)])
def test_metadata_is_read_again_where_the_sidecars_are_others(tmp_path, before, now):
    known = entry(sidecars=before) | content() | {"store": 0, "pos": 0}
    files = World(tmp_path, [entry(sidecars=now)], [known])
    plan = files.plan()
    assert files.written(plan.write_new, EXISTING) == [known | {"sidecars": now, "keywords": None}]
    assert files.written(plan.write_todo, TO_EMBED) == []
    assert plan.gone(False) == {0: [0]}


def test_a_store_without_the_column_compares_no_sidecars(tmp_path):
    """A collection of an older version keeps none: its metadata would be read again by every update."""
    files = World(tmp_path, [entry(sidecars=1)], [entry() | content() | {"store": 0, "pos": 0}])
    places = (tmp_path / "scan.parquet", tmp_path / "existing.parquet")
    older = [name for name in ROWS.names if name != "sidecars"]
    assert Plan(*places, [], ROOTS, FIRST_PART).gone(True) == {0: [0]}
    plan = Plan(*places, [], ROOTS, FIRST_PART, older)
    assert files.written(plan.write_new, EXISTING) == []
    assert plan.gone(True) == {}


def test_a_picture_without_a_file_has_its_vector_in_a_part_only(tmp_path):
    one = entry(size=None, mtime_ns=None)
    files = World(tmp_path, [one], [one | content() | {"store": 0, "pos": 0}], [[embedded(one)]])
    plan = files.plan()
    files.find_moved(plan)
    assert (plan.count_sources(), files.hashed) == (0, Counter())
    assert files.written(plan.write_todo, TO_EMBED) == []
    plan.use_parts(files.parts)
    [row] = files.written(plan.write_new, EXISTING)
    assert (row["store"], row["pos"]) == (FIRST_PART, 0)


def test_only_files_with_the_size_of_a_known_content_are_hashed(tmp_path):
    known = [
        entry("x", "x.jpg", size=1) | content() | {"store": 0, "pos": 0},
        entry("y", "y.jpg", size=2) | content(None) | {"store": 0, "pos": 1},
        entry("z", "z.jpg", size=None) | content() | {"store": 0, "pos": 2},
    ]
    scan = [entry("a", "moved.jpg", size=1), entry("b", "b.jpg", size=2), entry("c", "c.jpg", size=None)]
    scan += [entry("d", "d.jpg", size=3), entry("e", "unreadable.jpg", size=1)]
    files = World(tmp_path, scan, known, digests={("/photos/moved.jpg", None): CONTENTS[0]})
    plan = files.plan()
    files.find_moved(plan)
    assert files.hashed == {("/photos/moved.jpg", None): 1, ("/photos/unreadable.jpg", None): 1}
    [row] = files.written(plan.write_new, EXISTING)
    assert (row["id"], row["path"], row["pos"]) == ("a", "moved.jpg", 0)
    assert [row["id"] for row in files.written(plan.write_todo, TO_EMBED)] == ["b", "d", "e"]


def test_the_latest_part_wins(tmp_path):
    one = entry()
    files = World(tmp_path, [one], [], [[embedded(one)], [embedded(one)] * 2, []])
    [row] = files.written(files.plan(files.parts).write_new, EXISTING)
    assert (row["store"], row["pos"]) == (FIRST_PART + 1, 0)


def test_rejects_of_the_inputs_are_returned(tmp_path):
    reject = Reject("r", "unreadable")
    assert write_scan([Entry(**entry()), reject], tmp_path / "scan.parquet") == [reject]
    assert pq.read_table(tmp_path / "scan.parquet").schema == SCANNED
