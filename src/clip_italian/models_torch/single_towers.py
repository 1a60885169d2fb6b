"""Loads a single tower from a folder or the Hub, with its tokenizer or image processor, or makes a random one.

A pretrained tower must have trained weights for its `pooler_output` (batch, hidden): a pooler that is missing from the
checkpoint would be random, which makes a frozen tower useless. Random towers serve to try a recipe's speed, memory and
first steps without downloading weights. The paper's two towers are known by name; for others the configuration is
read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    BertConfig,
    BertTokenizer,
    CLIPVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import cached_file

from clip_italian import console, languages
from clip_italian.errors import UsageError, UserError
from clip_italian.models.folders import check_hub, load_advice
from clip_italian.models_torch.mean_pooled import MeanPooledBertModel, MeanPooledXLMRobertaModel
from clip_italian.models_torch.towers import parts
from clip_italian.privacy import is_offline

_MEAN_POOLED: dict[str, Any] = {"bert": MeanPooledBertModel, "xlm-roberta": MeanPooledXLMRobertaModel}
# OpenAI's ViT-B/32. Equal to the defaults of the configuration class, written out in case those change.
_VIT_B_32 = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
# BERT-base. The XXL models have 32,102 embedding rows, 1,000 more than their vocabulary (see their model card).
_BERT_BASE_XXL = {
    "vocab_size": 32102, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
_VISION = {"openai/clip-vit-base-patch32": CLIPVisionConfig(**_VIT_B_32)}
_TEXT = {f"dbmdz/bert-base-italian-xxl-{casing}": BertConfig(**_BERT_BASE_XXL) for casing in ("cased", "uncased")}


def load_vision(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Load a vision tower and its image processor; `name` may be a joint model.

    Raises UserError if there is no vision tower, or none with trained pooling.
    """
    with load_errors(name):
        config = AutoConfig.from_pretrained(name)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        tower = parts(_load(name)).vision if is_joint(config) else _load_with_pooler(name)
        size = getattr(tower.config, "image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    _check_pooling(name, tower, {"pixel_values": torch.zeros(1, 3, height, width)})
    return tower, processor


def load_text(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a text tower and its tokenizer; `name` may be a joint model.

    A BERT or XLM-RoBERTa without a trained pooler, or one in a sentence-transformers folder, uses masked mean pooling.
    Raises UserError as `load_vision` does.
    """
    with load_errors(name):
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        if is_joint(config):
            tower = parts(_load(name)).text
        else:
            tower = _load_with_pooler(name, _MEAN_POOLED.get(config.model_type))
    _check_pooling(name, tower, {"input_ids": torch.tensor([tokenizer("a")["input_ids"]])})
    return tower, tokenizer


def keep_layers(tower: PreTrainedModel, count: int, name: str) -> None:
    """Keep `count` layers of a tower, the first, the last and those evenly spaced between; in place.

    Raises UsageError where the tower called `name` has fewer, or no list of layers.
    """
    holders = [(module, key, child) for module in tower.modules() for key, child in module.named_children()
               if isinstance(child, nn.ModuleList)]  # fmt: skip
    if not holders:
        raise UsageError(f"model.text_layers: {name} has no list of layers; remove the setting")
    module, key, layers = max(holders, key=lambda found: len(found[2]))
    if count > len(layers):
        raise UsageError(f"model.text_layers = {count}: {name} has {len(layers)} layers; keep fewer")
    kept = torch.linspace(0, len(layers) - 1, count).round().int().tolist()
    setattr(module, key, nn.ModuleList([layers[number] for number in kept]))
    tower.config.num_hidden_layers = count


def is_joint(config: PreTrainedConfig) -> bool:
    """Return True for the configuration of a model with a vision and a text tower."""
    return hasattr(config, "vision_config") and hasattr(config, "text_config")


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Turn errors of `transformers` while it loads `name` into a one-line UserError; also checks offline mode."""
    check_hub(name, "config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt")
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{name}: cannot load the model ({lines[0]}){_advice()}") from error


def _advice() -> str:
    return f"; {load_advice()}" if is_offline() else ""


def _load(name: str) -> PreTrainedModel:
    return AutoModel.from_pretrained(name, dtype=torch.float32).eval()


def _load_with_pooler(name: str, mean_pooled: Any = None) -> PreTrainedModel:
    if mean_pooled is not None and _is_sentence_encoder(name):
        return mean_pooled.from_pretrained(name, dtype=torch.float32).eval()
    tower, loading = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    missing = sorted(loading["missing_keys"])
    if not missing:
        return tower.eval()
    if mean_pooled is None or not all(key.startswith("pooler.") for key in missing):
        raise UserError(f"{name}: the checkpoint is missing weights of the tower ({missing[0]} …); choose another one")
    console.notice(f"{name}: no trained pooler; using the mean of the last hidden states")
    return mean_pooled.from_pretrained(name, dtype=torch.float32).eval()


def _is_sentence_encoder(name: str) -> bool:
    """Return True if the folder or repository has a pooling module of sentence-transformers, nearly always the mean."""
    return cached_file(name, "1_Pooling/config.json", _raise_exceptions_for_missing_entries=False) is not None


@torch.inference_mode()
def _check_pooling(name: str, tower: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> None:
    pooled = getattr(tower(**inputs), "pooler_output", None)
    if pooled is None or pooled.shape != (1, tower.config.hidden_size):
        raise UserError(
            f"{name}: a {type(tower).__name__} has no pooled output of {tower.config.hidden_size} features; "
            "choose a tower with pooling, such as a ViT, BERT or XLM-RoBERTa, or a joint model"
        )


def random_vision(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Return a random vision tower with the configuration of `name`, and its image processor."""
    if name in _VISION:
        return AutoModel.from_config(_VISION[name]).eval(), CLIPImageProcessorPil()
    with load_errors(name):
        config = AutoConfig.from_pretrained(name)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        return AutoModel.from_config(config.vision_config if is_joint(config) else config).eval(), processor


def random_text(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a random text tower with the configuration of `name`, and its tokenizer.

    The paper's towers get the tokenizer of `word_pieces`, which produces more tokens than the original one.
    """
    if name in _TEXT:
        return AutoModel.from_config(_TEXT[name]).eval(), word_pieces(cased=name.endswith("-cased"))
    with load_errors(name):
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        return AutoModel.from_config(config.text_config if is_joint(config) else config).eval(), tokenizer


def word_pieces(cased: bool) -> BertTokenizer:
    """Return a small WordPiece tokenizer: single characters, and words of class names in the default language."""
    characters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x180)) if chr(code).isprintable()]
    names = (one.label for one in languages.get(languages.DEFAULT).imagenet)
    words = {word for name in names for word in name.split() if word.isalpha() and len(word) > 1}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *characters, *(f"##{character}" for character in characters), *sorted(words)]
    return BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, do_lower_case=not cased, strip_accents=False
    )
