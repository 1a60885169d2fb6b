"""Files of a model folder, and checks that it is complete."""

import json
from pathlib import Path
from typing import Any

from clip_italian import privacy
from clip_italian.errors import UserError
from clip_italian.models import exported

INFO_FILE = "clip_italian.json"
FLAX_WEIGHTS = "flax_model.msgpack"  # written by the training script of the original project


def read_info(folder: Path) -> dict[str, Any]:
    """Read the `clip_italian.json` of a model folder; {} if there is none."""
    path = folder / INFO_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def looks_like_hub_id(name: str) -> bool:
    """Return True if a name has the form of a Hub id, "owner/model"."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def check_hub(name: str, *files: str) -> None:
    """In offline mode, raise UserError unless `name` is a path or one of `files` is in the Hub's cache.

    `files` default to config.json and open_clip_config.json.
    """
    if not privacy.is_offline() or Path(name).exists():
        return
    from huggingface_hub import try_to_load_from_cache  # loads an HTTP client

    wanted = files or ("config.json", "open_clip_config.json")
    try:
        if any(isinstance(try_to_load_from_cache(name, file), str) for file in wanted):
            return
    except ValueError:  # not a valid Hub id, which loading reports
        return
    privacy.refuse_offline(f"{name}: not on this machine, download from the Hub", "give a model folder")


def load_advice() -> str:
    """Return advice for a Hub model that cannot be loaded."""
    if privacy.is_offline():
        return f"{privacy.OFFLINE}=1 forbids network access; unset it to download missing files"
    return "check its name and the network"


def check(folder: Path) -> None:
    """Raise UserError if a folder is not a complete, trainable model folder."""
    if exported.is_exported(folder):
        raise UserError(
            f"{folder}: an exported model, which can only embed (OnnxEncoder.load); use the model it was exported from"
        )
    wanted = {"config.json": ["config.json"], "weights": ["model.safetensors", "pytorch_model.bin"]}
    wanted["tokenizer"] = ["tokenizer.json", "vocab.txt", "tokenizer_config.json"]
    for what, names in wanted.items():
        if not any((folder / name).is_file() for name in names):
            hint = "" if what == names[0] else f" ({' or '.join(names)})"
            if what == "weights" and (folder / FLAX_WEIGHTS).is_file():
                raise UserError(
                    f"{folder}: only Flax weights ({FLAX_WEIGHTS}); convert them with: "
                    f"clip-italian import {folder} -o FOLDER"
                )
            raise UserError(f"{folder}: not a model folder, {what}{hint} is missing; train or download the model again")
