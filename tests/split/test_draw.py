from hypothesis import given
from hypothesis import strategies as st

from clip_italian.pairs import Pair, concept
from clip_italian.split.draw import SHARES, assign, hold_out, identity_groups

keys_strategy = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), min_size=1, max_size=15)


def test_groups_join_through_others():
    groups = identity_groups([["a"], ["b"], ["a", "b"], ["c"]])
    assert groups[0] == groups[1] == groups[2] != groups[3]


@given(keys_strategy)
def test_rows_that_share_a_key_share_a_split(keys):
    splits = assign(keys, "seed")
    for i, mine in enumerate(keys):
        for j, theirs in enumerate(keys):
            if set(mine) & set(theirs):
                assert splits[i] == splits[j]


def test_shares_are_met_and_adding_rows_moves_none():
    keys = [[f"key {i}"] for i in range(5000)]
    splits = assign(keys, "seed")
    for name, share in SHARES.items():
        assert abs(splits.count(name) / len(splits) - share) < 0.02
    assert assign([*keys, ["another"]], "seed")[:-1] == splits


def test_hold_out_keeps_equal_captions_together():
    pairs = [Pair(str(i), f"{i}.png", (f"caption {i % 20}",), "s") for i in range(60)]
    held = hold_out(pairs, 0.2, "1")
    sides = {}
    for pair in held:
        sides.setdefault(concept(pair.captions[0]), set()).add(pair.split)
    assert all(len(names) == 1 for names in sides.values())
    assert sum(pair.split == "val" for pair in held) == 12
    assert {pair.split for pair in hold_out(pairs[:2], 0.01, "1")} == {"train", "val"}
