"""Facts about the packaged `mini`: training run, data, cost and results.

    {"format": 1, "heads_sha256": …, "info": {…}, "results": [{…}], "costs": {"cross-validation": {…}},
     "probe": {…}}

`info` is the `clip_italian.json` of the training run, with the fingerprints of its training pictures. `results` are
result files (`evaluate.results`) without ranks, `costs` are the costs of other computations (`train.cost`), and `probe`
is the output of `evaluate.probes.score.probe`. `clip-italian card mini` shows them. `benchmarks/build_mini.py` writes
the file next to the heads, compressed, because it consists mostly of fingerprints.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.files.digests import sha256_of

FILE = "mini_facts.json.gz"
# The trained weights in the package.
HEADS = Path(__file__).parents[1] / "models_torch" / "mini_heads.safetensors"
# Raise it when the conversion of the encoders changes: it is part of names in the cache.
CONVERSION = 3


class MiniFacts(BaseModel):
    """Content of the facts file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    heads_sha256: str
    info: dict[str, Any]
    results: list[dict[str, Any]] = []
    costs: dict[str, dict[str, Any]] = {}
    probe: dict[str, Any] | None = None


def version(heads: Path = HEADS) -> str:
    """Return what identifies a trained `mini`: the version of the conversion, and the digest of its weights."""
    return f"{CONVERSION}-{sha256_of(heads)[:12]}"


def read(heads: Path) -> MiniFacts | None:
    """Read the facts of a heads file; None if there are none. Raises UserError if they belong to other heads."""
    path = heads.with_name(FILE)
    if not path.is_file():
        return None
    try:
        facts = MiniFacts.model_validate_json(gzip.decompress(path.read_bytes()))
    except (ValidationError, OSError, EOFError, zlib.error) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: damaged ({reason}); reinstall the package") from error
    if facts.heads_sha256 != sha256_of(heads):
        raise UserError(f"{path}: does not belong to {heads.name}; reinstall the package, or build both again")
    return facts


def write(
    heads: Path, info: Mapping[str, Any], results: Sequence[Mapping[str, Any]], costs: Mapping[str, Any],
    probe: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write the facts next to their heads file and return the path."""
    facts = MiniFacts(
        heads_sha256=sha256_of(heads), info=dict(info), results=[dict(one) for one in results], costs=dict(costs),
        probe=None if probe is None else dict(probe),
    )  # fmt: skip
    path = heads.with_name(FILE)
    with staged(path) as temporary:
        text = json.dumps(facts.model_dump(mode="json"), ensure_ascii=False)
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path
