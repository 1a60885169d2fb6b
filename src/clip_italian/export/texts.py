"""Exports tokenizers that reproduce `DualEncoder.tokenize` without this package."""

import copy
import json
from pathlib import Path

from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerBase

from clip_italian.errors import UserError
from clip_italian.models import pieces
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import reads_padding


def add_lowercasing(encoder: DualEncoder, tokenizer: PreTrainedTokenizerBase) -> None:
    """Add lowercasing to the tokenizer if `DualEncoder` does it before tokenization (SigLIP 2)."""
    if encoder.lowers:
        backend = _backend(tokenizer)
        before = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])


def write(encoder: DualEncoder, file: Path) -> None:
    """Write `tokenizer.json` with truncation and padding, for use with `Tokenizer.from_file(…).encode_batch(…)`.

    Beside it come the files of `models.pieces`, where these can replace it.

    Raises UserError if the tokenizer is not one of the `tokenizers` library.
    """
    ready = copy.deepcopy(encoder.tokenizer)
    add_lowercasing(encoder, ready)
    backend = _backend(ready)
    backend.enable_truncation(encoder.max_tokens, direction=ready.truncation_side)
    backend.enable_padding(
        direction=ready.padding_side, pad_id=ready.pad_token_id, pad_token=ready.pad_token,
        length=encoder.max_tokens if reads_padding(encoder.model) else None,
    )  # fmt: skip
    file.write_text(json.dumps(json.loads(backend.to_str()), ensure_ascii=False), encoding="utf-8")
    pieces.write(backend, file.parent)


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise UserError(
            f"{type(tokenizer).__name__}: cannot be written as tokenizer.json; use a fast tokenizer with this model"
        )
    return backend
