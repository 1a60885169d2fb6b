"""An alarm when a figure is worse than it was at the start of its stage, or of the run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clip_italian.train.journal import Record

_HIGHER_IS_BETTER = ("MRR@", "R@", "accuracy@")
_LOWER_IS_BETTER = ("validation_loss", "median_rank")
# A stage that starts where the last one ended wavers by this share of a figure without harm; below the start of
# the run nothing is harmless.
_WAVERING = 0.02


@dataclass(frozen=True)
class Fall:
    """A figure of an evaluation that is worse than `start`, its value at the start of `since`."""

    figure: str
    value: float
    start: float
    since: str


def alarm(history: Sequence[Record]) -> list[Fall]:
    """The falls of the last evaluation: figures that are worse than at the start of the run, or of their stage by 2 %.

    Losses and median ranks fall by growing. A figure that is worse than both starts is named once, with the
    stage's.
    """
    if not history:
        return []
    now = history[-1]
    first_of_stage = next(record for record in history if record["stage"] == now["stage"])
    falls: dict[str, Fall] = {}
    starts = ((first_of_stage, f"stage {now['stage']!r}", _WAVERING), (history[0], "the run", 0.0))
    for start, since, slack in starts:
        for figure in _worse(now, start, slack):
            falls.setdefault(figure, Fall(figure, now[figure], start[figure], since))
    return list(falls.values())


def _worse(now: Record, start: Record, slack: float) -> Iterator[str]:
    for figure, value in now.items():
        before = start.get(figure)
        if before is None or value is None:
            continue
        fallen = figure.startswith(_HIGHER_IS_BETTER) and value < before * (1 - slack)
        if fallen or (figure in _LOWER_IS_BETTER and value > before * (1 + slack)):
            yield figure


def told(falls: Sequence[Fall]) -> str:
    """The falls in a few words: “than at the start of stage 'unfrozen': MRR@10 0.31 (was 0.35)”."""
    parts = []
    for since in dict.fromkeys(fall.since for fall in falls):
        figures = ", ".join(
            f"{fall.figure.replace('_', ' ')} {fall.value:.4g} (was {fall.start:.4g})"
            for fall in falls
            if fall.since == since
        )
        parts.append(f"than at the start of {since}: {figures}")
    return "; ".join(parts)
