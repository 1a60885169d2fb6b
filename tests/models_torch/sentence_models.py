"""Tiny random models in folders of sentence-transformers, with the layout of mCLIP's two models on the Hub."""

import json
from pathlib import Path

import torch
from transformers import CLIPModel, DistilBertConfig, DistilBertModel

from tests.conftest import WORDS, tiny_tokenizer
from tests.models_torch import kinds

_MODULES = "sentence_transformers.models"  # module path when the models were published


def pictures(folder: Path) -> Path:
    """Write a folder like clip-ViT-B-32: a CLIP in a subfolder, its BPE tokenizer, preprocessing of 2021."""
    inner = folder / "0_CLIPModel"
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters]
    config = kinds.model("clip").config
    config.text_config.update({"vocab_size": len(pieces), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1})
    CLIPModel(config).save_pretrained(inner)
    _write(inner / "vocab.json", {piece: number for number, piece in enumerate(pieces)})
    (inner / "merges.txt").write_text("#version: 0.2\n")
    ends = {"unk_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    _write(inner / "tokenizer_config.json", ends | {"pad_token": "<|endoftext|>", "model_max_length": 12})
    preprocessing = {"do_resize": True, "size": 32, "do_center_crop": True, "crop_size": 32, "do_normalize": True}
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "resample": 3}
    _write(
        inner / "preprocessor_config.json",
        preprocessing | statistics | {"feature_extractor_type": "CLIPFeatureExtractor"},
    )
    _write_modules(folder, [("0_CLIPModel", "CLIPModel")])
    return folder


def texts(folder: Path, dim: int = 24) -> Path:
    """Write a folder like clip-ViT-B-32-multilingual-v1: DistilBERT, masked mean, projection to the image space."""
    torch.manual_seed(1)
    shape = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 40}
    DistilBertModel(DistilBertConfig(vocab_size=len(WORDS), **shape)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    _write(folder / "1_Pooling" / "config.json", pooling)
    identity = "torch.nn.modules.linear.Identity"
    settings = {"in_features": 32, "out_features": dim, "bias": False, "activation_function": identity}
    _write(folder / "2_Dense" / "config.json", settings)
    torch.save({"linear.weight": torch.randn(dim, 32)}, folder / "2_Dense" / "pytorch_model.bin")
    _write_modules(folder, [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")])
    return folder


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    rows = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", rows)


def _write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
