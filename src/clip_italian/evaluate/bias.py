"""Associations of groups of pictures with neutral prompts.

For a picture i and a prompt p, s(p, i) is the cosine of their embeddings less that of the picture and the neutral
prompt ("una foto di una persona"), so that what a group's pictures have in common with any person cancels out. The
association of group g is the mean of s(p, .) over g less the mean over the pictures of the other groups, each group
with the same weight. The effect size divides it by the standard deviation of s(p, .) over all pictures, as the tests of
Caliskan et al. 2017 and Steed and Caliskan 2021 do. Intervals are bootstrap intervals over the pictures of each group.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian.errors import UserError
from clip_italian.pictures import walk

DRAWS = 2000  # bootstrap resamples
_MIN = 2
FEW = 30  # pictures in a group below which an interval says little
LIMITS = (
    "It measures these pictures and these prompts, not people: who chose the pictures decides what a group shows, and "
    "backgrounds, clothes and photographers differ between groups as well.",
    "An interval covers the draw of the pictures alone, not the choice or wording of the prompts.",
    "One prompt in twenty lies beside zero by chance alone; look for patterns over prompts, not for single ones.",
    "A small association is no proof of fairness, and a large one says nothing of what a system built on it will do.",
)


def groups(folder: Path) -> dict[str, list[Path]]:
    """Pictures of each folder in `folder`, by the folder's name.

    Raises UserError for fewer than two groups, and for a group of fewer than two pictures.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder with one folder of pictures a group")
    folders = walk.groups(folder)
    if len(folders) < _MIN:
        raise UserError(f"{folder}: {len(folders)} folders in it; give at least two groups, a folder of pictures each")
    found = {place.name: walk.find_pictures(place) for place in folders}
    for name, pictures in found.items():
        if len(pictures) < _MIN:
            raise UserError(f"{folder / name}: {len(pictures)} picture; a group needs at least {_MIN}")
    return found


def associations(
    images: Mapping[str, np.ndarray], prompts: np.ndarray, neutral: np.ndarray, names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Associations of all groups with each prompt, as a list of records.

    `images` are embeddings (n, dim) by group, `prompts` (p, dim) and `neutral` (dim,), all of unit length; `names` are
    the prompts' texts. A record has, by group, the `association` (cosine), its 95 % `interval`, the `effect_size`, and
    `beside_zero`: true if the interval excludes 0.
    """
    random = np.random.default_rng(seed)
    scores = {group: rows @ (prompts - neutral).T for group, rows in images.items()}
    spread = np.concatenate(list(scores.values())).std(axis=0, ddof=1)
    means = np.stack([rows.mean(axis=0) for rows in scores.values()])
    # Means of resampled pictures: (groups, draws, prompts).
    drawn = np.stack([_drawn_means(rows, random) for rows in scores.values()])
    point = _against_others(means[:, None])[:, 0]
    low, high = np.quantile(_against_others(drawn), [0.025, 0.975], axis=1)
    return [
        {
            "prompt": name,
            "groups": {
                group: {
                    "association": round(float(point[g, p]), 4),
                    "interval": [round(float(low[g, p]), 4), round(float(high[g, p]), 4)],
                    "effect_size": round(float(point[g, p] / spread[p]), 3) if spread[p] > 0 else 0.0,
                    "beside_zero": bool(low[g, p] > 0 or high[g, p] < 0),
                }
                for g, group in enumerate(scores)
            },
        }
        for p, name in enumerate(names)
    ]


def _drawn_means(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Means of `DRAWS` resamples of the rows with replacement: (draws, prompts)."""
    weights = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS) / len(rows)
    return weights @ rows


def _against_others(means: np.ndarray) -> np.ndarray:
    """Each group's mean less the mean of the other groups' means; groups are the first axis."""
    count = len(means)
    others = (means.sum(axis=0) - means) / (count - 1)
    return means - others
