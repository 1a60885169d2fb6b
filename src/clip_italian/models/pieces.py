"""Tokenizes by SentencePiece what a `tokenizer.json` with a Unigram vocabulary describes.

The `tokenizers` library reads `mini`'s 116,000 pieces in a quarter of a second, into 110 MB. SentencePiece takes half
as long, and 33 MB.

    pieces.model   the vocabulary, as SentencePiece stores it
    pieces.json    how texts become the words that are divided into pieces, special tokens, truncation, padding

Token ids are the same, but where two divisions are exactly as likely: "dd" and "d" or "d" and "dd" of "ddd". Of 14,000
lines of text 1 had such a place, of 300,000 random strings 21.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from clip_italian.errors import UserError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

MODEL_FILE = "pieces.model"
SETTINGS_FILE = "pieces.json"

_SPACE = "▁"
# Both libraries have to agree on these before a tokenizer is written: spaces of all kinds, unknown and combined signs.
_SAMPLES = (
    "", " ", "two dogs in the snow", "  two\tdogs\n in the  snow ", "l'œuvre n° 3, 2½ km!", "cafe\u0301", "ﬁne Ⅳ",
    "日本語 한국어 😀👍🏽", "\u200b\ufeff", "\u00a0a\u2009b\u3000c", "▁two▁", "\x01\x7f\x85", "a " * 300,
)  # fmt: skip


@dataclass(frozen=True)
class _Settings:
    """`words` is a `tokenizer.json` without vocabulary; `before` and `after` are the ids around each text's own.

    A text has `most` ids at most; shorter ones are filled up with `pad` to `length`, or to the longest of a batch.
    """

    words: str
    special: Sequence[str]
    before: Sequence[int]
    after: Sequence[int]
    most: int
    pad: int
    length: int | None


class Pieces:
    """An opened vocabulary. Thread-safe."""

    def __init__(self, words: "Tokenizer", division: "SentencePieceProcessor", settings: _Settings) -> None:
        self._normalizer, self._splitter = words.normalizer, words.pre_tokenizer
        self._division = division
        self._settings = settings

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read both files of a folder. Raises UserError where one is damaged."""
        from sentencepiece import SentencePieceProcessor
        from tokenizers import Tokenizer

        file = folder / SETTINGS_FILE
        try:
            settings = _Settings(**json.loads(file.read_text(encoding="utf-8")))
            words = Tokenizer.from_str(settings.words)
            file = folder / MODEL_FILE
            division = SentencePieceProcessor(model_file=str(file))
        except Exception as error:  # tokenizers raises plain Exception
            raise UserError(f"{file}: cannot be read ({error}); export the model again") from error
        return cls(words, division, settings)

    def reads(self, text: str) -> bool:
        """False for a text that names a special token, such as "<mask>": `tokenizers` takes it for that token."""
        return not any(token in text for token in self._settings.special)

    def count(self, text: str) -> int:
        """The number of ids of a text with those around it, if it is not cut off."""
        return len(self._ids(text))

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of texts and their attention mask, cut off and filled up to equal lengths."""
        settings = self._settings
        rows = [self._ids(text) for text in texts]
        length = settings.length or max(map(len, rows), default=0)
        ids = [row + [settings.pad] * (length - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        return ids, mask

    def _ids(self, text: str) -> list[int]:
        normal = text if self._normalizer is None else self._normalizer.normalize_str(text)
        words = "".join(word for word, _ in self._splitter.pre_tokenize_str(normal))
        settings = self._settings
        own = settings.most - len(settings.before) - len(settings.after)
        return [*settings.before, *self._division.encode(words)[:own], *settings.after]


def write(tokenizer: "Tokenizer", folder: Path) -> bool:
    """Write both files for a tokenizer with truncation and padding; False, and no files, where it is of another kind.

    Written are those that give the samples' ids as the tokenizer does.
    """
    described: dict[str, Any] = json.loads(tokenizer.to_str())
    settings = _settings(tokenizer, described)
    if settings is None:
        return False
    (folder / MODEL_FILE).write_bytes(_model(described["model"], settings.special))
    (folder / SETTINGS_FILE).write_text(json.dumps(asdict(settings), ensure_ascii=False) + "\n", encoding="utf-8")
    written, expected = Pieces.open(folder), tokenizer.encode_batch(list(_SAMPLES))
    if written.encode(_SAMPLES) == ([one.ids for one in expected], [one.attention_mask for one in expected]):
        return True
    for name in (MODEL_FILE, SETTINGS_FILE):
        (folder / name).unlink()
    return False


def _settings(tokenizer: "Tokenizer", described: dict[str, Any]) -> _Settings | None:
    """What `pieces.json` holds; None for a tokenizer that SentencePiece cannot replace."""
    model, truncation, padding = described["model"], tokenizer.truncation, tokenizer.padding
    if model["type"] != "Unigram" or model.get("byte_fallback") or model.get("unk_id") is None:
        return None
    if tokenizer.pre_tokenizer is None or not truncation or not padding:
        return None
    if truncation["direction"] != "right" or padding["direction"] != "right" or padding["pad_to_multiple_of"]:
        return None
    added = described["added_tokens"]
    # Words are divided all at once, and no piece may reach from one into the next.
    if any(one["normalized"] for one in added) or any(_SPACE in piece[1:] for piece, _ in model["vocab"]):
        return None
    empty = tokenizer.encode("")
    around = empty.ids[: sum(empty.attention_mask)]
    before = tokenizer.encode("a").special_tokens_mask.index(0)
    words = {**described, "added_tokens": [], "post_processor": None, "decoder": None, "truncation": None}
    words["padding"], words["model"] = None, {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    return _Settings(
        json.dumps(words, ensure_ascii=False), [one["content"] for one in added], around[:before], around[before:],
        truncation["max_length"], padding["pad_id"], padding["length"],
    )  # fmt: skip


def _model(model: dict[str, Any], special: Sequence[str]) -> bytes:
    """The vocabulary in SentencePiece's format, which neither changes texts nor adds spaces."""
    from sentencepiece import sentencepiece_model_pb2

    format: Any = sentencepiece_model_pb2  # its classes are made when it is imported
    made, kinds = format.ModelProto(), format.ModelProto.SentencePiece
    for number, (piece, score) in enumerate(model["vocab"]):
        kind = kinds.CONTROL if piece in special else kinds.NORMAL
        made.pieces.add(piece=piece, score=score, type=kinds.UNKNOWN if number == model["unk_id"] else kind)
    made.trainer_spec.model_type = made.trainer_spec.UNIGRAM
    made.trainer_spec.unk_id = model["unk_id"]
    for name in ("bos_id", "eos_id", "pad_id"):
        setattr(made.trainer_spec, name, -1)
    made.normalizer_spec.name = "identity"
    for name in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        setattr(made.normalizer_spec, name, False)
    return bytes(made.SerializeToString())
