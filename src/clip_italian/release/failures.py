"""How a model fails, of the figures of its probes (`evaluate.probes.score`): a table, and what is at chance."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from clip_italian.evaluate.probes.cases import KINDS
from clip_italian.stats.card import table


def told(probe: Mapping[str, Any]) -> dict[str, Any]:
    """For the card: the `table`, the kinds `at_chance`, and the kinds above and below it, which are neither."""
    kinds: dict[str, Any] = {kind: probe[kind] for kind in KINDS if kind in probe}
    lower = [kind for kind, one in kinds.items() if one["interval"][1] < one["chance"]]
    higher = [kind for kind, one in kinds.items() if one["interval"][0] > one["chance"]]
    return {
        "table": _table(kinds),
        "at_chance": [kind for kind in kinds if kind not in lower + higher],
        "below": lower,
        "above": higher,
    }


def _table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            kind,
            f"{one['accuracy']:.3f}",
            f"{one['interval'][0]:.3f} to {one['interval'][1]:.3f}",
            f"{one['chance']:.3f}",
            _answer(one["answers"]),
            _mistake(one["answers"]),
        )
        for kind, one in kinds.items()
    ]
    header = ("drawings", "accuracy", "95 % interval", "chance", "commonest answer", "commonest mistake")
    return table(header, rows)


def _answer(answers: Mapping[str, Mapping[str, int]]) -> str:
    """ "1: 243 of 300", whatever was right."""
    said: Counter[str] = Counter()
    for counts in answers.values():
        said.update(counts)
    value, count = said.most_common(1)[0]
    return f"{value}: {count} of {said.total()}"


def _mistake(answers: Mapping[str, Mapping[str, int]]) -> str:
    """ "2 taken for 1: 41 of 50"."""
    wrong = [
        (count, right, value) for right, said in answers.items() for value, count in said.items() if value != right
    ]
    if not wrong:
        return "none"
    count, right, value = max(wrong, key=lambda one: one[0])
    return f"{right} taken for {value}: {count} of {sum(answers[right].values())}"
