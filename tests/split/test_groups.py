"""Which rows show one picture: by each key alone, through others, and against a search of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_italian.identity import alike, picture_hash
from clip_italian.near import packed
from clip_italian.split.draw import identity_groups
from clip_italian.split.groups import NO_KEY, NO_LOOK, Keys, address_key, content_key, groups, look, number

COLOURED = "80" * 6


def keys(ids, addresses=None, contents=None, looks=None):
    count = len(ids)
    none = [NO_KEY] * count
    arrays = [np.array(some, np.uint64) for some in (ids, addresses or none, contents or none)]
    return Keys(*arrays, *packed(looks or [NO_LOOK] * count))


def partition(numbers):
    found = {}
    for row, group in enumerate(numbers):
        found.setdefault(int(group), set()).add(row)
    return sorted(map(sorted, found.values()))


def test_each_key_joins_and_none_does_not():
    assert partition(groups(keys([1, 2, 1]), 4)) == [[0, 2], [1]]
    assert partition(groups(keys([1, 2, 3], addresses=[7, 0, 7]), 4)) == [[0, 2], [1]]
    assert partition(groups(keys([1, 2, 3], contents=[0, 9, 9]), 4)) == [[0], [1, 2]]
    outlines = ["f0f0f0f0f0f0f0f0", "f0f0f0f0f0f0f0ff", "f0f0f0f0f0f0ffff"]  # 4 bits apart each
    looks = [f"{outline}-{COLOURED}" for outline in outlines]
    assert partition(groups(keys([1, 2, 3], looks=looks), 4)) == [[0, 1, 2]]  # the ends through the middle
    assert partition(groups(keys([1, 2, 3], looks=looks), 3)) == [[0], [1], [2]]


def test_none_at_all():
    assert len(groups(keys([]), 4)) == 0


small = st.lists(st.tuples(*[st.integers(0, 5)] * 3, st.integers(0, 30)), max_size=12)


@given(small)
def test_the_same_as_union_by_names(rows):
    looks = [f"{1 << 40 | value:016x}-{COLOURED}" for *_, value in rows]
    found = groups(keys([a + 1 for a, *_ in rows], [b for _, b, *_ in rows], [c for _, _, c, _ in rows], looks), 1)
    names = []
    for place, (id_, address, content, _) in enumerate(rows):
        mine = [f"id {id_}"] + [f"address {address}"] * (address > 0) + [f"content {content}"] * (content > 0)
        mine += [f"alike {min(place, o)} {max(place, o)}" for o in range(len(rows)) if alike(looks[place], looks[o], 1)]
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
    assert look(tmp_path / "a.png") == look(tmp_path / "b.bmp") == picture_hash(image)
    assert look(tmp_path / "text.png") is None
    assert content_key(tmp_path / "a.png") == number((tmp_path / "a.png").read_bytes())
    assert content_key(tmp_path / "a.png") != content_key(tmp_path / "b.bmp")
    assert content_key(tmp_path / "missing.png") == NO_KEY
