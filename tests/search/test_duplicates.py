"""Copies and bursts of made pictures whose copies are known, and groups compared with a plain union."""

import io
import os
import tarfile
from datetime import datetime
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clip_italian.errors import UsageError
from clip_italian.pictures.phash import alike, unpacked
from clip_italian.search import duplicates, sheet, update
from clip_italian.search.duplicates import Facts, find, link
from clip_italian.search.storage import read_manifest, write_manifest

DATE = 0x9003  # EXIF DateTimeOriginal


def scene(seed, size=(320, 240)):
    """A smooth picture with shapes, different for each seed."""
    numbers = np.random.default_rng(seed)
    image = Image.fromarray(numbers.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = (int(v) for v in numbers.integers(0, 200, 2))
        pen.ellipse((x, y, x + 60, y + 50), fill=tuple(int(v) for v in numbers.integers(0, 256, 3)))
    return image


def save(image, path, taken=None, quality=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken:
        exif.get_ifd(0x8769)[DATE] = taken
    image.save(path, quality=quality, exif=exif.tobytes() if taken else b"")
    os.utime(path, ns=(1_700_000_000_123_456_789,) * 2)  # written at some time of its own


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def groups(tmp_path, model):
    """Index inputs and find groups: kind and ids of the pictures."""

    def run(*inputs, build=True):
        if build:
            update.build(tmp_path / "idx", list(inputs), model)
        return [(one.kind, [picture.hit.id for picture in one.pictures]) for one in find(tmp_path / "idx")]

    return run


def test_copies_the_best_first(folder, groups):
    image = scene(1)
    save(image, folder / "a.jpg")
    (folder / "copy of a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    save(image, folder / "rough.jpg", quality=60)
    save(image.resize((160, 120), Image.Resampling.LANCZOS), folder / "small.jpg", quality=95)
    save(image.crop((6, 5, 314, 235)), folder / "cropped.jpg")
    for seed in range(2, 9):
        save(scene(seed), folder / f"{seed}.jpg")
    assert groups(folder) == [("copies", ["a.jpg", "copy of a.jpg", "rough.jpg", "small.jpg"])]
    (group,) = find(folder.parent / "idx")
    assert [(one.width, one.height) for one in group.pictures] == [(320, 240)] * 3 + [(160, 120)]
    assert [one.hit.id for one in group.others] == ["copy of a.jpg", "rough.jpg", "small.jpg"]
    assert group.spare == sum((folder / one.hit.id).stat().st_size for one in group.others)


def test_shots_within_seconds_are_a_burst_and_not_copies(folder, groups):
    image = scene(1)
    save(image, folder / "a.jpg", "2024:06:01 10:00:00")
    save(image, folder / "b.jpg", "2024:06:01 10:00:09", quality=85)
    save(image, folder / "c.jpg", "2024:06:01 10:00:18", quality=80)
    save(image, folder / "later.jpg", "2024:06:01 11:00:00")
    save(scene(2), folder / "else.jpg", "2024:06:01 10:00:01")
    save(image, folder / "a small.jpg", "2024:06:01 10:00:00", quality=60)
    assert groups(folder) == [("copies", ["a.jpg", "a small.jpg"]), ("bursts", ["a.jpg", "b.jpg", "c.jpg"])]


def test_a_copy_without_a_date_does_not_make_copies_of_a_burst(folder, groups):
    for number in range(3):
        save(scene(1), folder / f"{number}.jpg", f"2024:06:01 10:00:0{number}", quality=90 - number)
    save(scene(1), folder / "undated.jpg", quality=40)
    assert groups(folder) == [("copies", ["0.jpg", "undated.jpg"]), ("bursts", ["0.jpg", "1.jpg", "2.jpg"])]


def test_vectors_confirm_a_burst(folder, groups, tmp_path):
    """The fake encoder's vectors of a picture moved by a few pixels are close, those of other pictures are not."""
    wide = scene(1, (400, 300))
    for number in range(2):
        left = 30 * number
        save(wide.crop((left, 0, left + 320, 240)), folder / f"{number}.jpg", f"2024:06:01 10:00:0{number}")
    save(scene(5), folder / "else.jpg", "2024:06:01 10:00:00")
    groups(folder)
    found = find(tmp_path / "idx", cosine=0.5)
    assert [(one.kind, sorted(picture.hit.id for picture in one.pictures)) for one in found] == [
        ("bursts", ["0.jpg", "1.jpg"])
    ]
    assert find(tmp_path / "idx", cosine=1.0) == []


def test_dates_of_files_and_of_archives_make_no_burst(folder, groups):
    for number in range(3):
        save(scene(1).crop((number * 9, 0, 290 + number * 9, 240)), folder / f"{number}.jpg")
    assert groups(folder) == []
    taken = pa.array([datetime(2024, 1, 1)] * 150, pa.timestamp("ms"))
    table = pa.table({"taken": taken, "mtime_ns": [1_000_000_000] * 150})
    _, sure, dated = duplicates._dates(table)
    assert not sure.any() and not dated.any(), "more pictures than a camera takes at once"
    _, sure, dated = duplicates._dates(table.slice(0, 20))
    assert sure.all() and dated.all()


def test_no_pictures_one_picture_and_none_alike(folder, groups, tmp_path):
    for seed in range(4):
        save(scene(seed), folder / f"{seed}.jpg")
    assert groups(folder) == []
    update.remove(tmp_path / "idx", ["*.jpg"])
    assert groups(build=False) == []


def test_files_that_are_gone_changed_or_damaged_are_not_removed(folder, groups, tmp_path):
    for name in ("a", "b", "c", "d"):
        save(scene(1), folder / f"{name}.jpg")
    save(scene(1), folder / "touched.jpg")
    groups(folder)
    (folder / "a.jpg").unlink()
    save(scene(2), folder / "b.jpg")
    content = bytearray((folder / "c.jpg").read_bytes())
    content[:10] = bytes(10)
    (folder / "c.jpg").write_bytes(content)
    os.utime(folder / "touched.jpg")
    (group,) = find(tmp_path / "idx")
    assert {one.hit.id: one.problem for one in group.pictures} == {
        "d.jpg": None, "touched.jpg": None, "a.jpg": "missing", "b.jpg": "changed", "c.jpg": "changed",
    }  # fmt: skip
    assert [one.hit.id for one in group.others] == ["touched.jpg"]
    for path in folder.iterdir():
        path.unlink()
    (group,) = find(tmp_path / "idx")
    assert {one.problem for one in group.pictures} == {"missing"}
    assert group.others == []


def test_one_file_by_two_names_is_no_copy(folder, groups):
    save(scene(1), folder / "a.jpg")
    os.link(folder / "a.jpg", folder / "b.jpg")
    assert groups(folder) == []
    save(scene(1), folder / "c.jpg", quality=50)
    assert groups(folder) == [("copies", ["a.jpg", "c.jpg"])]


def test_pictures_inside_archives_are_listed_and_never_removed(tmp_path, groups):
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        for name, seed in (("x", 1), ("y", 1), ("z", 2)):
            sink = io.BytesIO()
            scene(seed).save(sink, "JPEG", quality=90 if name == "x" else 60)
            member = tarfile.TarInfo(f"{name}.jpg")
            member.size = sink.tell()
            tar.addfile(member, io.BytesIO(sink.getvalue()))
    ((kind, ids),) = groups(tmp_path / "shards")
    assert (kind, [one.rpartition("/")[2] for one in ids]) == ("copies", ["x", "y"])
    (group,) = find(tmp_path / "idx")
    assert [(one.width, one.bytes == one.hit.part[1], one.removable) for one in group.pictures] == [
        (320, True, False)
    ] * 2
    sheet.write_duplicates(tmp_path / "page.html", [group])
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert 'type="checkbox" value' not in page


def test_the_order_of_the_best():
    def picture(file, width=10, size=5, taken=None, problem=None):
        return duplicates.Picture(duplicates.Hit(0, file, file, 0.0), taken, width, 10, size, problem)

    best = [
        picture("/long/path", 20, 1), picture("/long/path", 10, 9), picture("/long/path", taken=datetime(2001, 1, 1)),
        picture("/longer", taken=datetime(2002, 1, 1)), picture("/b"), picture("/c"), picture("/dd"),
        picture("/a", 99, 99, datetime(1999, 1, 1), "changed"),
    ]  # fmt: skip
    mixed = best[3:] + best[:3]
    assert sorted(mixed, key=lambda one: one.order) == best
    assert not picture("/a\nb").removable


def test_an_index_in_milvus_is_refused(folder, groups, tmp_path):
    save(scene(1), folder / "a.jpg")
    groups(folder)
    manifest = read_manifest(tmp_path / "idx").model_copy(update={"store": "milvus://h:1/c", "segments": []})
    write_manifest(tmp_path / "idx", manifest)
    with pytest.raises(UsageError, match="its rows are in milvus://h:1/c, which is not searched; build an index"):
        find(tmp_path / "idx")


LOOKS = st.tuples(
    st.sets(st.sampled_from([0, 1, 5, 20, 40, 41, 42]), max_size=5).map(lambda bits: sum(1 << bit for bit in bits)),
    st.lists(st.sampled_from([0, 8, 9, 17]), min_size=6, max_size=6),
)
ROWS = st.tuples(
    st.one_of(LOOKS, st.tuples(st.sampled_from([7, 8]), st.just([1] * 6))),
    st.integers(0, 8),
    st.integers(0, 4).map(lambda step: step * 5_000),
    st.sampled_from(["none", "dated", "sure"]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ROWS, max_size=14), st.data())
def test_groups_equal_a_plain_union(rows, data):
    count = len(rows)
    looks = [outline.to_bytes(8, "big") + bytes(colours) for (outline, colours), _, _, _ in rows]
    close = [(a, b) for a, b in combinations(range(count), 2) if data.draw(st.integers(0, 9)) == 0]

    def links(a, b):
        """Whether two rows may be copies, and whether they are of a burst."""
        (_, content_a, taken_a, date_a), (_, content_b, taken_b, date_b) = rows[a], rows[b]
        near, dates, apart = alike(unpacked(looks[a]), unpacked(looks[b])), {date_a, date_b}, abs(taken_a - taken_b)
        burst = "none" not in dates and 0 < apart <= 10_000
        other_time = burst or (dates == {"sure"} and apart > 0)
        return content_a == content_b or (near and not other_time), (near and burst) or (a, b) in close

    def union(which):
        first = list(range(count))
        for a, b in combinations(range(count), 2):
            if links(a, b)[which]:
                old, new = max(first[a], first[b]), min(first[a], first[b])
                first = [new if one == old else one for one in first]
        return first

    facts = Facts(
        np.frombuffer(b"".join(looks), np.uint8).reshape(-1, 14), np.array([one[1] for one in rows], np.int64),
        np.array([one[2] for one in rows], np.int64), np.array([one[3] == "sure" for one in rows], bool),
        np.array([one[3] != "none" for one in rows], bool),
    )  # fmt: skip
    pairs = np.array(close, np.int64).reshape(-1, 2)
    copies, bursts = link(facts, [(pairs[:, 0], pairs[:, 1])])
    assert copies.tolist() == union(0)
    assert bursts.tolist() == union(1)
