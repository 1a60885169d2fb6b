"""Imports checkpoints of the original project: Flax HybridCLIP, `flax_model.msgpack` with `config.json`.

The weights are a tree of arrays in msgpack. Each array is an extension (flax/serialization.py): type 1 for arrays, 3
for scalars, both as (shape, dtype name, bytes in row-major order). Arrays over 1 GiB are split into chunks. Names and
layouts differ from torch's: linear kernels are (inputs, outputs), convolution kernels (height, width, inputs, outputs);
the weight of a norm is called `scale`, that of an embedding table `embedding`.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    CLIPVisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from clip_italian.errors import UserError
from clip_italian.models.folders import FLAX_WEIGHTS
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.processors import load_image_processor
from clip_italian.models_torch.single_towers import load_errors
from clip_italian.models_torch.towers import join

_ARRAY, _SCALAR = 1, 3
_CHUNKED = "__msgpack_chunked_array__"
_PUBLISHED_SCALE = 20.0
_RENAMED = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_SETTINGS = frozenset({"vision_config", "text_config", "projection_dim"})

Tree = dict[str, Any]


def load(folder: Path, tokenizer: str | None = None) -> DualEncoder:
    """Load a checkpoint folder; `tokenizer` is a folder or Hub id, required if the folder has no tokenizer.

    Raises UserError if a file is missing or damaged, or if the weights do not match the configuration.
    """
    weights = folder / FLAX_WEIGHTS
    for file in (weights, folder / "config.json"):
        if not file.is_file():
            raise UserError(
                f"{file}: no such file; give the folder of a Flax checkpoint, which contains {FLAX_WEIGHTS}"
            )
    vision, text, size = read_config(folder / "config.json")
    model = join(AutoModel.from_config(vision), AutoModel.from_config(text), size, math.log(_PUBLISHED_SCALE))
    state = convert(read(weights), {name: value.shape for name, value in model.state_dict().items()}, str(weights))
    model.load_state_dict(state)
    info = {"imported": {"from": folder.resolve().name, "format": "flax"}}
    return DualEncoder(
        model, _tokenizer(folder, tokenizer, text.vocab_size), load_image_processor(str(folder), model), info
    )


def read_config(file: Path) -> tuple[PreTrainedConfig, PreTrainedConfig, int]:
    """Return both towers' configurations and the embedding size. Raises UserError for other kinds of models."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error}); download the checkpoint again") from error
    if not isinstance(found, dict) or not found.keys() >= _SETTINGS:
        raise UserError(
            f"{file}: {', '.join(sorted(_SETTINGS))} are missing; only joint models of two towers can be imported"
        )
    with load_errors(str(file)):
        return _tower(found["vision_config"]), _tower(found["text_config"]), int(found["projection_dim"])


def read(file: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a Flax msgpack file by path ("vision_model/…/kernel"). Raises UserError if it is damaged."""
    try:
        tree = msgpack.unpackb(file.read_bytes(), ext_hook=_extension, raw=False, strict_map_key=False)
        return dict(_leaves(tree))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        reason = str(error).strip() or type(error).__name__
        raise UserError(f"{file}: not a Flax checkpoint, or damaged ({reason}); download it again") from error


def convert(arrays: dict[str, np.ndarray], shapes: dict[str, torch.Size], name: str) -> dict[str, torch.Tensor]:
    """Convert arrays to torch's names and layouts; the result must have exactly the given `shapes`.

    The published training script used a constant scale of 20 and stored 1 or 20. Any other value is a logarithm, as in
    the Flax models of `transformers`. Raises UserError if names or shapes differ.
    """
    state = dict(_torch(path, array) for path, array in arrays.items())
    if len(state) != len(arrays):
        raise UserError(f"{name}: two arrays map to the same name; not a checkpoint of a joint model")
    missing, unknown = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    if missing or unknown:
        examples = [f"{key} is missing" for key in missing[:1]] + [f"{key} is unexpected" for key in unknown[:1]]
        raise UserError(
            f"{name}: {', '.join(examples)} ({len(missing)} missing, {len(unknown)} unexpected); config.json and "
            "weights must belong to the same model"
        )
    scale = float(state["logit_scale"].reshape(()))
    constant = scale in (1.0, _PUBLISHED_SCALE)
    state["logit_scale"] = torch.tensor(math.log(_PUBLISHED_SCALE) if constant else scale)
    for key, value in state.items():
        if value.shape != shapes[key]:
            raise UserError(
                f"{name}: {key} has shape {list(value.shape)}, expected {list(shapes[key])}; config.json and weights "
                "must belong to the same model"
            )
    return state


def _torch(path: str, array: np.ndarray) -> tuple[str, torch.Tensor]:
    *parents, leaf = path.split("/")
    if leaf == "kernel" and array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif leaf == "kernel" and array.ndim == 2:
        array = array.T
    name = ".".join([*parents, _RENAMED.get(leaf, leaf)])
    # Flax nests the CLIP tower in a module of the same name.
    name = name.replace("vision_model.vision_model.", "vision_model.", 1)
    return name, torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _tower(settings: Tree) -> PreTrainedConfig:
    kind = settings.get("model_type")
    if kind == "clip":  # settings of a whole CLIP, of which only the vision tower is used
        settings = settings.get("vision_config") or {}
        kind = "clip_vision_model"
    if kind == "clip_vision_model":
        return CLIPVisionConfig.from_dict(settings)
    if not kind:
        raise ValueError("a tower without model_type")
    rest = {key: value for key, value in settings.items() if key != "model_type"}
    return AutoConfig.for_model(kind, **rest)


def _tokenizer(folder: Path, name: str | None, pieces: int) -> PreTrainedTokenizerBase:
    if name is None and not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        raise UserError(
            f"{folder}: no tokenizer; name a folder or Hub id: --tokenizer dbmdz/bert-base-italian-xxl-uncased"
        )
    source = name or str(folder)
    with load_errors(source):
        found = AutoTokenizer.from_pretrained(source)
    if len(found) > pieces:
        raise UserError(
            f"{source}: the tokenizer has {len(found):,} pieces, the model {pieces:,}; "
            "name the tokenizer that it was trained with (--tokenizer)"
        )
    return found


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, np.ndarray):
        yield path, tree
    elif isinstance(tree, dict) and _CHUNKED in tree:
        yield path, np.concatenate(_in_order(tree["chunks"])).reshape(_in_order(tree["shape"]))
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}/{key}" if path else str(key))
    else:
        raise ValueError(f"{path or 'the root'} is not an array")


def _in_order(numbered: Tree) -> list[Any]:
    return [numbered[str(number)] for number in range(len(numbered))]


def _extension(code: int, content: bytes) -> np.ndarray:
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown extension {code}")
    shape, dtype, data = msgpack.unpackb(content, raw=False)
    if dtype == "bfloat16":  # the upper half of a float32; numpy has no such type
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)
