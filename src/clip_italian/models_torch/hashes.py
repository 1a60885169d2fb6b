"""Digests that identify a model in results: 16 hex digits of the sha256 of weights, tokenizer and preprocessing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

PROBE = "L'università è lì, perché no? 3,50 €"


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the digest of a state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the digest of a tokenizer's vocabulary and its token ids of a probe text."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    probe = tokenizer(PROBE)["input_ids"]
    return hashlib.sha256(json.dumps([vocabulary, probe]).encode()).hexdigest()[:16]


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Return the digest of JSON-like settings, such as those of an image processor."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
