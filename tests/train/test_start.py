import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clip_italian.errors import UserError
from clip_italian.train import start


def data(n=200, seed=0, noise=0.01):
    rng = torch.Generator().manual_seed(seed)
    texts = torch.randn(n, 6, generator=rng) * torch.tensor([5.0, 1, 1, 0.5, 0.2, 0.1]) + 3
    images = texts @ torch.randn(6, 10, generator=rng) + 2 + noise * torch.randn(n, 10, generator=rng)
    return images, texts, torch.arange(n)


def centre(features):
    mean = features.mean(0) / features.mean(0).norm()
    return (features - (features @ mean)[:, None] * mean).double().numpy()


def test_regression_equals_the_normal_equations():
    images, texts, owners = data()
    visual, textual = start.projections(images, texts, owners, 6, ridges=(0.7,))
    centred, targets = centre(images), normalize(texts @ textual.T, dim=1).double().numpy()
    moment = centred.T @ centred
    predicted = centred @ np.linalg.solve(moment + 0.7 * np.trace(moment) / 10 * np.eye(10), centred.T @ targets)
    ours = (images @ visual.T).double().numpy()
    assert np.allclose(ours, predicted / np.linalg.norm(predicted, axis=1).mean(), atol=1e-4)


def test_left_out_predictions_equal_refitting_without_the_row(monkeypatch):
    images, texts, owners = data(n=40, noise=1.0)
    seen = []
    monkeypatch.setattr(start, "_judge", lambda predictions, whitened, _: seen.append((predictions, whitened)) or 0.0)
    start.projections(images, texts, owners, 6, ridges=(0.5,))
    (predictions, targets) = (part.double().numpy() for part in seen[0])
    centred = centre(images)
    penalty = 0.5 * np.trace(centred.T @ centred) / 10 * np.eye(10)
    for row in range(40):
        others = np.arange(40) != row
        x, y = centred[others], targets[others]
        assert np.allclose(centred[row] @ np.linalg.solve(x.T @ x + penalty, x.T @ y), predictions[row], atol=1e-3)


def test_noisy_pictures_take_a_larger_ridge():
    def shrinkage(noise):
        images, texts, owners = data(noise=noise)
        visual, _ = start.projections(images, texts, owners, 6)
        for ridge in start.RIDGES:
            if torch.allclose(start.projections(images, texts, owners, 6, (ridge,))[0], visual):
                return ridge
        return None

    assert shrinkage(0.01) == min(start.RIDGES)
    assert shrinkage(30.0) > min(start.RIDGES)


def test_several_texts_of_a_picture_count_by_their_mean():
    images, texts, _ = data(n=100)
    owners = torch.arange(100).repeat_interleave(2)
    twice = start.projections(images, texts.repeat_interleave(2, 0), owners, 6, ridges=(1.0,))
    once = start.projections(images, texts, torch.arange(100), 6, ridges=(1.0,))
    assert torch.allclose(twice[0] @ images.T, once[0] @ images.T, atol=2e-2)


def test_new_rows_find_each_other():
    images, texts, owners = data()
    visual, textual = start.projections(images[:150], texts[:150], owners[:150], 8)
    scores = normalize(texts[150:] @ textual.T, dim=1) @ normalize(images[150:] @ visual.T, dim=1).T
    assert (scores.argmax(dim=1) == torch.arange(50)).float().mean() > 0.5


def test_too_small_a_space_is_refused():
    with pytest.raises(UserError, match="projection_dim is 4"):
        start.projections(*data(), dim=4)
