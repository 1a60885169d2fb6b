"""Seeds by position: what a step draws depends on where in the run it stands, and on nothing before it.

So a resumed run needs no saved random state, and the second pass of a step in chunks repeats
the dropout of the first by seeding again.
"""

import hashlib

import torch


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits from a position such as (recipe's seed, stage, epoch, step, process, chunk)."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(*numbers: int) -> None:
    """Seed torch's generators, of all devices, by a position."""
    torch.manual_seed(seed_of(*numbers))
