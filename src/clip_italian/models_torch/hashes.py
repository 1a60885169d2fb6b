"""Short digests that name a model in results: 16 hex digits of sha256 over weights, tokenizer, preprocessing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

PROBE = "L'università è lì, perché no? 3,50 €"


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """Digest of a state dict: two models with the same one give the same embeddings."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of vocabulary and of how a probe text is cut."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    probe = tokenizer(PROBE)["input_ids"]
    return hashlib.sha256(json.dumps([vocabulary, probe]).encode()).hexdigest()[:16]


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Digest of plain settings, such as those of preprocessing."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
