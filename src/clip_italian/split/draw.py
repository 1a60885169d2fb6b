"""Random assignment of rows to train, val and test that keeps rows with a common key together."""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SHARES = {"train": 0.79, "val": 0.09, "test": 0.12}


def connected(count: int, links: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Connected components in memory: the same number for rows that share a key, directly or through others.

    Returns (count,) int64. A link is a kind of key: parallel arrays (n,) of rows and of their keys, which are numbers
    from 0. `split.groups` does the same on disk, for pairs files that do not fit in memory.
    """
    if not count:
        return np.empty(0, np.int64)
    # Rows and keys are the nodes of one graph.
    rows, columns, nodes = [], [], count
    for mine, keys in links:
        rows.append(mine)
        columns.append(keys + nodes)
        nodes += int(keys.max(initial=-1)) + 1
    edges = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][:count], np.int64)


def identity_groups(keys: Sequence[Sequence[str]]) -> list[int]:
    """Group numbers: rows that share any key, directly or through others, have the same number."""
    numbers: dict[str, int] = {}
    rows = np.repeat(np.arange(len(keys)), np.array([len(names) for names in keys], np.int64))
    found = np.fromiter((numbers.setdefault(name, len(numbers)) for names in keys for name in names), np.int64)
    return connected(len(keys), [(rows, found)]).tolist()


def assign(keys: Sequence[Sequence[str]], seed: str) -> list[str]:
    """The split of each row, the same for all rows of an identity group.

    It is drawn from a hash of the smallest of the first keys of the group's rows and of nothing else, so that adding
    rows moves no other row. Further keys only join rows.
    """
    groups = identity_groups(keys)
    names: dict[int, str] = {}
    for group, row_keys in zip(groups, keys, strict=True):
        names[group] = min(row_keys[0], names.get(group, row_keys[0]))
    return [_draw(f"{seed}:{names[group]}") for group in groups]


def held_out(groups: Sequence[int], ids: Sequence[str], share: float, seed: str) -> list[bool]:
    """True for each row that is held out for validation, the same for all rows of an identity group.

    `share` of the groups are held out, drawn by hashes of their first rows' ids; at least one, and never all.
    """
    names = dict(zip(reversed(groups), reversed(ids), strict=True))
    ordered = sorted(names, key=lambda group: hashlib.sha256(f"{seed}:{names[group]}".encode()).digest())
    held = set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])
    return [group in held for group in groups]


def uniform(key: str) -> float:
    """A number from 0 to 1, a hash of `key`."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _draw(key: str) -> str:
    number = uniform(key)
    for name, share in SHARES.items():
        number -= share
        if number < 0:
            return name
    return "test"
