"""Tiny joint models of every supported kind, with random weights, in folders like those on the Hub."""

from pathlib import Path

import torch
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    BertConfig,
    BertForMaskedLM,
    CLIPConfig,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.conftest import WORDS, tiny_tokenizer

PADDING, BEGIN, END = WORDS.index("[PAD]"), WORDS.index("[CLS]"), WORDS.index("[SEP]")
_SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
_SPECIAL = {"pad_token_id": PADDING, "bos_token_id": BEGIN, "eos_token_id": END, "vocab_size": len(WORDS)}
_VISION = _SHAPE | {"image_size": 32, "patch_size": 8, "hidden_size": 40}


def model(kind: str) -> PreTrainedModel:
    """Return a tiny joint model."""
    torch.manual_seed(0)
    text = _SHAPE | _SPECIAL
    if kind == "clip":
        config = {"text_config": text | {"max_position_embeddings": 12}, "vision_config": _VISION, "projection_dim": 24}
        return CLIPModel(CLIPConfig(**config)).eval()
    if kind == "metaclip2":
        config = {"text_config": text | {"max_position_embeddings": 12}, "vision_config": _VISION, "projection_dim": 24}
        return MetaClip2Model(MetaClip2Config(**config)).eval()
    if kind == "siglip":
        text |= {"max_position_embeddings": 12, "projection_size": 40}
        return SiglipModel(SiglipConfig(text_config=text, vision_config=_VISION)).eval()
    assert kind == "altclip"
    text |= {"max_position_embeddings": 13, "project_dim": 16}
    return AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24)).eval()


KINDS = ("clip", "metaclip2", "siglip", "altclip")


def folder(kind: str, place: Path) -> Path:
    """Write a tiny joint model with tokenizer and preprocessing to a folder."""
    model(kind).save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    size = {"height": 32, "width": 32}
    if kind == "siglip":
        SiglipImageProcessorPil(size=size).save_pretrained(place)
    else:
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(place)
    return place


def masked_language_model(kind: str, place: Path) -> Path:
    """Write a text model as published: without pooler, and with a head that is not used."""
    torch.manual_seed(0)
    shape = _SHAPE | _SPECIAL | {"max_position_embeddings": 40}
    if kind == "bert":
        BertForMaskedLM(BertConfig(**shape)).save_pretrained(place)
    else:
        XLMRobertaForMaskedLM(XLMRobertaConfig(**shape)).save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place
