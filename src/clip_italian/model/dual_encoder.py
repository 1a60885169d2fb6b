"""`DualEncoder`: a pair of towers with tokenizer and preprocessing, loaded, used and saved as one."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedTokenizerBase,
    VisionTextDualEncoderModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.assets import staged
from clip_italian.errors import UserError
from clip_italian.images import PictureError, decode_batches, on_white, open_picture
from clip_italian.model import mini
from clip_italian.model.fuse import inference_copy
from clip_italian.model.landmark_efficientnet import LandmarkEfficientNetConfig, LandmarkEfficientNetModel
from clip_italian.model.mean_pooled_bert import MeanPooledBertConfig, MeanPooledBertModel

INFO_FILE = "clip_italian.json"
MAX_TOKENS = 96  # the paper's limit for captions
_IMAGE_BATCH = 8  # larger batches are slower on 2 cores: the activations leave the cache
_TEXT_BATCH = 64

# All towers of our own, in one place: whoever imports the package can load any model that it trained.
_OWN_TOWERS = (
    (MeanPooledBertConfig, MeanPooledBertModel),
    (LandmarkEfficientNetConfig, LandmarkEfficientNetModel),
)
for _config, _tower in _OWN_TOWERS:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _tower, exist_ok=True)


@dataclass
class DualEncoder:
    """Image and text towers that map to one space.

    `info` is what `clip_italian.json` holds: recipe, data fingerprint, metrics, tokenizer hash.
    """

    model: VisionTextDualEncoderModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Load a model folder, a Hub id such as `clip-italian/clip-italian`, or `mini`.

        Raises UserError where the folder lacks files, the Hub cannot be reached, or the
        tokenizer is not the one that the model was trained with.
        """
        place = mini.trained_folder() if str(name) == "mini" else Path(name)
        if place.exists():
            _check_folder(place)
        elif not _looks_like_hub_id(str(name)):
            raise UserError(f"{name}: no such model folder; give a folder that `clip-italian train` wrote, or a Hub id")
        source = str(place)
        try:
            model = VisionTextDualEncoderModel.from_pretrained(source).eval()
            tokenizer = AutoTokenizer.from_pretrained(source)
            processor = _load_image_processor(source, model)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{name}: cannot load the model ({reason})") from error
        info_file = place / INFO_FILE
        info = json.loads(info_file.read_text(encoding="utf-8")) if info_file.is_file() else {}
        expected = info.get("tokenizer_sha256")
        if expected and expected != tokenizer_hash(tokenizer):
            raise UserError(
                f"{name}: its tokenizer is not the one it was trained with; restore the tokenizer files of the folder"
            )
        return cls(model, tokenizer, processor, info)

    def save(self, folder: Path) -> None:
        """Write a folder that `transformers` loads, with `clip_italian.json`; replaces it as a whole."""
        info = self.info | {"max_tokens": self.max_tokens, "tokenizer_sha256": tokenizer_hash(self.tokenizer)}
        with staged(folder) as temporary:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            self.image_processor.save_pretrained(temporary)
            text = json.dumps(info, indent=2, ensure_ascii=False)
            (temporary / INFO_FILE).write_text(text + "\n", encoding="utf-8")

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.model.config.projection_dim)

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens; what goes beyond is cut off."""
        positions = self.model.config.text_config.max_position_embeddings
        return int(min(self.info.get("max_tokens", MAX_TOKENS), positions))

    @cached_property
    def weights_hash(self) -> str:
        """Short digest of all weights: two models with the same one give the same embeddings."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""
        if isinstance(texts, str):
            raise TypeError("encode_text takes a list of texts, not one text")
        result = np.empty((len(texts), self.dim), dtype=np.float32)
        # Neighbours of like length need little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _TEXT_BATCH):
            rows = order[start : start + _TEXT_BATCH]
            tokens = self.tokenize([texts[i] for i in rows])
            result[rows] = _unit(self.model.get_text_features(**tokens).pooler_output)
        return result

    def encode_images(self, images: Sequence[Image.Image | Path | str]) -> np.ndarray:
        """Embed pictures given as PIL images or paths: (n, dim) float32, unit length.

        Raises PictureError for a file that is no readable picture; `encode_files` skips those.
        """
        result = np.empty((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), _IMAGE_BATCH):
            opened = [
                on_white(image) if isinstance(image, Image.Image) else open_picture(Path(image))
                for image in images[start : start + _IMAGE_BATCH]
            ]
            result[start : start + len(opened)] = self.encode_pixels([self.preprocess(image) for image in opened])
        return result

    def encode_files(
        self, paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
    ) -> tuple[list[Path], np.ndarray, list[PictureError]]:
        """Embed picture files, skipping those that cannot be read.

        Returns the paths embedded, their embeddings (n, dim), and the errors of the others;
        `progress` gets the number of files done with each batch.
        """
        done: list[Path] = []
        vectors = [np.zeros((0, self.dim), dtype=np.float32)]
        errors: list[PictureError] = []
        for good, pixels, bad in decode_batches(paths, _IMAGE_BATCH, self.preprocess):
            done += good
            errors += bad
            if pixels:
                vectors.append(self.encode_pixels(pixels))
            progress(len(good) + len(bad))
        return done, np.concatenate(vectors), errors

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask (n, longest), cut at `max_tokens`."""
        return dict(
            self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        )

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Pixels (3, height, width) as the vision tower wants them."""
        pixels: torch.Tensor = self.image_processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        """Embed preprocessed pictures: (n, dim) float32, unit length."""
        features = self._fast_vision(torch.stack(list(pixels))).pooler_output
        return _unit(self.model.visual_projection(features))

    @cached_property
    def _fast_vision(self) -> nn.Module:
        return inference_copy(self.model.vision_model)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Short digest of vocabulary and of how a probe text is cut."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    probe = tokenizer("L'università è lì, perché no? 3,50 €")["input_ids"]
    return hashlib.sha256(json.dumps([vocabulary, probe]).encode()).hexdigest()[:16]


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return normalize(embeddings.float(), dim=1).numpy()


def _looks_like_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def _check_folder(folder: Path) -> None:
    wanted = {"config.json": ["config.json"], "weights": ["model.safetensors", "pytorch_model.bin"]}
    wanted["tokenizer"] = ["tokenizer.json", "vocab.txt", "tokenizer_config.json"]
    for what, names in wanted.items():
        if not any((folder / name).is_file() for name in names):
            hint = "" if what == names[0] else f" ({' or '.join(names)})"
            raise UserError(f"{folder}: no model folder, it lacks its {what}{hint}; train or download the model again")


def _load_image_processor(source: str, model: VisionTextDualEncoderModel) -> BaseImageProcessor:
    try:
        return AutoImageProcessor.from_pretrained(source, backend="pil")
    except OSError:
        # The published checkpoint carries no preprocessing file; its tower is CLIP's.
        size = model.config.vision_config.image_size
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
