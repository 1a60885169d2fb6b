"""Shards as img2dataset and others write them, and as nobody should."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.webdataset import WebDataset
from tests.tars import write_tar


def split(found):
    rows = list(found)
    return [row for row in rows if isinstance(row, Pair)], [row for row in rows if isinstance(row, Reject)]


def test_what_fetch_writes_comes_back(tmp_path):
    data = {"id": "wit-1", "captions": ["uno", "due"], "captions_original": ["one", "two"], "source": "wit",
            "split": None, "license": "CC0", "page": "http://h/p", "url": "http://h/1.jpg", "width": 8}  # fmt: skip
    path = write_tar(
        tmp_path / "00000.tar",
        {"000000000.jpg": b"JPEG", "000000000.txt": b"uno", "000000000.json": json.dumps(data).encode()},
    )
    ((row,), rejects) = split(WebDataset(tmp_path / "pictures")(path))
    assert rejects == []
    assert row.image.startswith(str(tmp_path / "pictures"))
    assert Path(row.image).read_bytes() == b"JPEG"
    assert row == Pair(
        "wit-1", row.image, ("uno", "due"), "wit", captions_original=("one", "two"), license="CC0", page="http://h/p"
    )


def test_shards_of_others(tmp_path):
    path = write_tar(
        tmp_path / "s.tar",
        {
            "a.png": b"A", "a.txt": "un gatto\nun micio\n".encode("utf-8-sig"),
            "sub/a.jpeg": b"B", "sub/a.json": b'{"caption": "altro", "url": "http://h/b.jpg"}',
            "c.cls": b"3", "c.jpg": b"C", "c.txt": "perché".encode("latin-1"),
        },
    )  # fmt: skip
    rows, rejects = split(WebDataset(tmp_path / "p", "loro")(path))
    assert rejects == []
    assert [row.captions for row in rows] == [("un gatto", "un micio"), ("altro",), ("perché",)]
    assert {row.source for row in rows} == {"loro"}
    assert [Path(row.image).read_bytes() for row in rows] == [b"A", b"B", b"C"]
    assert rows[1].page == "http://h/b.jpg"
    assert [row.image for row in split(WebDataset(tmp_path / "p", "loro")(path))[0]] == [row.image for row in rows]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.txt": b"un gatto"}, "no-picture"),
        ({"a.jpg": "/etc/passwd", "a.txt": b"un gatto"}, "no-picture"),
        ({"a.jpg": b"A"}, "no-caption"),
        ({"a.jpg": b"A", "a.txt": b" \n"}, "no-caption"),
        ({"a.jpg": b"A", "a.json": b"{"}, "not-json"),
        ({"a.jpg": b"A", "a.json": b"[]"}, "no-object"),
        ({"a.jpg": b"A", "a.txt": b"un\0gatto"}, "nul-byte"),
        ({"a.jpg": b"A", "a.txt": b"x" * (1 << 20 | 1)}, "member-too-large"),
    ],
)
def test_bad_samples_are_rejects(tmp_path, members, reason):
    rows, rejects = split(WebDataset(tmp_path / "p")(write_tar(tmp_path / "s.tar", members)))
    assert rows == []
    assert [reject.reason for reject in rejects] == [reason]


def test_names_cannot_lead_out_of_the_folder(tmp_path):
    path = write_tar(
        tmp_path / "in" / "s.tar",
        {"../../evil.jpg": b"A", "../../evil.txt": b"uno", "/tmp/evil2.jpg": b"B", "/tmp/evil2.txt": b"due"},
    )
    rows, _ = split(WebDataset(tmp_path / "p")(path))
    assert len(rows) == 2
    assert all(row.image.startswith(f"{tmp_path}/p/s-") for row in rows)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["in", "p"]


def test_damaged_shards_keep_what_stood_before(tmp_path):
    members = {}
    for number in range(5):
        members |= {f"{number}.jpg": bytes([number]) * 1000, f"{number}.txt": b"una foto"}
    whole = write_tar(tmp_path / "s.tar", members).read_bytes()
    sample = 512 + 1024 + 512 + 512  # bytes of a sample's headers and contents in whole blocks
    for length in (2 * sample + 100, 2 * sample, 2 * sample + 600, 2 * sample + 700):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        rows, rejects = split(WebDataset(tmp_path / "p")(tmp_path / "cut.tar"))
        assert len(rows) == 2
        assert [reject.reason for reject in rejects] == ["damaged-tar"]
    for name, content in {"empty.tar": b"", "text.tar": b"no tar at all" * 100}.items():
        (tmp_path / name).write_bytes(content)
        assert [reject.reason for reject in split(WebDataset(tmp_path / "p")(tmp_path / name))[1]] == ["damaged-tar"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5_000), st.integers(1, 255))
def test_no_damage_raises(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("damage")
    content = bytearray(write_tar(folder / "s.tar", {"a.jpg": b"A" * 700, "a.txt": b"uno", "b.jpg": b"B"}).read_bytes())
    content[place % len(content)] ^= change
    (folder / "s.tar").write_bytes(content)
    list(WebDataset(folder / "p")(folder / "s.tar"))


def test_equal_names_in_two_folders_stay_apart(tmp_path):
    members = [{"0.jpg": bytes([number]), "0.txt": b"una foto"} for number in range(2)]
    shards = [write_tar(tmp_path / f"run{number}" / "00000.tar", some) for number, some in enumerate(members)]
    collect("webdataset", WebDataset(tmp_path / "p"), {}, shards, tmp_path / "out.parquet", workers=2)
    rows = pairs.read(tmp_path / "out.parquet")
    assert [pairs.image_path(row, tmp_path / "out.parquet").read_bytes() for row in rows] == [b"\0", b"\1"]
    assert all(row.image.startswith("p/00000-") for row in rows)


DOTTED = {
    "foto.1.jpg": b"1", "foto.1.txt": b"uno", "foto.2.jpg": b"2", "foto.2.txt": b"due", "a.b/c.jpg": b"3",
    "a.b/c.txt": b"tre", "2024.06.01_mare.JPG": b"4", "2024.06.01_mare.json": b'{"caption": "quattro"}',
    "k/foto.jpg": b"5", "k/foto.txt": b"cinque", "k/foto.1.jpg": b"6", "k/foto.1.txt": b"sei",
    "000.depth.png": b"mask", "000.jpg": b"7", "000.json": b'{"caption": "sette"}', "000.meta.json": b"[]",
    "000.seg.png": b"mask", "000.txt": b"sette",
}  # fmt: skip


def test_keys_with_dots(tmp_path):
    rows, rejects = split(WebDataset(tmp_path / "p")(write_tar(tmp_path / "s.tar", DOTTED)))
    assert [row.captions[0] for row in rows] == ["uno", "due", "tre", "quattro", "cinque", "sei", "sette"]
    assert [Path(row.image).read_bytes() for row in rows] == [b"%d" % number for number in range(1, 8)]
    assert [(reject.reason, reject.detail[:14]) for reject in rejects] == [
        ("further-picture", "s.tar: 000.dep"), ("further-picture", "s.tar: 000.seg"),
    ]  # fmt: skip


def test_many_pictures_whose_names_begin_alike_are_read_one_by_one(tmp_path):
    members = {}
    for number in range(30):
        members |= {f"foto.{number}.jpg": bytes([number]) * (1 << 20), f"foto.{number}.txt": b"una foto"}
    shard = write_tar(tmp_path / "s.tar", members)
    del members
    tracemalloc.start()
    count = sum(isinstance(row, Pair) for row in WebDataset(tmp_path / "p")(shard))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30
    assert most < 12 << 20
    # A picture alone is told, with the name that it has in the shard.
    ((), (reject,)) = split(WebDataset(tmp_path / "p")(write_tar(tmp_path / "t.tar", {"dots/foto.1.jpg": b"A"})))
    assert (reject.reason, reject.detail) == ("no-caption", "t.tar: dots/foto.1")
