"""Encoder that runs models with open_clip: its model names with published weights, Hub ids, or a folder.

open_clip depends on torchvision, which conflicts with the pinned CPU build of torch 2.13, so it needs its own
environment (docs/evaluation.md). `models_torch.open_clip` loads CLIPs with an XLM-R without it.
"""

import difflib
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from clip_italian import privacy
from clip_italian.errors import UserError
from clip_italian.models.encoder import Encoder, picture_batch
from clip_italian.models.load import OPEN_CLIP
from clip_italian.models.spelling import replace_surrogates
from clip_italian.models_torch.hashes import PROBE, settings_hash, tokenizer_hash, weights_hash

PREFIX = OPEN_CLIP
_SCHEMES = ("hf-hub:", "local-dir:")  # open_clip's prefixes for a repository or folder with configuration and weights
_WEIGHTS = (".safetensors", ".bin", ".pth")
_TEXT_BATCH = 64
_LISTED = 5


@dataclass
class OpenClipEncoder(Encoder):
    """An open_clip model with its tokenizer and image transform."""

    model: Any
    tokenizer: Any
    transform: Any
    device: torch.device
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, language_token: str, device: str | torch.device) -> Self:
        """Load `open_clip:NAME/TAG`, `open_clip:NAME/FILE`, `open_clip:hf-hub:ID` or `open_clip:local-dir:FOLDER`.

        `language_token` (`ita_Latn`) is for tokenizers that prepend the language of the text (NLLB-CLIP). Raises
        UserError if the library, the name or the weights are missing.
        """
        try:
            import open_clip
        except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision built for another torch
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{name}: needs open_clip and a matching torchvision ({reason}); "
                "install in a separate environment: pip install 'clip-italian[open-clip]'"
            ) from error
        chosen = name.removeprefix(PREFIX)
        weights = None
        if not chosen.startswith("local-dir:") and not Path(chosen.partition("/")[2]).is_file():
            # open_clip downloads from its own addresses and ignores the Hub's offline setting.
            privacy.refuse_offline(f"{name}: its weights", f"use {PREFIX}NAME/FILE or {PREFIX}local-dir:FOLDER")
        if not chosen.startswith(_SCHEMES):
            chosen, _, weights = chosen.partition("/")
            _check_name(open_clip, name, chosen, weights)
        else:
            _check_folder(chosen)
        try:
            with _mismatch_is_error():
                model, transform = open_clip.create_model_from_pretrained(chosen, weights, device=device)
                tokenizer = open_clip.get_tokenizer(chosen)
        except Exception as error:  # errors of the Hub, JSON, pickle or shapes
            lines = str(error).strip().splitlines() or [type(error).__name__]
            damaged = isinstance(error, pickle.UnpicklingError)  # its message advises disabling a safeguard
            reason = "damaged weights" if damaged else lines[0].removesuffix(".")
            raise UserError(
                f"{name}: open_clip cannot load the model ({reason}); check the name and that the weights belong to it"
            ) from error
        inner: Any = getattr(tokenizer, "tokenizer", None)
        if hasattr(inner, "src_lang"):
            # open_clip's set_language has no effect with transformers 5, which applies src_lang in each call.
            inner.src_lang = language_token
        return cls(model.eval(), tokenizer, transform, torch.device(device))

    @cached_property
    def dim(self) -> int:
        with torch.inference_mode():
            return int(self.model.encode_text(self.tokenizer([""]).to(self.device)).shape[1])

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        texts = replace_surrogates(texts)
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXT_BATCH):
            tokens = self.tokenizer(list(texts[start : start + _TEXT_BATCH])).to(self.device)
            result[start : start + len(tokens)] = self.model.encode_text(tokens, normalize=True).float().cpu().numpy()
        return result

    @property
    def picture_batch(self) -> int:
        return picture_batch(self.device.type)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self.transform(image)
        return pixels

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        embedded: torch.Tensor = self.model.encode_image(torch.stack(list(pixels)).to(self.device), normalize=True)
        return embedded.float().cpu().numpy()

    def facts(self) -> dict[str, Any]:
        # open_clip's own tokenizer exposes no vocabulary; its ids of the probe text identify it.
        inner = getattr(self.tokenizer, "tokenizer", None)
        probe = {"class": type(self.tokenizer).__name__, "probe": self.tokenizer([PROBE]).tolist()}
        return {
            "library": f"open_clip_torch {version('open_clip_torch')}",
            "weights_sha256": weights_hash(self.model.state_dict()),
            "tokenizer_sha256": settings_hash(probe) if inner is None else tokenizer_hash(inner),
            "preprocessing_sha256": settings_hash(self.model.visual.preprocess_cfg),
            "dim": self.dim,
            "max_tokens": self.tokenizer.context_length,
        }


@contextmanager
def _mismatch_is_error() -> Iterator[None]:
    """Turn open_clip's warning about a wrong activation into an error, and disable its duplicate log.

    The `openai` weights, for example, need `ViT-B-32-quickgelu`; with `ViT-B-32` all figures would be wrong.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(before)


def _check_folder(chosen: str) -> None:
    """Raise UserError for a folder without weights, for which open_clip would load only those of the text tower."""
    folder = Path(chosen.removeprefix(_SCHEMES[1]))
    local = chosen.startswith(_SCHEMES[1]) and folder.is_dir()
    if local and not any(path.suffix in _WEIGHTS for path in folder.iterdir()):
        raise UserError(f"{folder}: no weights ({', '.join(f'*{end}' for end in _WEIGHTS)}); download them too")


def _check_name(open_clip: Any, name: str, chosen: str, weights: str) -> None:
    known = open_clip.list_models()
    if chosen not in known:
        near = difflib.get_close_matches(chosen, known, _LISTED) or known[:_LISTED]
        raise UserError(f"{name}: open_clip has no model {chosen!r}; similar names: {', '.join(near)}, …")
    if not weights:  # open_clip would use random weights
        tags = open_clip.list_pretrained_tags_by_model(chosen)
        tag_list = f" ({', '.join(tags[:_LISTED])})" if tags else ""
        raise UserError(f"{name}: name the weights too: {PREFIX}{chosen}/TAG{tag_list}, or /FILE for your own")
