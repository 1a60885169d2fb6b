import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import EfficientNetConfig, EfficientNetModel
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

from clip_italian import languages
from clip_italian.export import onnx
from clip_italian.export.parity import Sample
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import join
from clip_italian.search import locate
from clip_italian.search.locate import (
    LEVELS,
    MAP_SCALES,
    Windows,
    crop,
    mean_side,
    means,
    paint,
    squares,
    windows_of_crops,
    windows_of_map,
)
from tests.conftest import tiny_bert, tiny_tokenizer

IT = languages.get("it")


@pytest.fixture
def with_maps():
    """A random EfficientNet and BERT: its tower takes 64 pixels, that is maps of 2 x 2."""
    torch.manual_seed(0)
    vision = EfficientNetModel(
        EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=0.25, image_size=64, hidden_dim=320, hidden_size=320,
            # One block of each size of map, instead of seven: torch takes a second to export one.
            kernel_sizes=[3, 5, 3, 5], strides=[2, 2, 2, 2], in_channels=[32, 24, 40, 80],
            out_channels=[24, 40, 80, 320], num_block_repeats=[1, 1, 1, 1], expand_ratios=[1, 6, 6, 6],
        )
    )  # fmt: skip
    # Else nothing of a picture comes through a random tower.
    for module in vision.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        vision.train()(torch.randn(8, 3, 64, 64))
    processor = EfficientNetImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False, include_top=False)
    return DualEncoder(join(vision.eval(), tiny_bert(24, 1), 16, 3.0), tiny_tokenizer(), processor)


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([share for share, _ in LEVELS]))
@settings(max_examples=60, deadline=None)
def test_squares_cover_the_picture_and_are_few(width, height, share):
    boxes = squares((width, height), share)
    pixels = boxes * (width, height, width, height)
    side = share * mean_side((width, height))
    assert np.allclose(pixels[:, 2:] - pixels[:, :2], side)
    # Every point lies in one: edges are reached, and neighbours overlap by half or more.
    assert pixels[:, :2].min(axis=0) == pytest.approx(np.minimum(0, np.subtract((width, height), side) / 2))
    assert (pixels[:, 2:].max(axis=0) >= np.subtract((width, height), 1e-6)).all()
    for places in (np.unique(pixels[:, 0].round(6)), np.unique(pixels[:, 1].round(6))):
        assert (np.diff(places) <= side / 2 + 1e-5).all()
    if share == LEVELS[0][0]:
        assert len(boxes) <= 18


def test_all_crops_are_a_fifth_of_the_cells_at_most():
    assert 18 + sum(most for _, most in LEVELS[1:]) <= 16 * 12 / 5


def test_a_crop_beyond_the_picture_has_its_mean_colour():
    picture = Image.new("RGB", (10, 4), (200, 0, 0))
    picture.paste((0, 0, 0), (0, 0, 5, 4))
    cut = np.asarray(crop(picture, np.array([0, -0.5, 1, 1.5])))
    assert cut.shape == (8, 10, 3)
    assert (cut[:2] == (100, 0, 0)).all()
    assert (cut[2:6] == np.asarray(picture)).all()
    assert np.asarray(crop(picture, np.array([0.5, 0, 1, 1]))).tolist() == [[[200, 0, 0]] * 5] * 4


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_painting_is_the_weighted_mean_of_windows(data):
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    left, top = st.integers(0, columns - 1), st.integers(0, rows - 1)
    edge = st.tuples(left, top, left, top).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
    )
    boxes = data.draw(st.lists(edge, min_size=1, max_size=8))
    scores = data.draw(st.lists(st.floats(-1, 1), min_size=len(boxes), max_size=len(boxes)))
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=len(boxes), max_size=len(boxes)))
    shares = np.array(boxes) / (columns, rows, columns, rows)
    painted = paint(Windows(shares, np.array(scores), np.array(weights), 1), (rows, columns), 0.3)
    for row in range(rows):
        for column in range(columns):
            over = [
                (score, weight)
                for b, score, weight in zip(boxes, scores, weights, strict=True)
                if b[0] <= column < b[2] and b[1] <= row < b[3]
            ]
            over.append((0.3, max(0, 1 - sum(weight for _, weight in over))))
            expected = sum(s * w for s, w in over) / sum(w for _, w in over)
            assert painted[row, column] == pytest.approx(expected, abs=1e-6)


def test_means_over_boxes():
    grid = np.arange(12.0).reshape(3, 4)
    found = means(grid, np.array([[0, 0, 1, 1], [0.5, 1 / 3, 1, 1], [0, 0, 0.25, 1 / 3], [-1, -1, 2, 2]]))
    assert found.tolist() == [5.5, np.mean([6, 7, 10, 11]), 0, 5.5]


