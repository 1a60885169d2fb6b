"""Graphs that others publish, run as they are: no torch is needed.

- immich: `visual/model.onnx`, `textual/model.onnx`, `textual/tokenizer.json`, `visual/preprocess_cfg.json` and
  `config.json`
- transformers.js: `onnx/vision_model.onnx`, `onnx/text_model.onnx`, `tokenizer.json` and `preprocessor_config.json`

The first is that of `immich-app/XLM-Roberta-Base-ViT-B-32__laion5b_s13b_b90k` and its SigLIP 2 and NLLB-CLIP kin, the
second that of `onnx-community` and `Xenova`.

A folder or a Hub id. Of the second layout `NAME:VARIANT` takes other files, such as `vision_model_quantized.onnx` for
`quantized`. The graphs do not say the logit scale of the model: `LOGIT_SCALE` stands for it in `classify`.
"""

import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_italian import languages, privacy
from clip_italian.errors import UserError
from clip_italian.models import exported, known, onnx, runtimes
from clip_italian.models.exported import Exported, Graph, Parity
from clip_italian.models.folders import looks_like_hub_id
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models.precision import Precision
from clip_italian.models.preprocess import Preprocess
from clip_italian.models.spelling import replace_surrogates

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LOGIT_SCALE = 100.0  # the limit of CLIP's training, which published models reach
_IMMICH, _JS = "visual/model.onnx", "onnx/text_model.onnx"
_PATTERNS = ("export.json", "*.onnx", "*.onnx_data", "*.onnx.data", "*.json")
_UNMEASURED = Parity(sample=0, largest_difference=0.0, least_cosine=1.0, mean_cosine=1.0)
_CONTEXT = 77  # tokens, open_clip's default
_FILTERS = {"bicubic": 3, "bilinear": 2, "nearest": 0}  # Pillow's
_TEXT_OUTPUTS = ("text_embeds", "embedding", "text_embedding", "pooler_output")
_IMAGE_OUTPUTS = ("image_embeds", "embedding", "image_embedding", "pooler_output")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass
class PublishedEncoder(OnnxEncoder):
    """A published image and text graph; `prepare` changes texts before they are tokenised, `ids` is their type."""

    prepare: Callable[[str], str] = str
    ids: type = np.int64

    def tokenize(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Tokenize texts for the text graph, padded as the graph needs it."""
        ids, mask = self.tokenizer.encode([self.prepare(text) for text in replace_surrogates(texts)])
        inputs = self.settings.text.inputs
        return {name: np.array(mask if name == "attention_mask" else ids, self.ids) for name in inputs}


def find(name: str) -> Path | None:
    """Return the folder of published graphs, or of exported ones on the Hub; None if a name is something else.

    A Hub id that is not on this machine is downloaded if its repository has graphs.
    """
    place = _without_variant(name)
    if Path(place).exists() or not looks_like_hub_id(place):
        return Path(place) if _has_graphs(Path(place)) else None
    return _from_hub(place)


def load(name: str, folder: Path) -> OnnxEncoder:
    """Load published graphs. Raises UserError if files are missing or damaged."""
    if exported.is_exported(folder):
        return OnnxEncoder.load(folder)
    variant = name.removeprefix(_without_variant(name)).lstrip(":")
    return _immich(name, folder) if (folder / _IMMICH).is_file() else _transformers_js(name, folder, variant)


def _without_variant(name: str) -> str:
    return name if Path(name).exists() else name.partition(":")[0]


def _has_graphs(folder: Path) -> bool:
    files = (exported.EXPORT_FILE, _IMMICH)
    return any((folder / file).is_file() for file in files) or any((folder / "onnx").glob("text_model*.onnx"))


def _from_hub(name: str) -> Path | None:
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    def cached(file: str) -> Path | None:
        found = try_to_load_from_cache(name, file)
        return Path(found) if isinstance(found, str) else None

    for file in (exported.EXPORT_FILE, _IMMICH, _JS):
        if (found := cached(file)) is not None:
            return found.parents[file.count("/")]
    if cached("model.safetensors") or cached("pytorch_model.bin") or privacy.is_offline():
        return None
    try:
        files = HfApi().list_repo_files(name)
        if not any(file in (exported.EXPORT_FILE, _IMMICH) or file.startswith("onnx/text_model") for file in files):
            return None
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except Exception:  # of the hub's client, or of the HTTP library below it
        return None  # loading by torch reports it


def _immich(name: str, folder: Path) -> PublishedEncoder:
    config = _json(folder / "config.json")
    text = config.get("text_cfg", {})
    context = int(text.get("context_length", _CONTEXT))
    pad = _pad_token(folder / "textual")
    tokens = onnx.Tokens(folder / "textual" / exported.TOKENIZER_FILE, partial(_limit, context=context, pad=pad))
    canonical = (text.get("tokenizer_kwargs") or {}).get("clean") == "canonicalize"
    token = languages.get(languages.DEFAULT).flores_code if Path(name).name.startswith("nllb") else ""

    def prepare(given: str) -> str:
        if canonical:
            given = given.translate(_PUNCTUATION).lower()
        return token + " ".join(given.split())

    preparation = _open_clip_preprocessing(_json(folder / "visual" / "preprocess_cfg.json"), folder)
    graphs = folder / "visual" / "model.onnx", folder / "textual" / "model.onnx"
    return _encoder(name, folder, graphs, tokens, preparation, context, prepare)


def _transformers_js(name: str, folder: Path, variant: str) -> PublishedEncoder:
    suffix = f"_{variant}" if variant else ""
    if not suffix and not (folder / _JS).is_file():
        suffix = "_quantized"
    graphs = folder / "onnx" / f"vision_model{suffix}.onnx", folder / "onnx" / f"text_model{suffix}.onnx"
    config = _json(folder / "config.json")
    kind, text = str(config.get("model_type", "clip")), config.get("text_config", {})
    context = int(text.get("max_position_embeddings", 64 if kind.startswith("siglip") else _CONTEXT))
    limit = partial(_limit, context=context, pad=_pad_token(folder), fixed=kind.startswith("siglip"))
    tokens = onnx.Tokens(folder / exported.TOKENIZER_FILE, limit)
    lower = (
        kind == "siglip2" or "gemma" in str(_json(folder / "tokenizer_config.json").get("tokenizer_class", "")).lower()
    )
    return _encoder(
        name, folder, graphs, tokens, onnx.preparation(folder), context, str.lower if lower else str
    )  # fmt: skip


def _encoder(
    name: str, folder: Path, graphs: tuple[Path, Path], tokens: onnx.Tokens, preparation: Preprocess, context: int,
    prepare: Callable[[str], str],
) -> PublishedEncoder:  # fmt: skip
    for file in graphs:
        if not file.is_file():
            raise UserError(f"{file}: missing; download {name} again")
    threads = runtimes.default_threads()
    image, text = runtimes.OnnxGraph(graphs[0], threads), runtimes.OnnxGraph(graphs[1], 1, batch=True)
    digest = known.digest(folder, [*graphs, *graphs[0].parent.glob("*data"), *graphs[1].parent.glob("*data")])
    described = text.inputs
    size = sum(file.stat().st_size for file in graphs)
    precision: Precision = "float32" if graphs[0].stem in ("model", "vision_model") else "int8"
    settings = Exported(
        format="onnx", source=name, source_weights_sha256=digest, weights_sha256=digest, tokenizer_sha256=digest,
        preprocessing_sha256=digest, dim=1, max_tokens=context, logit_scale=LOGIT_SCALE, logit_bias=None,
        parameters=size // (4 if precision == "float32" else 1), opset=0,
        image=Graph(file=graphs[0].name, inputs=tuple(image.inputs), precision=precision, parity=_UNMEASURED),
        text=Graph(file=graphs[1].name, inputs=tuple(described), precision=precision, parity=_UNMEASURED),
        made_with={},
    )  # fmt: skip
    found = PublishedEncoder(
        settings, _unit(image, _IMAGE_OUTPUTS), _unit(text, _TEXT_OUTPUTS), tokens, preparation, {},
        prepare=prepare, ids=np.int32 if "int32" in next(iter(described.values())) else np.int64,
    )  # fmt: skip
    dim = found.text_graph(found.tokenize([""])).shape[1]
    found.settings = settings.model_copy(update={"dim": dim})
    return found


def _pad_token(folder: Path) -> str:
    token = _json(folder / "tokenizer_config.json").get("pad_token", "<pad>")
    return str(token["content"] if isinstance(token, dict) else token)


def _limit(tokenizer: "Tokenizer", context: int, pad: str, fixed: bool = True) -> None:
    """Truncate to the context, and pad to it (`fixed`) or to the longest text."""
    tokenizer.enable_truncation(context)
    length = context if fixed else None
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad) or 0)


def _unit(graph: runtimes.OnnxGraph, names: Sequence[str]) -> runtimes.Run:
    """Run a graph for the first of its outputs in `names`, else its first, at unit length."""
    output = next((name for name in names if name in graph.outputs), None)

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        embeddings = graph(inputs, output)
        return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)

    return run


def _open_clip_preprocessing(config: Mapping[str, Any], folder: Path) -> Preprocess:
    size, mode = config.get("size", 224), config.get("resize_mode", "shortest")
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))
    if mode not in ("shortest", "squash"):
        raise UserError(f"{folder}: resize mode {mode!r} is not known; use another model")
    mean, deviation = (np.reshape(np.asarray(config[key], np.float64), (3, 1, 1)) for key in ("mean", "std"))
    return Preprocess(
        (1 / 255 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32),
        (height, width) if mode == "squash" else min(height, width), None if mode == "squash" else (height, width),
        _FILTERS[config.get("interpolation", "bicubic")],
    )  # fmt: skip


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: missing or damaged ({error}); download the model again") from error
    return content
