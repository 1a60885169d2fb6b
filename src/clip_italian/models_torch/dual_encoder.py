"""`DualEncoder`: a pair of towers with tokenizer and preprocessing, loaded, used and saved as one."""

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
from clip_italian.models.spelling import readable, without_capitals
from clip_italian.models_torch import mini, open_clip
from clip_italian.models_torch.fuse import inference_copy
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash, weights_hash
from clip_italian.models_torch.landmark_efficientnet import above_pooling, below_head
from clip_italian.models_torch.processors import load_image_processor, normalise
from clip_italian.models_torch.projections import add_logit_bias
from clip_italian.models_torch.registration import register
from clip_italian.models_torch.shapes import encode_in_shapes, filled
from clip_italian.models_torch.towers import Parts, embedding_dim, parts, reads_padding, text_positions
from clip_italian.pictures.decoding import as_seen

MAX_TOKENS = 96  # the paper's limit for captions
_COUNT_BATCH = 10_000

# Whoever imports the package can load any model that it trained.
register()


@dataclass
class DualEncoder(MapEncoder):
    """Image and text towers that map to one space: any joint model that `towers.parts` knows.

    `info` is what `clip_italian.json` holds: recipe, data fingerprint, metrics, tokenizer hash.
    `token_limit` is the longest text wished for; `max_tokens` also heeds what the text tower can take.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor
    info: dict[str, Any] = field(default_factory=dict)
    token_limit: int = MAX_TOKENS

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Load a model folder, a Hub id such as `clip-italian/clip-italian`, or `mini`.

        Raises UserError where the folder lacks files or weights, the Hub cannot be reached, or the
        tokenizer is not the one that the model was trained with.
        """
        place = mini.trained_folder() if str(name) == "mini" else Path(name)
        if not place.exists() and not looks_like_hub_id(str(name)):
            raise UserError(
                f"{name}: no such model folder; give one that `clip-italian train` wrote, a Hub id, or mini"
            )
        source = str(place)
        check_hub(source)
        try:
            # A folder of ours is not looked at twice, and the Hub is asked for one file more.
            foreign = None if (place / "config.json").is_file() else open_clip.settings(source)
            if foreign is not None:
                return cls(*open_clip.load(source, foreign), token_limit=open_clip.CONTEXT)
            if place.exists():
                folders.check(place)
            model, loading = AutoModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
            parts(model.eval())
            missing = sorted(loading["missing_keys"])
            if missing:  # transformers would go on with random ones
                raise UserError(f"{name}: its files lack weights of the model, {missing[0]} first; get it again")
            tokenizer = AutoTokenizer.from_pretrained(source)
            processor = load_image_processor(source, model)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            what = "get its files again" if place.exists() else load_advice()
            raise UserError(f"{name}: cannot load the model ({reason}); {what}") from error
        info = mini.info() if str(name) == "mini" else read_info(place)
        expected = info.get("tokenizer_sha256")
        if expected and expected != tokenizer_hash(tokenizer):
            raise UserError(
                f"{name}: its tokenizer is not the one it was trained with; restore the tokenizer files of the folder"
            )
        if "logit_bias" in info:
            add_logit_bias(model, info["logit_bias"])
        return cls(model, tokenizer, processor, info, info.get("max_tokens", MAX_TOKENS))

    def save(self, folder: Path) -> None:
        """Write a folder that `transformers` loads, with `clip_italian.json`; replaces it as a whole."""
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
        """Towers, projections, scale and bias of the model as it is now."""
        return parts(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are; `encode_*` work there and give arrays in main memory."""
        return self.parts.logit_scale.device

    def to(self, device: str | torch.device) -> Self:
        """Move the model in place; returns itself."""
        self.model.to(device)
        self.__dict__.pop("_fast_vision", None)  # a copy on the old device
        return self

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens; what goes beyond is cut off. SigLIP's texts keep the length it was trained on."""
        positions = text_positions(self.model)
        return positions if reads_padding(self.model) else min(self.token_limit, positions)

    @cached_property
    def weights_hash(self) -> str:
        """`hashes.weights_hash` of all weights."""
        return weights_hash(self.model.state_dict())

    @property
    def logit_scale(self) -> float:
        """What the loss multiplied cosines by."""
        return float(self.parts.logit_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """What the sigmoid loss added to that; None for a model of the softmax loss."""
        bias = self.parts.logit_bias
        return None if bias is None else float(bias.item())

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned."""
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
        return encode_in_shapes(texts, self.dim, self.max_tokens, self._ids, self._embed)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids, cut at `max_tokens`; SigLIP's filled up to that."""
        padding = "max_length" if reads_padding(self.model) else False
        limits = {"truncation": True, "max_length": self.max_tokens, "return_attention_mask": False}
        found: list[list[int]] = self.tokenizer(self._spelling(texts), padding=padding, **limits)["input_ids"]
        return found

    def _embed(self, ids: list[list[int]], length: int) -> np.ndarray:
        pad, left = self.tokenizer.pad_token_id, self.tokenizer.padding_side == "left"
        tokens = filled(ids, length, pad, left)
        if reads_padding(self.model):
            del tokens["attention_mask"]
        pooled = self.parts.text(**{key: value.to(self.device) for key, value in tokens.items()}).pooler_output
        return _unit(self.parts.text_projection(pooled))

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask (n, longest), cut at `max_tokens`; for SigLIP ids (n, max_tokens) alone.

        They are on the CPU. Token types are left out: there is only one text.
        """
        padding = "max_length" if reads_padding(self.model) else True
        tokens = self.tokenizer(
            self._spelling(texts), padding=padding, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        names = ("input_ids",) if reads_padding(self.model) else ("input_ids", "attention_mask")
        return {name: tokens[name] for name in names}

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than `max_tokens`."""
        count = 0
        for start in range(0, len(texts), _COUNT_BATCH):
            part = self._spelling(texts[start : start + _COUNT_BATCH])
            tokens = self.tokenizer(part, return_attention_mask=False, return_token_type_ids=False, verbose=False)
            count += sum(len(ids) > self.max_tokens for ids in tokens["input_ids"])
        return count

    @property
    def lowers(self) -> bool:
        """Whether texts are put into small letters first.

        SigLIP 2 was trained on such, but its checkpoints' tokenizer is Gemma's, which keeps capitals.
        """
        return reads_padding(self.model) and type(self.tokenizer).__name__.startswith("Gemma")

    def _spelling(self, texts: Sequence[str]) -> list[str]:
        given = readable(texts)
        return [text.lower() if self.lowers else without_capitals(text, self._pieces) for text in given]

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
        """Pixels (3, height, width) as the vision tower wants them: the image processor's, to 2e-6."""
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
        """Whether `last_map` and `embed_pooled` are for this model: its vision tower is an EfficientNet."""
        return isinstance(self.parts.vision, EfficientNetModel)

    @property
    def maps(self) -> MapEncoder | None:
        return self if self.has_maps else None

    @torch.inference_mode()
    def last_map(self, image: Image.Image, width: int, height: int) -> torch.Tensor:
        """What the tower takes the mean of: (features, rows, columns) of a picture stretched to so many pixels."""
        size = {"width": width, "height": height}
        inputs = self.image_processor(images=as_seen(image), size=size, do_center_crop=False, return_tensors="pt")
        found = below_head(self._fast_vision)(self._fast_vision, inputs["pixel_values"].to(self.device))
        return found.last_hidden_state[0]

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
        """Embed means (n, features) over parts of last maps as if each part were a picture: (n, dim) float32."""
        return _unit(self.parts.visual_projection(above_pooling(self._fast_vision)(pooled)))

    @cached_property
    def _fast_vision(self) -> nn.Module:
        return inference_copy(self.parts.vision)

    @cached_property
    def _fast_preprocess(self) -> Preprocess | None:
        """What the image processor does, at half its price; None for one that does not treat every pixel alike."""
        try:
            return Preprocess.of(self.image_processor)
        except UserError:
            return None


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return normalize(embeddings.float(), dim=1).cpu().numpy()
