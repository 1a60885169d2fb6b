"""Write the probes' pictures to look at, or to measure by other programs."""

import json
from collections.abc import Iterable
from pathlib import Path

from clip_italian.evaluate.probes.cases import Case
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair, write


def save_cases(cases: Iterable[Case], folder: Path) -> None:
    """Write `folder` as a whole: PNG pictures, `pairs.jsonl` with what is right, `choices.jsonl` with all choices."""
    with staged(folder) as temporary:
        (temporary / "images").mkdir(parents=True)
        pairs = []
        lines = []
        for number, case in enumerate(cases):
            id_ = f"{case.kind}-{case.value}-{number:05d}"
            case.picture.save(temporary / "images" / f"{id_}.png")
            pairs.append(Pair(id_, f"images/{id_}.png", case.choices[case.value], f"probe-{case.kind}", "test"))
            lines.append(json.dumps({"id": id_, "right": case.value, "choices": case.choices}, ensure_ascii=False))
        write(pairs, temporary / "pairs.jsonl")
        (temporary / "choices.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
