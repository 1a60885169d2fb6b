"""One pretrained tower from a folder or the Hub, with its tokenizer or its preprocessing.

A tower must give `pooler_output` (batch, hidden) from weights that were trained: a pooler that the
checkpoint lacks would be random, and a tower that is frozen over it would be no use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.models.folders import check_hub, load_advice
from clip_italian.models_torch.mean_pooled_bert import MeanPooledBertModel
from clip_italian.models_torch.mean_pooled_xlm_roberta import MeanPooledXLMRobertaModel
from clip_italian.models_torch.towers import parts
from clip_italian.privacy import is_offline

_MEAN_POOLED: dict[str, Any] = {"bert": MeanPooledBertModel, "xlm-roberta": MeanPooledXLMRobertaModel}


def load_vision(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A vision tower and its preprocessing; a joint model gives its own vision tower.

    Raises UserError where there is none, or none that pools with trained weights.
    """
    with explained(name):
        config = AutoConfig.from_pretrained(name)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        tower = parts(_load(name)).vision if is_joint(config) else _load_with_pooler(name)
        size = getattr(tower.config, "image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    _check_pooling(name, tower, {"pixel_values": torch.zeros(1, 3, height, width)})
    return tower, processor


def load_text(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A text tower and its tokenizer; a joint model gives its own text tower.

    A BERT or XLM-RoBERTa without trained pooler, or one that says it is a sentence encoder with mean
    pooling, pools by the masked mean. Raises UserError as `load_vision` does.
    """
    with explained(name):
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        if is_joint(config):
            tower = parts(_load(name)).text
        else:
            tower = _load_with_pooler(name, _MEAN_POOLED.get(config.model_type))
    _check_pooling(name, tower, {"input_ids": torch.tensor([tokenizer("a")["input_ids"]])})
    return tower, tokenizer


def is_joint(config: PreTrainedConfig) -> bool:
    """Whether a configuration is that of a model of pictures and texts."""
    return hasattr(config, "vision_config") and hasattr(config, "text_config")


@contextmanager
def explained(name: str) -> Iterator[None]:
    """What `transformers` says about a model that it cannot load, as one line; UserError in offline mode too."""
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
        raise UserError(f"{name}: the checkpoint lacks weights of the tower, {missing[0]} first; choose another one")
    console.notice(f"{name}: no trained pooler; the mean of the last hidden states takes its place")
    return mean_pooled.from_pretrained(name, dtype=torch.float32).eval()


def _is_sentence_encoder(name: str) -> bool:
    """Whether the folder or repository holds sentence-transformers' pooling module, by mean as nearly all do."""
    return cached_file(name, "1_Pooling/config.json", _raise_exceptions_for_missing_entries=False) is not None


@torch.inference_mode()
def _check_pooling(name: str, tower: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> None:
    pooled = getattr(tower(**inputs), "pooler_output", None)
    if pooled is None or pooled.shape != (1, tower.config.hidden_size):
        raise UserError(
            f"{name}: a {type(tower).__name__} gives no pooled output of {tower.config.hidden_size} features; "
            "choose a tower that does, such as a ViT, BERT or XLM-RoBERTa, or a joint model"
        )
