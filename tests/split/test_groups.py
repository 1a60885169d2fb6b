"""Which rows show one picture: by each key alone, through others, and against a search of all pairs."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_italian.files.digests import NO_KEY, content_key, hash64
from clip_italian.pictures.phash import FLAT, alike, picture_hash
from clip_italian.pipeline.database import database
from clip_italian.split.draw import identity_groups
from clip_italian.split.groups import address_key, group_rows, hash_file

COLOURED = "80" * 6


def groups(distance, ids, addresses=None, contents=None, looks=None, copies=()):
    """The root of each row."""
    count = len(ids)
    columns = {"key": ids, "address": addresses or [NO_KEY] * count, "content": contents or [NO_KEY] * count}
    arrays = {name: pa.array(values, pa.uint64()) for name, values in columns.items()}
    arrays |= {"row": pa.array(range(count), pa.int64()), "phash": pa.array(looks or [None] * count, pa.string())}
    with database() as base:
        base.register("keys", pa.table(arrays))
        group_rows(base, distance, copies)
        return [root for [root] in base.sql("SELECT root FROM groups ORDER BY row").fetchall()]


def partition(numbers):
    found = {}
    for row, group in enumerate(numbers):
        found.setdefault(int(group), set()).add(row)
    return sorted(map(sorted, found.values()))


def test_each_key_joins_and_none_does_not():
    assert partition(groups(4, [1, 2, 1])) == [[0, 2], [1]]
    assert partition(groups(4, [1, 2, 3], addresses=[7, 0, 7])) == [[0, 2], [1]]
    assert partition(groups(4, [1, 2, 3], contents=[0, 9, 9])) == [[0], [1, 2]]
    outlines = ["f0f0f0f0f0f0f0f0", "f0f0f0f0f0f0f0ff", "f0f0f0f0f0f0ffff"]  # 4 bits apart each
    looks = [f"{outline}-{COLOURED}" for outline in outlines]
    assert partition(groups(4, [1, 2, 3], looks=looks)) == [[0, 1], [2]]  # no chains
    assert partition(groups(3, [1, 2, 3], looks=looks)) == [[0], [1], [2]]
    assert partition(groups(0, [1, 2, 3], looks=[looks[0], looks[1], looks[0]])) == [[0, 2], [1]]


def test_pictures_without_outline_or_hash_are_like_none():
    assert partition(groups(4, [1, 2], looks=[f"{FLAT}-{COLOURED}"] * 2)) == [[0], [1]]
    assert partition(groups(4, [1, 2], looks=["another tool's"] * 2)) == [[0], [1]]


def test_none_at_all():
    assert groups(4, []) == []


def test_a_long_chain_and_a_star_are_one_group():
    # Row i shares a key with row i + 1 by turns of address and content; then a chain through a shuffled order.
    chain = 60
    addresses = [row // 2 + 1 for row in range(chain)]
    contents = [(row + 1) // 2 + 1 for row in range(chain)]
    assert groups(0, list(range(1, chain + 1)), addresses, contents) == [0] * chain
    order = [row * 37 % chain for row in range(chain)]
    shuffled = groups(0, list(range(1, chain + 1)), [addresses[o] for o in order], [contents[o] for o in order])
    assert shuffled == [0] * chain
    assert groups(0, list(range(1, chain + 1)), [5] * chain) == [0] * chain


small = st.lists(st.tuples(*[st.integers(0, 5)] * 3, st.integers(0, 30)), max_size=12)


@settings(deadline=None, max_examples=40)
@given(small)
def test_the_same_as_union_by_names(rows):
    looks = [f"{1 << 40 | value:016x}-{COLOURED}" for *_, value in rows]
    found = groups(0, [a + 1 for a, *_ in rows], [b for _, b, *_ in rows], [c for _, _, c, _ in rows], looks)
    names = []
    for place, (id_, address, content, _) in enumerate(rows):
        mine = [f"id {id_}"] + [f"address {address}"] * (address > 0) + [f"content {content}"] * (content > 0)
        mine += [f"alike {min(place, o)} {max(place, o)}" for o in range(len(rows)) if alike(looks[place], looks[o], 0)]
        names.append(mine)
    assert partition(found) == partition(identity_groups(names))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://A.org/x.jpg", "https://a.org/x.jpg#top", True),
        ("http://a.org/x.jpg?w=1", "http://a.org/x.jpg?w=2", False),
        ("http://a.org/X.jpg", "http://a.org/x.jpg", False),
        ("http://[broken", "http://[broken", True),
    ],
)
def test_addresses(one, other, same):
    assert (address_key(one) == address_key(other)) is same


def test_local_pictures_have_no_address():
    assert address_key("images/x.jpg") == NO_KEY


def test_contents_and_looks_of_files(tmp_path):
    image = Image.linear_gradient("L").convert("RGB")
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    (tmp_path / "text.png").write_text("no picture")
    assert hash_file(tmp_path / "a.png") == hash_file(tmp_path / "b.bmp") == picture_hash(image)
    assert hash_file(tmp_path / "text.png") is None
    assert content_key(tmp_path / "a.png") == hash64((tmp_path / "a.png").read_bytes())
    assert content_key(tmp_path / "a.png") != content_key(tmp_path / "b.bmp")
    assert content_key(tmp_path / "missing.png") == NO_KEY


def test_a_group_is_what_fits_its_first_member():
    outlines = ["f0f0f0f0f0f0f0f0", "f0f0f0f0f0f0f0ff", "f0f0f0f0f0f0ffff", "f0f0f0f0f0ffffff"]  # 4 bits apart each
    looks = [f"{outline}-{COLOURED}" for outline in outlines]
    assert groups(4, [1, 2, 3, 4], looks=looks) == [0, 0, 2, 2]
    assert groups(8, [1, 2, 3, 4], looks=looks) == [0, 0, 0, 3]


def test_copies_join_without_chains_and_across_keys():
    assert groups(4, [1, 2, 3], copies=[(0, 1), (1, 2)]) == [0, 0, 2]
    assert groups(4, [1, 2, 3], copies=[(2, 1), (0, 2), (0, 1)]) == [0, 0, 0]
    # Row 2 is row 1's picture by its id: what is a copy of either joins both.
    assert groups(4, [1, 2, 2], copies=[(0, 2)]) == [0, 0, 0]
