"""Upload of a model folder to the Hub, and the checks before it.

A folder with files that do not belong to a model (checkpoints, optimiser states, pictures) is refused: leaving them out
silently would hide a mistake. The token is huggingface_hub's own: `hf auth login` or HF_TOKEN.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, ModelCard, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

from clip_italian import privacy
from clip_italian.errors import UsageError, UserError
from clip_italian.pictures.decoding import SUFFIXES
from clip_italian.release.card import CARD
from clip_italian.release.failures import FILE as FAILURES
from clip_italian.release.failures import is_ours

# Files that transformers, sentence-transformers, open_clip, ONNX and OpenVINO load, and their documentation.
_MODEL_FILES = re.compile(
    r"(.*\.(json|safetensors|onnx|onnx[._]data|onnx\.data|xml|txt|model|spm|bpe|jinja|md)|vocab\.\w+|merges\.txt"
    r"|(open_clip_)?pytorch_model.*\.bin|openvino_.*\.bin|LICEN[CS]E.*|NOTICE.*|\.gitattributes|CITATION\.cff)"
)
_WEIGHTS = re.compile(r".*\.(safetensors|onnx)|(open_clip_)?pytorch_model.*\.bin|openvino_.*\.xml")
_NEVER = re.compile(r"(optimizer|optimiser|scheduler|trainer_state|training_args|rng_state|step-\d+|best-\d+).*")
_SKIPPED = (".git", ".cache")  # folders that HfApi.upload_folder ignores


@dataclass(frozen=True)
class File:
    """A file of the folder: path inside it, size in bytes, and the reason to refuse it, None for a model's file."""

    path: str
    size: int
    refused: str | None


@dataclass(frozen=True)
class Plan:
    """The files to upload, and all objections to the upload."""

    files: Sequence[File]
    objections: Sequence[str]

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(file.size for file in self.files)


def plan(folder: Path) -> Plan:
    """Check a folder; raises UserError if it is missing or empty."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a model's, such as RUN/model")
    shown = FAILURES if is_ours(folder / FAILURES) else None
    files = [
        File(name, path.stat().st_size, None if name == shown else _refused(name))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in _SKIPPED
        for name in [path.relative_to(folder).as_posix()]
    ]
    if not files:
        raise UserError(f"{folder}: empty; give a model's folder, such as RUN/model")
    objections = [*_card(folder), *_weights(folder, files)]
    objections += [f"{file.path}: {file.refused}" for file in files if file.refused]
    return Plan(files, objections)


def push(folder: Path, repo_id: str, private: bool, api: HfApi | None = None) -> str:
    """Upload a folder that passes the checks of `plan`; return its URL.

    Raises UserError for a folder that does not pass, for a missing token, if the Hub refuses or cannot be reached, and
    for a private upload to a public repository.
    """
    check_id(repo_id)
    privacy.refuse_offline(f"{repo_id}: uploading {folder}", "look at what would go up with --dry-run")
    objections = plan(folder).objections
    if objections:
        raise UserError(f"{folder}: {objections[0]}{_more(objections)}; nothing was sent")
    if api is None:
        if get_token() is None:
            raise UserError("no token for the Hub; run hf auth login, or set HF_TOKEN")
        api = HfApi(library_name="clip-italian", library_version=version("clip-italian"))
    try:
        url = api.create_repo(repo_id, private=private or None, repo_type="model", exist_ok=True)
        if private and not api.repo_info(repo_id, repo_type="model").private:
            raise UserError(f"{repo_id}: is there already and public; nothing was sent")
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, repo_type="model",
            commit_message=f"Upload by clip-italian {version('clip-italian')}",
        )  # fmt: skip
    except UserError:
        raise
    except Exception as error:  # huggingface_hub's, and those of its HTTP library, which depends on its version
        raise UserError(f"{repo_id}: not uploaded ({_line(error)})") from error
    return str(url)


def check_id(repo_id: str) -> None:
    """Raise UsageError for an invalid repository id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r}: no repository id ({_line(error)}); give owner/name") from error
    if "/" not in repo_id:
        raise UsageError(f"{repo_id!r}: no repository id; give owner/name")


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _more(objections: Sequence[str]) -> str:
    return f" (and {len(objections) - 1} more, see --dry-run)" if len(objections) > 1 else ""


def _refused(path: str) -> str | None:
    name = PurePosixPath(path).name
    if PurePosixPath(name).suffix.lower() in SUFFIXES:
        return "a picture, which is no part of a model"
    if _NEVER.fullmatch(name) or "checkpoints" in PurePosixPath(path).parts[:-1]:
        return "a checkpoint or state of training, which is no part of a model"
    return None if _MODEL_FILES.fullmatch(name) else "no file of a model"


def _card(folder: Path) -> list[str]:
    path = folder / CARD
    if not path.is_file():
        return [f"{CARD} is missing; write it by clip-italian card {folder}"]
    try:
        data = ModelCard.load(path).data
    except Exception as error:  # YAML's, unicode's, huggingface_hub's own
        return [f"{CARD}: cannot be read ({_line(error)}); write it by clip-italian card {folder}"]
    objections = []
    if not data.license:
        objections.append(f"{CARD} names no licence; write it anew with --license, or set license in the recipe")
    if not any(isinstance(one.metric_value, int | float) for one in data.eval_results or []):
        objections.append(
            f"{CARD} has no metrics; measure the model (clip-italian evaluate … -o FILE) and write it anew"
        )
    return objections


def _weights(folder: Path, files: Sequence[File]) -> list[str]:
    names = {file.path for file in files}
    weights = [file for file in files if _WEIGHTS.fullmatch(PurePosixPath(file.path).name)]
    objections = [] if weights else ["its weights are missing (model.safetensors, or graphs of an export)"]
    objections += [f"{file.path}: empty" for file in weights if not file.size]
    for index in (name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))):
        try:
            parts = set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            objections.append(f"{index}: cannot be read; export the model again")
            continue
        lacking = sorted(part for part in parts if (PurePosixPath(index).parent / part).as_posix() not in names)
        objections += [f"{lacking[0]}: missing, though {index} names it"] if lacking else []
    lone = (name for name in names if re.fullmatch(r"openvino_.*\.xml", PurePosixPath(name).name))
    objections += [f"{name}: its weights (.bin) are missing" for name in lone if name[:-4] + ".bin" not in names]
    return objections
