"""The figures against three other ways to compute them, each written here from its definition."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clip_italian.evaluate import retrieval
from clip_italian.pairs import Pair


def world(images, most_captions, seed, dim=6):
    """Random pictures with one to some captions each: embeddings, and the retrieval set of all captions."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most_captions + 1, images)
    pairs = [Pair(str(i), f"{i}.png", tuple(f"{i} {c}" for c in range(count)), "x") for i, count in enumerate(counts)]
    pictures = rng.normal(size=(images, dim))
    captions = np.repeat(pictures, counts, 0) + rng.normal(size=(counts.sum(), dim))
    pictures, captions = pictures.astype(np.float32), captions.astype(np.float32)
    data = retrieval.retrieval_set(pairs, merge=False)
    assume(is_clear(captions, pictures, data.images_of) and is_clear(pictures, captions, data.captions_of))
    return pictures, captions, data


def is_clear(queries, gallery, relevant):
    """No wrong answer is as near as a right one within rounding: sums in another order may rank those either way."""
    queries, gallery = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries.astype(float), gallery.astype(float))
    )
    for scores, right in zip(queries @ gallery.T, relevant, strict=True):
        wrong = np.delete(scores, list(right))
        if wrong.size and np.abs(wrong[:, None] - scores[list(right)]).min() < 1e-6:
            return False
    return True


def numpy_reference(queries, gallery, relevant, ks=(1, 5, 10, 50, 100)):
    queries, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery))
    found = []
    for scores, right in zip(queries @ gallery.T, relevant, strict=True):
        order = np.argsort(-scores, kind="stable").tolist()
        first = min(order.index(answer) for answer in right)
        found.append(1 + first)
    found = np.array(found)
    figures = {f"R@{k}": np.mean(found <= k) for k in ks}
    figures |= {f"MRR@{k}": np.mean([1 / rank if rank <= k else 0 for rank in found]) for k in (1, 5, 10)}
    return figures | {"median_rank": np.median(found), "mean_rank": np.mean(found)}


def original_mrr(captions, images, image_of, k):
    """The original project's: search with each caption; 1/rank if its picture is among the first k, else 0."""
    captions, images = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (captions, images))
    total = 0.0
    for caption, wanted in zip(captions, image_of, strict=True):
        hits = np.argsort(images @ caption)[::-1][:k]
        for place, hit in enumerate(hits, start=1):
            if hit == wanted:
                total += 1 / place
    return total / len(captions)


def benchmark_recall(scores, positives, k):
    """CLIP_benchmark's: the share of rows with at least one of their positives among the k best scores."""
    best = torch.topk(scores, min(k, scores.shape[1]), dim=1).indices
    return positives.gather(1, best).any(dim=1).float().mean().item()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6))
def test_the_numpy_reference(images, most_captions, seed):
    pictures, captions, data = world(images, most_captions, seed)
    figures = retrieval.evaluate(pictures, captions, data)
    for name, value in numpy_reference(captions, pictures, data.images_of).items():
        assert figures["text_to_image"][name] == pytest.approx(value), name
    for name, value in numpy_reference(pictures, captions, data.captions_of).items():
        assert figures["image_to_text"][name] == pytest.approx(value), name


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6))
def test_the_original_projects_mrr(images, most_captions, seed):
    pictures, captions, data = world(images, most_captions, seed)
    figures = retrieval.evaluate(pictures, captions, data)["text_to_image"]
    owner = [rows[0] for rows in data.images_of]
    for k in (1, 5, 10):
        assert figures[f"MRR@{k}"] == pytest.approx(original_mrr(captions, pictures, owner, k))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6))
def test_clip_benchmarks_recall(images, most_captions, seed):
    pictures, captions, data = world(images, most_captions, seed)
    figures = retrieval.evaluate(pictures, captions, data)
    unit_pictures, unit_captions = (torch.nn.functional.normalize(torch.tensor(x), dim=1) for x in (pictures, captions))
    scores = unit_captions @ unit_pictures.T
    positives = torch.zeros_like(scores, dtype=torch.bool)
    for caption, rows in enumerate(data.images_of):
        positives[caption, list(rows)] = True
    for k in (1, 5, 10, 50, 100):
        assert figures["text_to_image"][f"R@{k}"] == pytest.approx(benchmark_recall(scores, positives, k))
        assert figures["image_to_text"][f"R@{k}"] == pytest.approx(benchmark_recall(scores.T, positives.T, k))