def test_windows_of_maps_are_pooled_by_the_tower_itself(with_maps):
    picture = noise(64, 64)
    direction = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    # At its own size the largest window is the whole map, which is what the model itself takes the mean of.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locate, "MAP_SCALES", (1.0,))
        (found,) = windows_of_map(with_maps, picture, direction)
    assert found.encoded == 1
    assert np.ptp(found.scores) > 1e-3
    assert found.boxes[:4].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    whole = found.scores[[box == [0, 0, 1, 1] for box in found.boxes.tolist()]]
    assert whole == pytest.approx((with_maps.encode_images([picture]) @ direction).repeat(len(whole)), abs=1e-4)
    # A cell by hand: its column of features, through the projection, to unit length.
    column = with_maps.last_map(picture, 64, 64)[:, 1, 0]
    with torch.inference_mode():
        embedded = with_maps.parts.visual_projection(column)
    assert found.scores[2] == pytest.approx(float(embedded @ torch.tensor(direction) / embedded.norm()), abs=1e-4)


def test_maps_keep_the_shape_of_the_picture_and_cost_the_same(with_maps):
    for size in ((640, 480), (300, 900), (50, 50), (400, 100)):
        found = list(windows_of_map(with_maps, noise(*size), np.ones(16)))
        for part, scale in zip(found, MAP_SCALES, strict=True):
            assert part.encoded == pytest.approx(scale**2, rel=0.5)
            assert part.boxes.min() == 0
            assert part.boxes.max() == 1
            assert len(part.boxes) == len(part.scores)


def test_later_crops_lie_where_the_heat_is(tiny_encoder):
    def heat(found):
        assert found
        grid = np.zeros((12, 16))
        grid[:, 8:] = 1
        return grid

    levels = list(windows_of_crops(tiny_encoder, noise(640, 480), np.ones(24), heat))
    assert [len(level.boxes) for level in levels[1:]] == [most for _, most in LEVELS[1:]]
    for level in levels[1:]:
        assert (level.boxes[:, 0] > 0.3).all()
    first = crop(noise(640, 480), levels[0].boxes[0])
    assert levels[0].scores[0] == pytest.approx(float(tiny_encoder.encode_images([first])[0].sum()), abs=1e-5)


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (3, 3), (1, 3)])
def test_thin_pictures_have_maps_of_their_colours(size, with_maps):
    red = Image.new("RGB", size, (250, 10, 10))
    for part in windows_of_map(with_maps, red, np.ones(16)):
        assert np.isfinite(part.scores).all()
    small = with_maps.last_map(Image.new("RGB", (640, 480), (250, 10, 10)), 64, 64)
    assert torch.allclose(with_maps.last_map(red, 64, 64), small, atol=1e-4)
    assert np.allclose(
        with_maps.encode_images([red]), with_maps.encode_images([Image.new("RGB", (64, 64), (250, 10, 10))]), atol=1e-4
    )


def test_exported_graphs_find_the_same_windows_without_torch(with_maps, tmp_path, monkeypatch):
    with_maps.save(tmp_path / "model")
    encoder = DualEncoder.load(tmp_path / "model")
    onnx.export(onnx.Source(encoder, "tiny", Sample.of(IT)), tmp_path / "onnx")
    found = OnnxEncoder.load(tmp_path / "onnx")
    assert found.maps is found and found.image_size == encoder.image_size == 64
    for width, height in ((64, 64), (128, 64), (96, 160)):
        shapes, windows = encoder.embed_windows(noise(90, 70), width, height, (1, 2, 4))
        ours, pooled = found.embed_windows(noise(90, 70), width, height, (1, 2, 4))
        assert ours == shapes == (height // 32, width // 32)
        for one, other in zip(pooled, windows, strict=True):
            assert one[:4] == other[:4]
            assert np.allclose(one.embeddings, other.embeddings, atol=1e-4)
    assert np.allclose(found.encode_images([noise(90, 70)]), encoder.encode_images([noise(90, 70)]), atol=1e-4)
    one, other = (locate.locate(model, noise(300, 200), "un gatto", IT) for model in (found, encoder))
    assert np.allclose(one.heat, other.heat, atol=1e-2)
    assert one.encoded == other.encoded


def test_a_model_without_maps_has_none_as_graphs(tiny_graphs):
    assert OnnxEncoder.load(tiny_graphs).maps is None
    assert not (tiny_graphs / "head.onnx").exists()
