"""Result files: the figures of one model on one set, the ranks behind them, and all that is needed to repeat them.

    {"format": 1, "kind": "retrieval" or "zeroshot", "name": …, "model": {…}, "data": {…}, … figures …,
     "bootstrap": {…}, "versions": {…}, "ranks": {…}}

One key a line. The file has the rank of each query, so that two models can be compared on the same queries.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from clip_italian.errors import UserError
from clip_italian.evaluate.retrieval import RetrievalRanks, RetrievalSet
from clip_italian.files.atomic import staged
from clip_italian.files.digests import content_key
from clip_italian.models.encoder import Encoder

FORMAT = 1
RETRIEVAL: Literal["retrieval"] = "retrieval"
ZEROSHOT: Literal["zeroshot"] = "zeroshot"
PER_QUERY = ("ranks", "captions_of")  # keys with an entry for each query or picture
_PACKAGES = ("clip-italian", "torch", "transformers", "onnxruntime", "tokenizers", "numpy", "pillow")


class Result(BaseModel):
    """The parts of a result file that reports and comparisons read; `values` is all of it."""

    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)

    format: Literal[1]
    kind: Literal["retrieval", "zeroshot"]
    name: str
    data: dict[str, Any]
    ranks: dict[str, list[int]]
    captions_of: list[list[int]] = []
    values: dict[str, Any] = {}

    def rank(self, direction: str) -> np.ndarray:
        """Rank of each query (q,) in one direction, or of each picture for `zeroshot`."""
        return np.array(self.ranks[direction], np.int64)


def model_facts(encoder: Encoder, source: str) -> dict[str, Any]:
    """Description of a model: its source, precision, own facts, and the fingerprint of its training data.

    Models that state no precision run in float32.
    """
    trained_on = encoder.info.get("data", {}).get("fingerprint")
    return {"source": source, "precision": "float32", **encoder.facts(), "training_data": trained_on}


def data_facts(
    place: str, splits: Sequence[str], fingerprint: str, paths: Sequence[Path], left_out: Sequence[str]
) -> dict[str, Any]:
    """Description of data: a digest of ids and texts, one of the pictures' contents, and the pictures left out."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(content_key(path).to_bytes(8, "big"))
    return {
        "source": place,
        "splits": list(splits),
        "fingerprint": fingerprint,
        "pictures_sha256": digest.hexdigest()[:16],
        "pictures": len(paths),
        "left_out": list(left_out),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the figures depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def retrieval_ranks(ranked: RetrievalRanks, answers: RetrievalSet) -> dict[str, Any]:
    """The `PER_QUERY` keys of a retrieval result."""
    return {
        "ranks": {"text_to_image": ranked.text_to_image.tolist(), "image_to_text": ranked.image_to_text.tolist()},
        "captions_of": [list(rows) for rows in answers.captions_of],
    }


def without_ranks(result: Mapping[str, Any]) -> dict[str, Any]:
    """The same result without its `PER_QUERY` keys, for people."""
    return {key: value for key, value in result.items() if key not in PER_QUERY}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result file atomically."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in result.items())
    with staged(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> Result:
    """Read a result file; raises UserError for a file that is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        result = Result.model_validate(values)
    except OSError as error:
        raise UserError(f"{path}: cannot read the result ({error.strerror}); write it by evaluate … -o FILE") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: no result file ({place}: {first['msg']}); write it by evaluate … -o FILE") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error}); write it again by evaluate … -o FILE") from error
    wanted = {"text_to_image", "image_to_text"} if result.kind == RETRIEVAL else {"zeroshot"}
    if set(result.ranks) != wanted or not all(result.ranks.values()):
        raise UserError(f"{path}: its ranks are not those of a {result.kind} result; write it again")
    return result.model_copy(update={"values": values})
