"""Figures that others published, for the reference columns of reports.

Bianchi et al. 2021 (arXiv:2108.08688): the figures are those that the README of github.com/clip-italian/clip-italian
and the card of clip-italian/clip-italian print, two digits after the point in percent for accuracy. mCLIP is
sentence-transformers' clip-ViT-B-32-multilingual-v1.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A model's published figures, in the units of result files."""

    model: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class PublishedTable:
    """One published table, and the test set that it was measured on: what it is, queries and gallery."""

    columns: tuple[Published, ...]
    test_set: str
    queries: int
    gallery: int


SOURCE = "Bianchi et al. 2021, arXiv:2108.08688"
RETRIEVAL = PublishedTable(
    (
        Published("CLIP-Italian", {"MRR@1": 0.3797, "MRR@5": 0.5039, "MRR@10": 0.5204}),
        Published("mCLIP", {"MRR@1": 0.2874, "MRR@5": 0.3957, "MRR@10": 0.4129}),
    ),
    # The demo's history of clip-italian shows 8,486 captions; the pictures are those of the set's published file.
    "MSCOCO-IT's validation set, every caption a query",
    queries=8486,
    gallery=1696,
)
ZEROSHOT = PublishedTable(
    (
        Published(
            "CLIP-Italian",
            {"accuracy@1": 0.2211, "accuracy@5": 0.4369, "accuracy@10": 0.5255, "accuracy@100": 0.8108},
        ),
        Published("mCLIP", {"accuracy@1": 0.2015, "accuracy@5": 0.3657, "accuracy@10": 0.4291, "accuracy@100": 0.6711}),
    ),
    "ImageNet-1k's validation pictures with labels translated by machine",
    queries=50_000,
    gallery=1000,
)
