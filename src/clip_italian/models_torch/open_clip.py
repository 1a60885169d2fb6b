"""Converts open_clip checkpoints with an XLM-RoBERTa text tower to classes of `transformers`.

These checkpoints (LAION's `CLIP-ViT-…-xlm-roberta-…`) are published in open_clip's format only. Shapes are read from
the weights, other settings from `open_clip_config.json`. The package open_clip is not needed.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    BaseImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import cached_file

from clip_italian.errors import UserError
from clip_italian.models_torch.mean_pooled import MeanPooledXLMRobertaConfig, MeanPooledXLMRobertaModel
from clip_italian.models_torch.towers import MlpDualEncoderModel, join

CONFIG_FILE = "open_clip_config.json"
CONTEXT = 77  # context length in training, in tokens
_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_HEAD_WIDTH = 64  # width of an attention head in every XLM-R, and open_clip's default for vision towers
_VISION = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_SPECIAL_TOKENS = {
    "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
    "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
}  # fmt: skip

State = dict[str, torch.Tensor]


def settings(name: str) -> dict[str, Any] | None:
    """Read `open_clip_config.json` of a folder or Hub repository; None if it is not a CLIP with an XLM-R."""
    file = _file(name, CONFIG_FILE)
    if file is None:
        return None
    found: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    text = str(found.get("model_cfg", {}).get("text_cfg", {}).get("hf_model_name", ""))
    return found if "xlm-roberta" in text else None


def load(
    name: str, described: dict[str, Any]
) -> tuple[MlpDualEncoderModel, PreTrainedTokenizerBase, BaseImageProcessor]:
    """Load the model that `described` (from `settings`) configures, with its tokenizer and preprocessing.

    Raises UserError if weights are missing or the text tower does not use mean pooling.
    """
    files = [file for file in (_file(name, weights) for weights in _WEIGHT_FILES) if file is not None]
    if not files:
        raise UserError(f"{name}: not a model folder, weights are missing ({' or '.join(_WEIGHT_FILES)})")
    model_cfg, preprocessing = described["model_cfg"], described.get("preprocess_cfg", {})
    text_cfg = model_cfg["text_cfg"]
    pooling = text_cfg.get("hf_pooler_type", text_cfg.get("pooler_type", "mean_pooler"))
    if pooling != "mean_pooler":
        raise UserError(f"{name}: the text tower uses {pooling}; only mean_pooler is supported")
    binary = files[0].suffix == ".bin"
    state = torch.load(files[0], map_location="cpu", weights_only=True) if binary else load_file(files[0])
    model = convert(state, model_cfg)

    side = model.config.vision_config.image_size
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    statistics = {f"image_{key}": preprocessing[key] for key in ("mean", "std") if key in preprocessing}
    tokenizer_file = _file(name, "tokenizer.json")
    if tokenizer_file is None:
        tokenizer = AutoTokenizer.from_pretrained(text_cfg.get("hf_tokenizer_name", text_cfg["hf_model_name"]))
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **_SPECIAL_TOKENS)
    return model, tokenizer, CLIPImageProcessorPil(**sizes, **statistics)


def convert(state: State, model_cfg: dict[str, Any]) -> MlpDualEncoderModel:
    """Convert an open_clip state dict; `model_cfg` is the table of that name in `open_clip_config.json`."""
    vision = _vision(state, model_cfg)
    text = _text(state)
    layers = 1 if "text.proj.weight" in state else 2
    model = join(vision, text, state["visual.proj"].shape[1], state["logit_scale"].item(), (1, layers))
    with torch.no_grad():
        model.visual_projection.weight.copy_(state["visual.proj"].T)
        model.text_projection.load_state_dict(_below(state, "text.proj."))
        model.logit_scale.copy_(state["logit_scale"])
    return model


def _vision(state: State, model_cfg: dict[str, Any]) -> CLIPVisionModel:
    weights: State = {}
    for key, value in _below(state, "visual.").items():
        if key.startswith("transformer.resblocks."):
            number, rest = key.removeprefix("transformer.resblocks.").split(".", 1)
            weights |= {f"encoder.layers.{number}.{name}": part for name, part in _block(rest, value).items()}
        elif key != "proj":
            weights[_VISION[key]] = value
    width, _, patch, _ = state["visual.conv1.weight"].shape
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(weights["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=_layers(weights, "encoder.layers."),
        num_attention_heads=width // model_cfg["vision_cfg"].get("head_width", _HEAD_WIDTH),
        patch_size=patch,
        image_size=patch * math.isqrt(len(state["visual.positional_embedding"]) - 1),
        hidden_act="quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
    )
    tower = CLIPVisionModel._from_config(config)
    tower.load_state_dict(weights)
    return tower


def _block(name: str, value: torch.Tensor) -> State:
    """Rename a tensor of an open_clip vision layer as in `transformers`."""
    layer, _, kind = name.rpartition(".")
    if layer == "attn":  # in_proj_weight or in_proj_bias: queries, keys and values stacked
        kind = kind.removeprefix("in_proj_")
        return {f"self_attn.{part}_proj.{kind}": rows for part, rows in zip("qkv", value.chunk(3), strict=True)}
    return {f"{_BLOCK[layer]}.{kind}": value}


def _text(state: State) -> MeanPooledXLMRobertaModel:
    weights = {
        key: value
        for key, value in _below(state, "text.transformer.").items()
        if not key.startswith("pooler.") and key != "embeddings.position_ids"
    }
    vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
    config = MeanPooledXLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=_layers(weights, "encoder.layer."),
        num_attention_heads=width // _HEAD_WIDTH,
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(weights["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=1e-5,
    )
    tower = MeanPooledXLMRobertaModel._from_config(config)
    tower.load_state_dict(weights)
    return tower


def _below(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}


def _layers(weights: State, prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in weights if key.startswith(prefix))


def _file(name: str, file: str) -> Path | None:
    """Return the path of a file in a folder or Hub repository; None if it does not exist or cannot be reached."""
    if Path(name).is_dir():
        return Path(name) / file if (Path(name) / file).is_file() else None
    found = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
