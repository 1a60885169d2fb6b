import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import EfficientNetConfig, EfficientNetModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.bridge import TEMPERATURE, bridge
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import join
from clip_italian.train import start
from tests.conftest import COLOURS, SHAPES, draw_shape, tiny_bert, tiny_tokenizer

NAMES = [f"un {shape} {colour}" for shape in SHAPES for colour in COLOURS] + ["un gatto che dorme", "una foto"]
PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2), Image.new("RGB", (40, 40), "white")]


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    shape = {"width_coefficient": 0.25, "depth_coefficient": 0.3, "image_size": 32}
    vision = EfficientNetModel(EfficientNetConfig(**shape, hidden_dim=320, hidden_size=320))
    for layer in vision.modules():  # started as usual, or all features are 0
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    vision.train()(torch.rand(8, 3, 32, 32))
    processor = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    model = join(vision, tiny_bert(hidden_size=16, layers=1), 24, 3.0)
    DualEncoder(model, tiny_tokenizer(), processor).save(tmp_path / "base")
    return DualEncoder.load(tmp_path / "base")


def test_pictures_are_their_classes_names_by_probability(tmp_path, base):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        pixels = torch.stack([base.preprocess(picture) for picture in PICTURES])
        features = base.parts.vision(pixels).pooler_output.double().numpy()
        # Features of a random tower hardly differ; the classifier makes classes of what does.
        weight = torch.randn(len(NAMES), 320, generator=generator) / float(features.std(axis=0).max())
        bias = -weight @ torch.tensor(features.mean(axis=0)).float()
        named = [base.parts.text(**base.tokenize([name])).pooler_output[0] for name in NAMES]
        names = torch.stack(named).double().numpy()
    # Whitening by numpy: no mean direction, variances evened out by the power that the closed form uses.
    variances, axes = np.linalg.eigh(np.cov(names.T))
    common = names.mean(0) / np.linalg.norm(names.mean(0))
    stretch = (variances.clip(0) + start.FLOOR * variances.clip(0).mean()) ** (-start.POWER / 2)
    even = axes @ np.diag(stretch) @ axes.T @ (np.eye(16) - np.outer(common, common))
    targets = names @ even.T
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    logits = (features @ weight.T.double().numpy() + bias.double().numpy()) / TEMPERATURE
    shares = np.exp(logits - logits.max(1, keepdims=True))
    assert len(set(logits.argmax(axis=1).tolist())) == 3
    expected = (shares / shares.sum(1, keepdims=True)) @ targets

    made = bridge(base, (weight, bias), NAMES)
    for encoder in (made, saved(made, tmp_path / "bridge")):
        assert encoder.dim == 16
        images = encoder.encode_images(PICTURES)
        assert np.allclose(images, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)
        assert np.allclose(encoder.encode_text(NAMES), targets, atol=1e-3)


def saved(encoder, folder):
    encoder.save(folder)
    return DualEncoder.load(folder)
