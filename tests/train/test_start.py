import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clip_italian.errors import UserError
from clip_italian.evaluate import ranks
from clip_italian.train import start
from clip_italian.train.start import Guess


def data(n=200, seed=0, noise=0.01):
    rng = torch.Generator().manual_seed(seed)
    texts = torch.randn(n, 6, generator=rng) * torch.tensor([5.0, 1, 1, 0.5, 0.2, 0.1]) + 3
    images = texts @ torch.randn(6, 10, generator=rng) + 2 + noise * torch.randn(n, 10, generator=rng)
    return images, texts, torch.arange(n), torch.arange(n)


def centre(features):
    mean = features.mean(0) / features.mean(0).norm()
    return (features - (features @ mean)[:, None] * mean).double().numpy()


def ridge(x, y, strength):
    moment = x.T @ x
    return np.linalg.solve(moment + strength * np.trace(moment) / len(moment) * np.eye(len(moment)), x.T @ y)


def test_regression_equals_the_normal_equations():
    images, texts, owners, groups = data()
    found = start.fit_projections(images, texts, owners, groups, 6, ridges=(0.7,))
    centred, targets = centre(images), normalize(texts @ found.text.T, dim=1).double().numpy()
    predicted = centred @ ridge(centred, targets, 0.7)
    ours = (images @ found.visual.T).double().numpy()
    assert np.allclose(ours, predicted / np.linalg.norm(predicted, axis=1).mean(), atol=1e-4)
    assert found.classes.shape == (6, 0)


def test_left_out_predictions_equal_refitting_on_the_other_folds():
    images, texts, *_ = data(n=60, noise=1.0)
    folds = [torch.arange(0, 20), torch.arange(20, 60)]
    ((strength, predictions),) = start._left_out(images, texts, folds, [0.5])
    for inside, outside in (folds, folds[::-1]):
        weights = ridge(images[outside].double().numpy(), texts[outside].double().numpy(), strength)
        assert np.allclose(images[inside].double().numpy() @ weights, predictions[inside].numpy(), atol=2e-3)


def test_folds_keep_identities_together_and_hold_every_row_once():
    groups = torch.tensor([7, 7, 3, 9, 9, 9, 1, 0, 2, 4, 5])
    folds = start._folds(groups)
    assert sorted(torch.cat(folds).tolist()) == list(range(len(groups)))
    for fold in folds:
        rest = torch.tensor([row for row in range(len(groups)) if row not in fold.tolist()])
        assert not set(groups[fold].tolist()) & set(groups[rest].tolist())


def test_noisy_pictures_take_a_larger_ridge():
    def strength(noise):
        images, texts, owners, groups = data(noise=noise)
        visual = start.fit_projections(images, texts, owners, groups, 6).visual
        for candidate in start.RIDGES:
            alone = start.fit_projections(images, texts, owners, groups, 6, ridges=(candidate,))
            if torch.allclose(alone.visual, visual):
                return candidate
        return None

    assert strength(0.01) == min(start.RIDGES)
    assert strength(30.0) > min(start.RIDGES)


def test_several_texts_of_a_picture_count_by_their_mean():
    images, texts, owners, groups = data(n=100)
    twice = start.fit_projections(
        images, texts.repeat_interleave(2, 0), owners.repeat_interleave(2), groups, 6, ridges=(1.0,)
    )
    once = start.fit_projections(images, texts, owners, groups, 6, ridges=(1.0,))
    assert torch.allclose(twice.visual @ images.T, once.visual @ images.T, atol=2e-2)


def test_new_rows_find_each_other():
    images, texts, owners, groups = data()
    found = start.fit_projections(images[:150], texts[:150], owners[:150], groups[:150], 8)
    scores = normalize(texts[150:] @ found.text.T, dim=1) @ normalize(images[150:] @ found.visual.T, dim=1).T
    assert (scores.argmax(dim=1) == torch.arange(50)).float().mean() > 0.5


def classified(trust, noise=0.0, n=300, classes=40):
    """Pictures and a classifier that is right as often as `trust` says; without `noise`, features say nothing."""
    rng = torch.Generator().manual_seed(0)
    names = torch.randn(classes, 6, generator=rng) + 1
    shown = torch.randint(classes, (n,), generator=rng)
    told = torch.where(torch.rand(n, generator=rng) < trust, shown, torch.randint(classes, (n,), generator=rng))
    texts = names[shown] + 0.3 * torch.randn(n, 6, generator=rng)
    logits = torch.full((n, classes), -4.0).scatter(1, told.unsqueeze(1), 4.0)
    images = torch.randn(n, 10, generator=rng)
    if noise:
        images = texts @ torch.randn(6, 10, generator=rng) + noise * images
    return images, texts, shown, logits, names


def test_a_classifier_that_knows_is_believed():
    images, texts, groups, logits, names = classified(trust=1.0)
    found = start.fit_projections(images, texts, torch.arange(300), groups, 6, Guess(logits, names))
    embeddings = images @ found.visual.T + torch.softmax(logits / found.temperature, 1) @ found.classes.T
    right = [(groups == group).nonzero().squeeze(1).tolist() for group in groups]
    gallery, queries = normalize(embeddings, dim=1), normalize(texts @ found.text.T, dim=1)
    assert ranks.mrr(ranks.ranks(queries.numpy(), gallery.numpy(), right), 10) > 0.6


def test_a_classifier_that_does_not_know_is_not_believed_where_features_say_something():
    images, texts, _, logits, names = classified(trust=0.0, noise=0.5)
    rows = torch.arange(300)
    found = start.fit_projections(images, texts, rows, rows, 6, Guess(logits, names))
    guessed = torch.softmax(logits / found.temperature, 1) @ found.classes.T
    assert guessed.norm(dim=1).mean() < 0.2


def test_the_guess_has_no_mean_and_the_regression_fits_what_it_leaves_over():
    images, texts, groups, logits, names = classified(0.8)
    found = start.fit_projections(images, texts, torch.arange(300), groups, 6, Guess(logits, names), ridges=(1.2,))
    guessed = torch.softmax(logits / found.temperature, dim=1) @ found.classes.T
    assert guessed.mean(0).abs().max() < 1e-5
    targets = normalize(texts @ found.text.T, dim=1)
    # The scale common to both parts is what makes rows about unit long.
    embeddings = guessed + images @ found.visual.T
    assert embeddings.norm(dim=1).mean() == pytest.approx(1.0, abs=1e-4)
    centred = centre(images)
    for scale in np.linspace(0.2, 5, 2000):
        expected = centred @ ridge(centred, targets.double().numpy() - scale * guessed.double().numpy(), 1.2)
        if np.allclose(scale * (images @ found.visual.T).numpy(), expected, atol=5e-3):
            return
    pytest.fail("no common scale makes the regression fit what the guess leaves over")


def test_too_small_a_space_is_refused():
    with pytest.raises(UserError, match="projection_dim is 4"):
        start.fit_projections(*data(), dim=4)
