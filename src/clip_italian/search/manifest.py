"""index.json: the one file that says what an index consists of. It is replaced in one step, the rest never changes.

    index.json               model, folders, and the segments of this generation
    segment-000005-0/ …      segments: rows.parquet, names.arrow, vectors.bbin or vectors.usearch with slots.npy
    deleted-000005-1.npy     rows of a segment that are no longer there
    left-out-000005.jsonl    what could not be indexed, with the reason

An update writes new files beside the old ones, then replaces index.json, then removes what no index.json names. Who
opened the index before keeps the files that they mapped; who opens it while files are removed reads index.json again.
"""

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from clip_italian.errors import UserError
from clip_italian.files.atomic import fsync, staged
from clip_italian.pipeline.rejects import Reject, read_rejects, write_rejects
from clip_italian.search import segment
from clip_italian.search.segment import Stored

FILE = "index.json"
FORMAT = 2
_OURS = re.compile(
    r"\.?(vectors\.usearch|rows\.parquet|segment-\d{6,}-\d+|deleted-\d{6,}-\d+\.npy|left-out-\d{6,}\.jsonl|index\.json)(-\w+)?"
)
# Fewer vectors are all looked at, for each search.
EXACT_BELOW = 50_000


class Calibration(BaseModel):
    """Probability = 1 / (1 + exp(-(slope * score + intercept))), fitted on hits of so many captions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float
    intercept: float
    captions: int
    brier: float

    def probability(self, score: float) -> float:
        """Of a hit with this cosine."""
        return 1 / (1 + math.exp(-(self.slope * score + self.intercept)))


class Manifest(BaseModel):
    """The content of index.json. `next_row` is the first row number that was never given to a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    generation: int = 0
    model: str
    model_name: str
    dim: int
    exact: bool = False
    roots: list[str] = []
    inputs: list[str] = []
    next_row: int = 0
    segments: list[Stored] = []
    left_out_file: str | None = None
    left_out: int = 0
    store: str | None = None
    pictures: int = 0
    calibration: Calibration | None = None
    exclude: list[str] = []
    hidden: bool = False

    def wants_graph(self, rows: int, total: int) -> bool:
        """Whether a segment of so many rows gets a graph, in an index of `total`."""
        return not self.exact and total >= EXACT_BELOW and rows >= segment.GRAPH_FROM


def read(folder: Path) -> Manifest:
    """What is there now; raises UserError where the folder is no index, or one of an older version."""
    path = folder / FILE
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: no index here; make one with `clip-italian index build`") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change who may read it") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged, no JSON; build the index again with `clip-italian index build`") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise UserError(
            f"{path}: an index of format {found}, not {FORMAT}; build it again with `clip-italian index build`"
        )
    try:
        return Manifest(**data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: damaged at {place} ({first['msg']}); build the index again") from error


def commit(folder: Path, manifest: Manifest) -> None:
    """Replace index.json in one step, then remove what it does not name."""
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder / FILE) as temporary:
        text = manifest.model_dump_json(indent=2, exclude_none=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        fsync(temporary)
    fsync(folder)
    sweep(folder, manifest)


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove files of other generations, and what killed runs left half-written."""
    kept = {FILE, manifest.left_out_file}
    for stored in manifest.segments:
        kept |= {stored.name, stored.deleted_file}
    for path in folder.iterdir():
        if path.name not in kept and is_ours(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_ours(name: str) -> bool:
    """Whether a file or folder of this name is part of an index, or of one that an older version wrote."""
    return bool(_OURS.fullmatch(name))


def write_left_out(folder: Path, generation: int, rejects: Sequence[Reject]) -> str | None:
    """List what could not be indexed; returns the file's name, None for nothing."""
    if not rejects:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"left-out-{generation:06d}.jsonl"
    with staged(path) as temporary:
        write_rejects(rejects, temporary)
        fsync(temporary)
    return path.name


def read_left_out(folder: Path, settings: Manifest) -> list[Reject]:
    """What the index does not hold, and why."""
    return list(read_rejects(folder / settings.left_out_file)) if settings.left_out_file else []
