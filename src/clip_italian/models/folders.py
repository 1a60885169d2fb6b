"""What lies in a model's folder, and whether it is whole."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from clip_italian import privacy
from clip_italian.errors import UserError
from clip_italian.models import exported

INFO_FILE = "clip_italian.json"
FLAX_WEIGHTS = "flax_model.msgpack"  # what the original project's training script writes


def read_info(folder: Path) -> dict[str, Any]:
    """What a model's folder tells of it; {} where there is no such file."""
    path = folder / INFO_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def looks_like_hub_id(name: str) -> bool:
    """Whether a name that is no folder can be one at the Hub: "owner/model"."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def check_hub(name: str, *files: str) -> None:
    """Raise UserError in offline mode for a name that is no path, and of which the Hub's cache holds none of `files`.

    `files` are config.json and open_clip_config.json where none is named.
    """
    if not privacy.is_offline() or Path(name).exists():
        return
    wanted = files or ("config.json", "open_clip_config.json")
    try:
        if any(isinstance(try_to_load_from_cache(name, file), str) for file in wanted):
            return
    except ValueError:  # no name that the Hub could have; whoever loads it says so
        return
    privacy.refuse_offline(f"{name}: not on this machine, loading it from the Hub", "give a model folder")


def load_advice() -> str:
    """What to do where a model of the Hub cannot be loaded."""
    if privacy.is_offline():
        return f"{privacy.OFFLINE}=1 forbids the network; unset it to get what is missing from the Hub"
    return "check its name and the network"


def check(folder: Path) -> None:
    """Raise UserError, with what to do, where a folder is no whole model of ours."""
    if exported.is_exported(folder):
        raise UserError(
            f"{folder}: an exported model, which only embeds: OnnxEncoder.load opens it; here use what it was made of"
        )
    wanted = {"config.json": ["config.json"], "weights": ["model.safetensors", "pytorch_model.bin"]}
    wanted["tokenizer"] = ["tokenizer.json", "vocab.txt", "tokenizer_config.json"]
    for what, names in wanted.items():
        if not any((folder / name).is_file() for name in names):
            hint = "" if what == names[0] else f" ({' or '.join(names)})"
            if what == "weights" and (folder / FLAX_WEIGHTS).is_file():
                raise UserError(
                    f"{folder}: holds Flax weights alone ({FLAX_WEIGHTS}); convert them: "
                    f"clip-italian import {folder} -o FOLDER"
                )
            raise UserError(f"{folder}: no model folder, it lacks its {what}{hint}; train or download the model again")
