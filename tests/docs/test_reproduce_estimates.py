"""The estimates of docs/reproduce.md are what its formulas give from the figures of benchmarks/RESULTS.md."""

import re
from pathlib import Path

import pytest

from clip_italian.config import load_recipe
from clip_italian.stats import card

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
PAIRS = sum(card.PAPER.values())
FETCHED = PAIRS - card.PAPER["mscoco-it"]
CAPTIONS = FETCHED + 581_286  # MSCOCO-IT's training pictures have five each
TRAINING = round(0.95 * PAIRS)
HOURLY = 2.5
CORES = 16


def measured(pattern):
    """The number that a pattern finds in RESULTS.md, once."""
    (found,) = re.findall(pattern, RESULTS)
    return float(found.replace(",", ""))


STEP = measured(r"\| ours \(AdaBelief, adaptive clipping\) \| 48 \| 132 [^|]*\| ([\d,]+) \|")
KEPT = measured(r"\| kept features \| ([\d,]+) \|")
WIT_ROWS = measured(r"\| collect wit \| 5,000,000 \| ([\d,]+) s")
LANGDETECT = measured(r"\| language, langdetect \| ([\d,]+) \|")
FETCH = measured(r"\| `clip-italian fetch` \| \*\*([\d.]+)\*\*")
WEIGHTS = measured(r"The paper's two towers, ([\d,]+) weights")
FEATURES = 4 * PAIRS / STEP / 3600
EPOCH = TRAINING / STEP / 3600
FROZEN = TRAINING / KEPT / 3600
SCRIPT = FEATURES + 50 * FROZEN + 17 * EPOCH
MOST = FEATURES + 60 * (FROZEN + EPOCH)


def row(name):
    """The estimate of a row, the last cell, without what makes it bold."""
    (found,) = re.findall(
        rf"^\| (?:\*\*)?{re.escape(name)}(?:\*\*)? \|.*\| (?:\*\*)?([^|*]+)(?:\*\*)? \|$", PAGE, re.MULTILINE
    )
    return found.strip()


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("features of the frozen towers", f"{FEATURES:.1f} h"),
        ("50 frozen epochs", f"{50 * FROZEN:.1f} h"),
        ("an unfrozen epoch", f"{60 * EPOCH:.0f} min"),
        ("17 unfrozen epochs", f"{17 * EPOCH:.1f} h"),
        ("the script's epochs", f"{SCRIPT:.1f} h"),
        ("60 epochs of each, the recipe's maximum", f"{MOST:.1f} h"),
        ("cost of the script's epochs", f"{HOURLY * SCRIPT:.0f} $"),
        ("cost of 60 epochs of each", f"{HOURLY * MOST:.0f} $"),
        ("`collect wit`", f"{37.6 / 5 * WIT_ROWS / 60:.0f} min"),
        ("`collect ilpost`", f"{card.PAPER['ilpost'] / 3600:.1f} h"),
        ("`clean` with langdetect", f"{PAIRS / LANGDETECT / CORES / 60:.1f} min"),
        ("`fetch`, processor", f"{FETCHED * FETCH / 1000 / CORES / 60:.0f} min"),
        ("`fetch` of WIT from one host", f"{card.PAPER['wit'] * 0.2 / 4 / 3600:.1f} h"),
        ("`split`, copies", f"{PAIRS / 21 / 3600:.1f} h"),
        ("`translate`", f"{card.PAPER['conceptual-captions'] * 56 / 1e6:.0f} million characters"),
        ("shards", f"{FETCHED * 256 * 341 * 0.42 / 1e9:.0f} GB"),
        ("kept features, bf16", f"{(4 * PAIRS + CAPTIONS) * 768 * 2 / 1e9:.0f} GB"),
        ("checkpoints", f"{(2 * 3 + 1) * WEIGHTS * 4 / 1e9:.1f} GB"),
    ],
)
def test_an_estimate_is_what_its_formula_gives(name, estimate):
    assert row(name) == estimate


def test_the_counts_of_the_formulas():
    for number in (PAIRS, TRAINING, FETCHED, CAPTIONS, WEIGHTS):
        assert f"{number:,.0f}" in PAGE
    recipe = load_recipe("paper")
    assert {stage.epochs for stage in recipe.stage} == {60}
    assert 1 + recipe.stage[0].views == 4
    assert recipe.data.validation == 0.05


def test_sums():
    disk = ("shards", "the same, unpacked", "kept features, bf16", "checkpoints", "downloads")
    assert row("sum") == f"{sum(float(row(name).removesuffix(' GB')) for name in disk):.0f} GB"
    rows = re.findall(
        r"\| (?:under )?([\d.]+) GB \|$", PAGE.split("## Downloads")[1].split("## The walk")[0], re.MULTILINE
    )
    assert row("downloads") == f"{sum(map(float, rows)):.0f} GB"
