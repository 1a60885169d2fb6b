"""`DualEncoder`: a vision and a text tower with tokenizer and image processor, loaded, used and saved together."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import avg_pool2d, normalize
from transformers import (
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    EfficientNetModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipModel,
)

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.models import folders
from clip_italian.models.encoder import MapEncoder, WindowEmbeddings, picture_batch, with_margin
from clip_italian.models.folders import INFO_FILE, check_hub, load_advice, looks_like_hub_id, read_info
from clip_italian.models.preprocess import Preprocess, needed_side
from clip_italian.models.spelling import lower_all_caps, replace_surrogates
from clip_italian.models_torch import mini, open_clip
from clip_italian.models_torch.fuse import inference_copy
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash, weights_hash
from clip_italian.models_torch.landmark_efficientnet import forward_without_head, head_of
from clip_italian.models_torch.processors import load_image_processor, normalise
from clip_italian.models_torch.registration import register
from clip_italian.models_torch.shapes import encode_in_buckets, pad_ids
from clip_italian.models_torch.towers import Parts, add_logit_bias, embedding_dim, parts, reads_padding, text_positions
from clip_italian.pictures.decoding import as_displayed

MAX_TOKENS = 96  # the paper's limit for captions
_COUNT_BATCH = 10_000

register()  # so that AutoModel loads every model that this package trains


@dataclass
class DualEncoder(MapEncoder):
    """A vision and a text tower with a shared embedding space: any joint model that `towers.parts` supports.

    `info` is the content of `clip_italian.json`: recipe, data fingerprint, metrics, tokenizer hash. `token_limit` is
    the requested maximum text length; `max_tokens` is also limited by the text tower.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor
    info: dict[str, Any] = field(default_factory=dict)
    token_limit: int = MAX_TOKENS

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Load a model folder, a Hub id such as `clip-italian/clip-italian`, or `mini`.

        Raises UserError if files or weights are missing, the Hub cannot be reached, or the tokenizer is not the one
        that the model was trained with.
        """
        path = mini.trained_folder() if str(name) == "mini" else Path(name)
        if not path.exists() and not looks_like_hub_id(str(name)):
            raise UserError(f"{name}: no such model folder; give the output of `clip-italian train`, a Hub id, or mini")
        source = str(path)
        check_hub(source)
        try:
            # For a Hub id this costs one request; a folder with config.json needs no check.
            foreign = None if (path / "config.json").is_file() else open_clip.settings(source)
            if foreign is not None:
                return cls(*open_clip.load(source, foreign), token_limit=open_clip.CONTEXT)
            if path.exists():
                folders.check(path)
            model, loading = AutoModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
            parts(model.eval())
            missing = sorted(loading["missing_keys"])
            if missing:  # transformers would use random weights
                raise UserError(f"{name}: weights are missing ({missing[0]} …); download the model again")
            tokenizer = AutoTokenizer.from_pretrained(source)
            processor = load_image_processor(source, model)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            what = "download its files again" if path.exists() else load_advice()
            raise UserError(f"{name}: cannot load the model ({reason}); {what}") from error
        info = mini.info() if str(name) == "mini" else read_info(path)
        expected = info.get("tokenizer_sha256")
        if expected and expected != tokenizer_hash(tokenizer):
            raise UserError(f"{name}: the tokenizer differs from the one used in training; restore the tokenizer files")
        if "logit_bias" in info:
            add_logit_bias(model, info["logit_bias"])
        return cls(model, tokenizer, processor, info, info.get("max_tokens", MAX_TOKENS))

    def save(self, folder: Path) -> None:
        """Write a folder that `transformers` can load, with `clip_italian.json`; replaces an existing folder."""
        info = self.info | {"max_tokens": self.max_tokens, "tokenizer_sha256": tokenizer_hash(self.tokenizer)}
        weights = self.model.state_dict()
        if "logit_bias" in weights and not isinstance(self.model, SiglipModel):
            info["logit_bias"] = weights.pop("logit_bias").item()
        with staged(folder) as temporary:
            self.model.save_pretrained(temporary, state_dict=weights)
            self.tokenizer.save_pretrained(temporary)
            self.image_processor.save_pretrained(temporary)
            text = json.dumps(info, indent=2, ensure_ascii=False)
            (temporary / INFO_FILE).write_text(text + "\n", encoding="utf-8")

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return embedding_dim(self.model)

    @property
    def parts(self) -> Parts:
        """Current towers, projections, scale and bias of the model."""
        return parts(self.model)

    @property
    def device(self) -> torch.device:
        """Device of the weights, where `encode_*` run; their results are NumPy arrays in main memory."""
        return self.parts.logit_scale.device

    def to(self, device: str | torch.device) -> Self:
        """Move the model to a device, in place; returns itself."""
        self.model.to(device)
        self.__dict__.pop("_fast_vision", None)  # a copy on the old device
        return self

    @property
    def max_tokens(self) -> int:
        """Maximum text length in tokens; longer texts are truncated. For SigLIP, the length used in training."""
        positions = text_positions(self.model)
        return positions if reads_padding(self.model) else min(self.token_limit, positions)

    @cached_property
    def weights_hash(self) -> str:
        """Digest of all weights, 16 hex digits."""
        return weights_hash(self.model.state_dict())

    @property
    def logit_scale(self) -> float:
        """Factor of the cosines in the loss."""
        return float(self.parts.logit_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """Bias of the sigmoid loss; None for a model trained with the softmax loss."""
        bias = self.parts.logit_bias
        return None if bias is None else float(bias.item())

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(weights.numel() for weights in self.model.parameters())

    def facts(self) -> dict[str, Any]:
        return {
            "weights_sha256": self.weights_hash,
            "tokenizer_sha256": tokenizer_hash(self.tokenizer),
            "preprocessing_sha256": settings_hash(self.image_processor.to_dict()),
            "dim": self.dim,
            "max_tokens": self.max_tokens,
        }

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""
        return encode_in_buckets(texts, self.dim, self.max_tokens, self._ids, self._embed)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return token ids, truncated to `max_tokens`; for SigLIP also padded to it."""
        padding = "max_length" if reads_padding(self.model) else False
        limits = {"truncation": True, "max_length": self.max_tokens, "return_attention_mask": False}
        ids: list[list[int]] = self.tokenizer(self._normalised(texts), padding=padding, **limits)["input_ids"]
        return ids

    def _embed(self, ids: list[list[int]], length: int) -> np.ndarray:
        pad, left = self.tokenizer.pad_token_id, self.tokenizer.padding_side == "left"
        tokens = pad_ids(ids, length, pad, left)
        if reads_padding(self.model):
            del tokens["attention_mask"]
        pooled = self.parts.text(**{key: value.to(self.device) for key, value in tokens.items()}).pooler_output
        return _unit(self.parts.text_projection(pooled))

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Tokenize texts: token ids and attention mask (n, longest), truncated to `max_tokens`, on the CPU.

        For SigLIP, token ids (n, max_tokens) only. Token types are omitted, since there is only one segment.
        """
        padding = "max_length" if reads_padding(self.model) else True
        tokens = self.tokenizer(
            self._normalised(texts), padding=padding, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        names = ("input_ids",) if reads_padding(self.model) else ("input_ids", "attention_mask")
        return {name: tokens[name] for name in names}

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return the number of texts longer than `max_tokens`."""
        count = 0
        for start in range(0, len(texts), _COUNT_BATCH):
            part = self._normalised(texts[start : start + _COUNT_BATCH])
            tokens = self.tokenizer(part, return_attention_mask=False, return_token_type_ids=False, verbose=False)
            count += sum(len(ids) > self.max_tokens for ids in tokens["input_ids"])
        return count

    @property
    def lowers(self) -> bool:
        """True if texts are lowercased before tokenization.

        SigLIP 2 was trained on lowercase text, but the tokenizer in its checkpoints (Gemma's) keeps capitals.
        """
        return reads_padding(self.model) and type(self.tokenizer).__name__.startswith("Gemma")

    def _normalised(self, texts: Sequence[str]) -> list[str]:
        valid = replace_surrogates(texts)
        return [text.lower() if self.lowers else lower_all_caps(text, self._pieces) for text in valid]

    def _pieces(self, word: str) -> int:
        return len(self.tokenizer.tokenize(word))

    @property
    def at_least(self) -> int | None:
        """See `Encoder.at_least`."""
        return with_margin(needed_side(self.image_processor))

    @property
    def picture_batch(self) -> int:
        """See `Encoder.picture_batch`."""
        return picture_batch(self.device.type)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the pixels (3, height, width) for `encode_pixels`; equal to the image processor's to 2e-6."""
        fast = self._fast_preprocess
        if fast is not None:
            return normalise(fast, torch.from_numpy(fast.pixels(image)))
        pixels: torch.Tensor = self.image_processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        """Embed preprocessed pictures: (n, dim) float32, unit length."""
        features = self._fast_vision(torch.stack(list(pixels)).to(self.device)).pooler_output
        return _unit(self.parts.visual_projection(features))

    @property
    def has_maps(self) -> bool:
        """True if the model supports `last_map` and `embed_pooled`: its vision tower is an EfficientNet."""
        return isinstance(self.parts.vision, EfficientNetModel)

    @property
    def maps(self) -> MapEncoder | None:
        return self if self.has_maps else None

    @torch.inference_mode()
    def last_map(self, image: Image.Image, width: int, height: int) -> torch.Tensor:
        """Return the map that the tower pools, (features, rows, columns), for a picture stretched to the given size."""
        size = {"width": width, "height": height}
        inputs = self.image_processor(images=as_displayed(image), size=size, do_center_crop=False, return_tensors="pt")
        forward = forward_without_head(self._fast_vision)
        return forward(self._fast_vision, inputs["pixel_values"].to(self.device)).last_hidden_state[0]

    @property
    def image_size(self) -> int:
        return int(self.parts.vision.config.image_size)

    def embed_windows(
        self, image: Image.Image, width: int, height: int, sides: Sequence[int]
    ) -> tuple[tuple[int, int], Iterator[WindowEmbeddings]]:
        """See `MapEncoder.embed_windows`; the tower must be an EfficientNet (`has_maps`)."""
        whole = self.last_map(image, width, height)
        rows, columns = whole.shape[1:]

        def windows() -> Iterator[WindowEmbeddings]:
            for side in sides:
                tall, wide = min(side, rows), min(side, columns)
                pooled = avg_pool2d(whole[None], (tall, wide), stride=1)[0]
                embeddings = self.embed_pooled(pooled.flatten(1).T)
                yield WindowEmbeddings(pooled.shape[1], pooled.shape[2], tall, wide, embeddings)

        return (rows, columns), windows()

    @torch.inference_mode()
    def embed_pooled(self, pooled: torch.Tensor) -> np.ndarray:
        """Embed pooled parts of last maps (n, features) as if each part were a picture: (n, dim) float32."""
        return _unit(self.parts.visual_projection(head_of(self._fast_vision)(pooled)))

    @cached_property
    def _fast_vision(self) -> nn.Module:
        return inference_copy(self.parts.vision)

    @cached_property
    def _fast_preprocess(self) -> Preprocess | None:
        """Faster equivalent of the image processor; None if it is not an affine function of each pixel."""
        try:
            return Preprocess.of(self.image_processor)
        except UserError:
            return None


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return normalize(embeddings.float(), dim=1).cpu().numpy()
