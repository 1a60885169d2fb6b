import subprocess
import sys

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, EfficientNetConfig, EfficientNetModel

from clip_italian.models_torch.cut import cut
from clip_italian.models_torch.landmark_efficientnet import (
    Head,
    LandmarkEfficientNetConfig,
    LandmarkEfficientNetModel,
    Landmarks,
)

SHAPE = {
    "width_coefficient": 0.25, "depth_coefficient": 0.3, "image_size": 32, "hidden_dim": 320, "hidden_act": "relu6",
}  # fmt: skip
PIXELS = {"pixel_values": torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


def filled(count=7, features=320):
    torch.manual_seed(0)
    layer = Landmarks(count, features, sharpness=2.5)
    layer.centre.data.normal_()
    layer.weight.data = torch.nn.functional.normalize(torch.randn(count, features), dim=1)
    return layer


def tower():
    torch.manual_seed(0)
    model = LandmarkEfficientNetModel(LandmarkEfficientNetConfig(**SHAPE, hidden_size=12, classes=5)).eval()
    model.head.landmarks = filled()
    return model


def test_similarity_is_a_gaussian_of_the_distance():
    layer, rows = filled(5, 8), torch.randn(4, 8)
    seen = (rows - layer.centre).detach().double().numpy()
    unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    distance = ((unit[:, None] - layer.weight.detach().double().numpy()[None]) ** 2).sum(-1)
    assert np.allclose(layer(rows).detach().numpy(), np.exp(-1.25 * distance), atol=1e-5)


def test_class_probabilities_follow_the_similarities():
    head, rows = Head(4, 3, 8, sharpness=2.5), torch.randn(5, 8)
    head.temperature.data.fill_(2.0)
    described = head(rows).detach().numpy()
    logits = rows.numpy() @ head.classifier.weight.detach().numpy().T + head.classifier.bias.detach().numpy()
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    assert np.allclose(described[:, 4:], expected, atol=1e-6)
    assert np.array_equal(described[:, :4], head.landmarks(rows).detach().numpy())
    assert Head(4, 0, 8, sharpness=2.5)(rows).shape == (5, 4)


def test_ridge_in_the_penalty_roots_basis_is_kernel_ridge_regression():
    layer = filled(30, 12)
    rows = layer.weight.detach() + layer.centre.detach()
    targets = torch.randn(30, 3).double().numpy()
    kernel = layer(rows).detach().double().numpy()
    basis = layer.penalty_root().double().numpy()
    features = kernel @ basis
    ours = features @ np.linalg.solve(features.T @ features + 0.6 * np.eye(30), features.T @ targets)
    assert np.allclose(ours, kernel @ np.linalg.solve(kernel + 0.6 * np.eye(30), targets), atol=5e-3)


def test_equal_landmarks_are_allowed():
    layer = filled(4, 12)
    layer.weight.data = layer.weight[:1].repeat(4, 1)
    assert torch.isfinite(layer.penalty_root()).all()


def test_below_the_head_the_tower_is_unchanged():
    model = tower()
    stock = EfficientNetModel(EfficientNetConfig(**SHAPE, hidden_size=320)).eval()
    stock.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("head.")})
    with torch.no_grad():
        assert torch.equal(model.head(stock(**PIXELS).pooler_output), model(**PIXELS).pooler_output)


def test_plain_transformers_loads_it(tmp_path):
    model = tower()
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).hidden_size == 12
    with torch.no_grad():
        assert torch.equal(
            AutoModel.from_pretrained(tmp_path).eval()(**PIXELS).pooler_output, model(**PIXELS).pooler_output
        )


def test_a_fresh_process_that_uses_the_package_knows_it(tmp_path):
    tower().save_pretrained(tmp_path)
    load = (
        "from clip_italian import DualEncoder; import transformers; "
        f"print(type(transformers.AutoModel.from_pretrained({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=False)
    assert "LandmarkEfficientNetModel" in done.stdout, done.stderr


def test_cut_caches_the_features_below_the_head():
    model = tower()
    for trainable, name in ((("never",), "pooled"), (("encoder.top_",), "block 8")):
        parts = cut(model, [one for one, _ in model.named_parameters() if one.startswith(trainable)])
        assert parts.name == name
        kept = parts.trunk(PIXELS)
        with torch.no_grad():
            assert torch.allclose(parts.tail(kept), model(**PIXELS).pooler_output, atol=5e-3, rtol=1e-2)
