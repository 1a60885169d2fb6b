from hypothesis import given
from hypothesis import strategies as st

from clip_italian.split.draw import SHARES, assign, held_out, identity_groups

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


def test_equal_groups_are_held_out_together():
    groups = [row % 20 for row in range(60)]
    held = held_out(groups, [str(row) for row in range(60)], 0.2, "1")
    assert len({group for group, h in zip(groups, held, strict=True) if h}) == 4
    assert sum(held) == 12
    assert sorted(held_out([0, 1], ["a", "b"], 0.01, "1")) == [False, True]
    assert sorted(held_out([0, 1], ["a", "b"], 0.99, "1")) == [False, True]


def test_what_is_held_out_hangs_on_seed_and_first_ids_alone():
    names = [f"picture {row}" for row in range(60)]
    first = held_out(list(range(60)), names, 0.3, "1")
    assert held_out([7 * row for row in range(60)], names, 0.3, "1") == first
    assert held_out([*range(60), 5, 9], [*names, "x", "y"], 0.3, "1") == [*first, first[5], first[9]]
    assert held_out(list(range(60)), names, 0.3, "2") != first
