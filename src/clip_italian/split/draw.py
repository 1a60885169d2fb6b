"""Train, validation and test parts that share neither a caption nor a picture."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from clip_italian.pairs import Pair, concept

SHARES = {"train": 0.79, "val": 0.09, "test": 0.12}


def identity_groups(keys: Sequence[Sequence[str]]) -> list[int]:
    """Group numbers: rows that share any key, directly or through others, have the same number."""
    parent = list(range(len(keys)))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    owner: dict[str, int] = {}
    for row, names in enumerate(keys):
        for name in names:
            parent[find(row)] = find(owner.setdefault(name, row))
    return [find(row) for row in range(len(keys))]


def assign(keys: Sequence[Sequence[str]], seed: str) -> list[str]:
    """A split for each row, the same for all rows of an identity group.

    The draw is a hash of the smallest among the first keys of a group's rows: it depends on
    nothing else, so that adding rows moves no other row. Further keys only join rows.
    """
    groups = identity_groups(keys)
    names: dict[int, str] = {}
    for group, row_keys in zip(groups, keys, strict=True):
        names[group] = min(row_keys[0], names.get(group, row_keys[0]))
    return [_draw(f"{seed}:{names[group]}") for group in groups]


def hold_out(pairs: Sequence[Pair], share: float, seed: str) -> list[Pair]:
    """Pairs without splits, divided into train and val so that no caption is on both sides.

    `share` of the identities (drawn by hash) become val; one at least, and never all.
    """
    groups = concept_groups(pairs)
    names = {group: pair.id for group, pair in reversed(list(zip(groups, pairs, strict=True)))}
    ordered = sorted(names, key=lambda group: hashlib.sha256(f"{seed}:{names[group]}".encode()).digest())
    held = set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])
    return [replace(pair, split="val" if g in held else "train") for pair, g in zip(pairs, groups, strict=True)]


def concept_groups(pairs: Sequence[Pair]) -> list[int]:
    """Identity groups of pairs by caption: pictures that any one caption describes equally."""
    return identity_groups([[concept(caption) for caption in pair.captions] for pair in pairs])


def uniform(key: str) -> float:
    """A number from 0 to 1 that hangs on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _draw(key: str) -> str:
    number = uniform(key)
    for name, share in SHARES.items():
        number -= share
        if number < 0:
            return name
    return "test"
