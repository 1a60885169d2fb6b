"""Translation engine for sequence-to-sequence models of `transformers`: Marian, NLLB, M2M100, mBART, T5 and others."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from clip_italian.errors import UsageError, UserError
from clip_italian.files.digests import sha256_of
from clip_italian.models.folders import check_hub, load_advice
from clip_italian.translate.engine import Engine, Identity, in_groups

_WINDOW = 64  # number of batches sorted by length together
_MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Codes:
    """Source and target language (ISO 639-1), and a multilingual model's own tokens for them if they differ."""

    source: str
    target: str
    source_token: str | None = None
    target_token: str | None = None


class Marian(Engine):
    """Translation engine; `model` is a folder or a Hub id."""

    parallel = 1  # one batch fills the device

    def __init__(self, model: str, codes: Codes, beams: int = 4, batch_size: int = 32, device: str = "auto") -> None:
        self._name = model
        self._beams = beams
        self._batch_size = batch_size
        self._device = _device(device)
        self._tokenizer, self._model = _load(model)
        self._tokens = _language_tokens(self._tokenizer, codes)
        self._codes = codes
        if self._tokens:
            self._tokenizer.src_lang = self._tokens[0]
        self._max_tokens = _max_tokens(self._tokenizer, self._model.config)
        self._model.to(self._device).eval()

    @property
    def identity(self) -> Identity:
        """Weights (by commit or sha256), languages and beams: everything that changes translations."""
        source, target = self._tokens or (self._codes.source, self._codes.target)
        commit = getattr(self._model.config, "_commit_hash", None)
        model = f"{self._name}@{commit}" if commit else _digest(Path(self._name))
        return {"engine": "marian", "model": model, "source": source, "target": target, "beams": self._beams}

    def characters(self, text: str) -> int:
        """Number of code points."""
        return len(text)

    def quota(self) -> int | None:
        """None: no limit."""
        return None

    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Yield batches of texts of similar length, to reduce padding; longest first within a window."""
        for window in in_groups(texts, _WINDOW * self._batch_size):
            yield from in_groups(sorted(window, key=len, reverse=True), self._batch_size)

    @torch.inference_mode()
    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """Translate a batch; None for texts with more tokens than the model accepts."""
        lengths = [len(ids) for ids in self._tokenizer(list(texts))["input_ids"]]
        fitting = [text for text, length in zip(texts, lengths, strict=True) if length <= self._max_tokens]
        if not fitting:
            return [None] * len(texts)
        encoded = self._tokenizer(fitting, return_tensors="pt", padding=True, return_token_type_ids=False)
        options: dict[str, Any] = {}
        if self._tokens:
            options["forced_bos_token_id"] = self._tokenizer.convert_tokens_to_ids(self._tokens[1])
        # The limit must not depend on the batch, so that a text always gets the same translation.
        output = self._model.generate(
            **encoded.to(self._device),
            num_beams=self._beams,
            do_sample=False,
            max_length=None,
            max_new_tokens=min(_MAX_NEW_TOKENS, self._max_tokens - 1),
            **options,
        )
        found = iter(self._tokenizer.batch_decode(output, skip_special_tokens=True))
        return [next(found) if length <= self._max_tokens else None for length in lengths]

    def stop(self) -> None:
        """Do nothing: no request is ever waiting."""


def _load(model: str) -> tuple[Any, Any]:
    check_hub(model)
    try:
        return AutoTokenizer.from_pretrained(model), AutoModelForSeq2SeqLM.from_pretrained(model)
    except ImportError as error:
        raise UserError(f"{model}: the tokenizer needs a library that is not installed: {_line(error)}") from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{model}: cannot load a translation model from a folder or the Hub ({_line(error)}); "
            f"give --model a model folder, or: {load_advice()}"
        ) from error


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available ({_line(error)}); use cpu, cuda or auto") from error
    return device


def _language_tokens(tokenizer: Any, codes: Codes) -> tuple[str, str] | None:
    """Return a multilingual model's tokens for the two languages; None for a model of one language pair."""
    if not hasattr(tokenizer, "src_lang"):
        return None
    return (
        _language_token(tokenizer, codes.source, codes.source_token, "--source-code"),
        _language_token(tokenizer, codes.target, codes.target_token, "--target-code"),
    )


def _language_token(tokenizer: Any, code: str, given: str | None, option: str) -> str:
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    forms = [given] if given else [code, f"__{code}__", f"{code}_{code.upper()}", f"{code}_XX"]
    for form in forms:
        if form in special:
            return form
    similar = ", ".join(sorted(token for token in special if token.lstrip("_").startswith(code[:2]))) or "(none)"
    raise UsageError(f"{option}: the model has no language {given or code!r}; give the model's code, perhaps {similar}")


def _max_tokens(tokenizer: Any, config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(min(positions, tokenizer.model_max_length))


def _digest(folder: Path) -> str:
    """Return a hex digest of the files in a model folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:32]
