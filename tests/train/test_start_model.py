import copy

import pytest
import torch
from transformers import EfficientNetConfig, EfficientNetModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from clip_italian.errors import UsageError
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.landmark_efficientnet import LandmarkEfficientNetModel
from clip_italian.train import start

FEATURES = 320
NAMES = ("cerchio rosso", "quadrato blu", "triangolo verde")


@pytest.fixture
def encoder(tiny_encoder):
    """The tiny encoder with an EfficientNet."""
    torch.manual_seed(0)
    vision = EfficientNetModel(
        EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=0.3, image_size=32, hidden_dim=FEATURES, hidden_size=FEATURES
        )
    ).eval()
    text = tiny_encoder.model.text_model
    config = VisionTextDualEncoderConfig(vision_config=vision.config, text_config=text.config, projection_dim=40)
    model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text).eval()
    return DualEncoder(model.requires_grad_(False), tiny_encoder.tokenizer, tiny_encoder.image_processor)


@pytest.fixture
def classifier(monkeypatch):
    torch.manual_seed(1)
    weights = torch.randn(3, FEATURES), torch.randn(3)
    monkeypatch.setattr(mini, "classifier", lambda: weights)
    return weights


def fitted(encoder, most, names=()):
    """The encoder with a head and a start from 60 random pictures and texts, and those."""
    rng = torch.Generator().manual_seed(2)
    images = torch.randn(60, FEATURES, generator=rng).abs()
    width = encoder.model.text_projection.in_features
    texts = images[:, :width] + 0.1 * torch.randn(60, width, generator=rng)
    rows = torch.arange(60)
    described = start.set_head(encoder, images, most, bool(names), rng)
    start.set_projections(encoder, described, texts, rows, rows, names)
    return images, described, texts


def test_landmarks_are_the_training_pictures_or_some_of_them(encoder):
    few = copy.deepcopy(encoder)
    fitted(encoder, most=4096)
    fitted(few, most=20)
    assert encoder.model.vision_model.head.landmarks.weight.shape == (60, FEATURES)
    chosen = few.model.vision_model.head.landmarks.weight
    assert chosen.shape == (20, FEATURES)
    assert len(chosen.unique(dim=0)) == 20


def test_without_classes_the_model_is_kernel_ridge_regression(encoder):
    _, described, texts = fitted(encoder, most=4096)
    targets = torch.nn.functional.normalize(texts @ encoder.model.text_projection.weight.T, dim=1).double()
    kernel = described.double()
    ours = (described @ encoder.model.visual_projection.weight.T).double()
    # Kernel ridge predictions at some ridge, up to one scale; a small constant part is projected out.
    errors = []
    for ridge in torch.linspace(0.2, 25, 400, dtype=torch.float64):
        expected = kernel @ torch.linalg.solve(kernel + ridge * torch.eye(60), targets)
        scale = (ours * expected).sum() / ours.square().sum()
        errors.append(((scale * ours - expected).norm() / expected.norm()).item())
    assert min(errors) < 0.05


def test_class_names_get_the_class_columns_of_the_projection(encoder, classifier):
    images, described, _ = fitted(encoder, most=4096, names=NAMES)
    assert described.shape == (60, 63)
    logits = images @ classifier[0].T + classifier[1]
    assert torch.allclose(described[:, 60:], torch.softmax(logits, dim=1), atol=1e-6)
    assert encoder.model.visual_projection.weight.shape == (40, 63)
    assert encoder.model.vision_model.head.temperature in start.TEMPERATURES
    # The trained model answers through stock transformers' forward pass.
    vectors = encoder.model.get_image_features(torch.rand(2, 3, 32, 32)).pooler_output
    assert vectors.shape == (2, 40)
    assert torch.isfinite(vectors).all()


def test_a_tower_without_room_for_a_head_is_refused(encoder):
    fitted(encoder, most=10)
    assert isinstance(encoder.model.vision_model, LandmarkEfficientNetModel)
    with pytest.raises(UsageError, match="vision tower is a LandmarkEfficientNetModel; set it to 0"):
        fitted(encoder, most=10)
