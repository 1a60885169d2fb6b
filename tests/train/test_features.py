from dataclasses import replace

import pyarrow as pa
import pytest
import torch
from transformers import EfficientNetConfig, EfficientNetModel

from clip_italian.config import Augmentation
from clip_italian.models_torch.cut import cut
from clip_italian.models_torch.mean_pooled import MeanPooledBertConfig, MeanPooledBertModel
from clip_italian.pairs import read
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.train import features
from clip_italian.train.features import keep_images, keep_texts
from clip_italian.train.pictures import Augment, FilePictures

SETTINGS = Augmentation()
ROWS = torch.tensor([5, 0, 53, 7, 8, 9, 10, 11, 12, 13])
TEXTS = pa.array(["un cerchio rosso", "una foto di un gatto che dorme", "un", "un quadrato blu", ""] * 30)


@pytest.fixture
def encoder(tiny_encoder):
    tiny_encoder.model.requires_grad_(False)
    return tiny_encoder


@pytest.fixture
def paths(shapes):
    return [shapes.parent / pair.image for pair in read(shapes)]


def kept(encoder, paths, rows=ROWS, view=0, settings=SETTINGS, dtype=torch.float32, seen=None, workers=0, trainable=()):
    progress = seen.append if seen is not None else lambda _: None
    return keep_images(
        cut(encoder.parts.vision, trainable),
        encoder,
        FilePictures(paths),
        rows,
        view,
        settings,
        dtype,
        progress,
        workers,
    )


def pixels_of(encoder, paths):
    return torch.stack([encoder.preprocess(open_picture(path)) for path in paths])


def test_the_plain_view_is_what_the_tower_makes_of_the_pictures(encoder, paths, cache):
    store = kept(encoder, paths)
    with torch.no_grad():
        expected = encoder.parts.vision(pixel_values=pixels_of(encoder, [paths[row] for row in ROWS])).pooler_output
    assert torch.allclose(store.take(torch.arange(10))["pooled"], expected, atol=1e-5)


def test_another_view_is_distorted_by_its_own_seed(encoder, paths, cache):
    augment = Augment(SETTINGS, encoder.image_processor, seed=2)
    plain = pixels_of(encoder, [paths[row] for row in ROWS])
    with torch.no_grad():
        distorted = torch.cat([augment(part) for part in plain.split(4)])
        expected = encoder.parts.vision(pixel_values=distorted).pooler_output
    assert torch.allclose(kept(encoder, paths, view=2).take(torch.arange(10))["pooled"], expected, atol=1e-4)


def test_what_is_kept_is_found_again_unless_something_changed(encoder, paths, cache, monkeypatch):
    first = kept(encoder, paths, view=1).take(torch.arange(10))["pooled"]
    with monkeypatch.context() as patch:
        patch.setattr(features, "Decode", None)
        seen = []
        assert torch.equal(kept(encoder, paths, view=1, seen=seen).take(torch.arange(10))["pooled"], first)
        assert sum(seen) == 10
        for change in (
            {"view": 0}, {"view": 2}, {"settings": Augmentation(degrees=3)}, {"rows": ROWS[:9]},
            {"dtype": torch.bfloat16},
        ):  # fmt: skip
            with pytest.raises(TypeError):
                kept(encoder, paths, **{"view": 1} | change)
        with torch.no_grad():
            next(encoder.parts.vision.parameters()).add_(1)
        with pytest.raises(TypeError):
            kept(encoder, paths, view=1)
    paths[5].write_bytes(paths[0].read_bytes())
    assert not torch.equal(kept(encoder, paths, view=1).take(torch.arange(10))["pooled"], first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same(encoder, paths, cache, monkeypatch, workers):
    monkeypatch.setattr(features, "_SAVE_EVERY", 4)
    whole = kept(encoder, paths, view=1).take(torch.arange(10))["pooled"]
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(cache.parent / "other"))

    def killed(done):
        if done:
            raise KeyboardInterrupt

    cut_here = cut(encoder.parts.vision, ())
    with pytest.raises(KeyboardInterrupt):
        keep_images(cut_here, encoder, FilePictures(paths), ROWS, 1, SETTINGS, torch.float32, killed, workers)
    assert [path.suffix for path in (cache.parent / "other" / "features").iterdir()] == [".partial"]
    seen = []
    again = kept(encoder, paths, view=1, seen=seen, workers=workers)
    assert torch.equal(again.take(torch.arange(10))["pooled"], whole)
    assert seen == [4, 4, 2]  # the first four were there


def test_an_unreadable_picture_is_named(encoder, paths, cache):
    paths[53].write_bytes(b"?")
    with pytest.raises(PictureError, match=paths[53].name):
        kept(encoder, paths)


def test_maps_below_trainable_blocks_go_through_the_tail(encoder, paths, cache):
    torch.manual_seed(0)
    config = EfficientNetConfig(
        width_coefficient=0.25, depth_coefficient=0.3, image_size=32, hidden_dim=320, hidden_size=320
    )
    tower = EfficientNetModel(config).eval()
    encoder.model.vision_model = tower
    trainable = ["encoder.top_conv.weight"]
    parts = cut(tower, trainable)
    store = kept(encoder, paths, trainable=trainable)
    assert store.take(torch.tensor([0]))["maps"].dtype == torch.float16
    with torch.no_grad():
        expected = tower(pixel_values=pixels_of(encoder, [paths[53]])).pooler_output
        assert torch.allclose(parts.tail(store.take(torch.tensor([2]))), expected, atol=5e-3, rtol=1e-2)


def test_texts_are_what_the_tower_makes_of_them(encoder, cache):
    store = keep_texts(cut(encoder.parts.text, ()), encoder, TEXTS, torch.float32, lambda _: None)
    rows = torch.tensor([149, 1, 0, 7])
    with torch.no_grad():
        expected = encoder.parts.text(**encoder.tokenize([TEXTS[row].as_py() for row in rows.tolist()])).pooler_output
    assert torch.allclose(store.take(rows)["pooled"], expected, atol=1e-5)


def test_token_states_below_trainable_layers_go_through_the_tail(encoder, cache, monkeypatch):
    torch.manual_seed(0)
    config = MeanPooledBertConfig(
        vocab_size=len(encoder.tokenizer), hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    tower = MeanPooledBertModel(config).eval()
    encoder.model.text_model = tower
    parts = cut(tower, [name for name, _ in tower.named_parameters() if name.startswith("encoder.layer.2.")])
    monkeypatch.setattr(features, "_SAVE_EVERY", 64)

    def killed(done):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_texts(parts, encoder, TEXTS, torch.float32, killed)
    seen = []
    store = keep_texts(parts, encoder, TEXTS, torch.float32, seen.append)
    assert seen == [64, 64, 22]
    rows = torch.tensor([149, 1, 0, 7, 2])
    taken = store.take(rows)
    assert taken["mask"].shape == (5, 9)
    with torch.no_grad():
        expected = tower(**encoder.tokenize([TEXTS[row].as_py() for row in rows.tolist()])).pooler_output
        assert torch.allclose(parts.tail(taken), expected, atol=1e-5)
    assert store.arrays["states"].shape[0] == sum(
        int(encoder.tokenize([text])["attention_mask"].sum()) for text in TEXTS.to_pylist()
    )
    found = keep_texts(replace(parts, trunk=lambda _: {}), encoder, TEXTS, torch.float32, lambda _: None)
    assert torch.equal(found.take(rows)["states"], taken["states"])
