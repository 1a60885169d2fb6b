"""A converted open_clip checkpoint gives the output of the original modules.

The vision tower is written here with torch's layers, whose weights bear the names that open_clip's do;
open_clip's text tower is transformers' XLM-R with a masked mean and a projection.
"""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import XLMRobertaConfig, XLMRobertaModel

from clip_italian.config import Model
from clip_italian.errors import UserError
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder
from tests.conftest import draw_shape

WIDTH, HEAD, PATCH, SIDE, DIM = 48, 16, 8, 32, 20
VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>", "▁un", "▁gatto", "▁che", "▁dorme", "▁cerchio", "▁rosso", "<mask>"]
TEXTS = ["un gatto che dorme", "un cerchio"]


class Block(nn.Module):
    def __init__(self, quick):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, WIDTH // HEAD, batch_first=True)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(WIDTH, 64), c_proj=nn.Linear(64, WIDTH)))
        self.quick = quick

    def forward(self, states):
        normed = self.ln_1(states)
        states = states + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = self.mlp.c_fc(self.ln_2(states))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else nn.functional.gelu(hidden)
        return states + self.mlp.c_proj(hidden)


class Visual(nn.Module):
    def __init__(self, quick):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(1 + (SIDE // PATCH) ** 2, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList([Block(quick) for _ in range(3)])})
        self.proj = nn.Parameter(torch.randn(WIDTH, DIM))

    def forward(self, pixels):
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        states = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], dim=1)
        states = self.ln_pre(states + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            states = block(states)
        return self.ln_post(states[:, 0]) @ self.proj


class Text(nn.Module):
    def __init__(self, layers):
        super().__init__()
        config = XLMRobertaConfig(
            vocab_size=len(VOCABULARY), hidden_size=64, intermediate_size=32, num_hidden_layers=2, type_vocab_size=1,
            num_attention_heads=1, max_position_embeddings=90, layer_norm_eps=1e-5,
        )  # fmt: skip
        self.transformer = XLMRobertaModel._from_config(config, add_pooling_layer=False)
        hidden = (64 + DIM) // 2
        two = nn.Sequential(nn.Linear(64, hidden, bias=False), nn.GELU(), nn.Linear(hidden, DIM, bias=False))
        self.proj = two if layers == 2 else nn.Linear(64, DIM, bias=False)

    def forward(self, ids):
        mask = (ids != 1).long()
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
        return self.proj(states.sum(dim=1) / mask.sum(dim=1, keepdim=True))


class Reference(nn.Module):
    def __init__(self, quick, layers):
        super().__init__()
        self.visual, self.text = Visual(quick), Text(layers)
        self.logit_scale = nn.Parameter(torch.tensor(3.3))


def write(folder, reference, quick=False, **text):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir()
    text = {"hf_model_name": "xlm-roberta-base", "proj": "mlp", "pooler_type": "mean_pooler"} | text
    vision = {"image_size": SIDE, "patch_size": PATCH, "width": WIDTH, "layers": 3, "head_width": HEAD}
    config = {"embed_dim": DIM, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": text}
    settings = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    torch.save(reference.state_dict(), folder / "open_clip_pytorch_model.bin")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(("quick", "layers"), [(False, 2), (True, 1)])
def test_embeddings_equal_those_of_the_original_modules(tmp_path, quick, layers):
    torch.manual_seed(3)
    reference = Reference(quick, layers).eval()
    encoder = DualEncoder.load(write(tmp_path / "open", reference, quick))
    ids = [[0, 4, 5, 6, 7, 2], [0, 4, 8, 2, 1, 1]]
    assert encoder.tokenize(TEXTS)["input_ids"].tolist() == ids
    pictures = [
        draw_shape("cerchio", "red", 1).resize((SIDE, SIDE)),
        draw_shape("quadrato", "blue", 2).resize((SIDE, SIDE)),
    ]
    pixels = torch.tensor(np.stack([np.asarray(picture) for picture in pictures]) / 255).permute(0, 3, 1, 2)
    pixels = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    with torch.no_grad():
        texts = normalize(reference.text(torch.tensor(ids)), dim=1).numpy()
        images = normalize(reference.visual(pixels.float()), dim=1).numpy()
    assert np.allclose(encoder.encode_text(TEXTS), texts, atol=1e-5)
    assert np.allclose(encoder.encode_images(pictures), images, atol=1e-5)
    assert encoder.model.logit_scale.item() == pytest.approx(3.3)
    assert encoder.max_tokens == 77

    # As the base of a recipe, saved as a model folder.
    base = load_base(Model(base=str(tmp_path / "open"), start="kept", max_tokens=77))
    base.save(tmp_path / "ours")
    again = DualEncoder.load(tmp_path / "ours")
    assert np.allclose(again.encode_text(TEXTS), texts, atol=1e-5)
    assert np.allclose(again.encode_images(pictures), images, atol=1e-5)


def test_conversion_errors(tmp_path):
    torch.manual_seed(3)
    reference = Reference(False, 2)
    with pytest.raises(UserError, match="uses cls_pooler"):
        DualEncoder.load(write(tmp_path / "cls", reference, pooler_type="cls_pooler"))
    folder = write(tmp_path / "weightless", reference)
    (folder / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="weights are missing"):
        DualEncoder.load(folder)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        DualEncoder.load(write(tmp_path / "other", reference, hf_model_name="roberta-base"))
