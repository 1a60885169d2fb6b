"""Several models on the same files: each file is decoded once, with the same embeddings as with a single model."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from clip_italian.models.encoder import encode_by_length, encode_files
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pictures import decoding
from tests.conftest import draw_shape
from tests.models_torch import kinds


@pytest.fixture
def files(tmp_path):
    paths = []
    for number in range(11):
        paths.append(tmp_path / f"{number}.png")
        draw_shape("cerchio", "red", number).resize((60, 40 + number)).save(paths[-1])
    paths.insert(4, tmp_path / "broken.png")
    paths[4].write_text("no picture")
    return paths


def test_every_file_is_decoded_once_for_all_models(files, tmp_path, tiny_encoder, monkeypatch):
    encoders = [tiny_encoder, *(DualEncoder.load(kinds.folder(kind, tmp_path / kind)) for kind in ("clip", "siglip"))]
    alone = [encoder.encode_files(files) for encoder in encoders]
    opened = []
    decode = decoding.open_picture
    monkeypatch.setattr(decoding, "open_picture", lambda path, **more: (opened.append(path), decode(path, **more))[1])
    steps = []
    done, vectors, errors = encode_files(encoders, files, steps.append)
    assert sorted(opened) == sorted(files)
    assert sum(steps) == len(files)
    assert done == [path for path in files if path.stem != "broken"]
    assert [str(error) for error in errors] == [f"{files[4]}: not a picture in a known format"]
    for mine, (_, theirs, _) in zip(vectors, alone, strict=True):
        assert np.array_equal(mine, theirs)
    assert {mine.shape[1] for mine in vectors} == {24, 40}


def test_empty_input_gives_empty_output(tmp_path, tiny_encoder):
    done, (vectors,), errors = encode_files([tiny_encoder], [tmp_path / "none.png"])
    assert (done, vectors.shape, len(errors)) == ([], (0, 24), 1)


def test_reduced_decoding_gives_nearly_the_same_embeddings(tmp_path, tiny_encoder, monkeypatch):
    side = tiny_encoder.at_least
    assert side == 2 * min(tiny_encoder.preprocess(Image.new("RGB", (90, 70))).shape[1:])
    rough = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    photo = Image.fromarray(rough).resize((16 * side, 12 * side), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.jpg", quality=95)
    seen = []
    preprocess = DualEncoder.preprocess
    monkeypatch.setattr(
        DualEncoder, "preprocess", lambda self, image: (seen.append(image.size), preprocess(self, image))[1]
    )
    whole = tiny_encoder.encode_images([photo])
    _, smaller, _ = tiny_encoder.encode_files([tmp_path / "photo.jpg"])
    assert seen == [(16 * side, 12 * side), (2 * side, 3 * side // 2)]
    assert float((whole * smaller).sum()) > 0.999
    unlike = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    monkeypatch.setattr(type(unlike), "at_least", property(lambda self: None if self is unlike else side))
    seen.clear()
    encode_files([tiny_encoder, unlike], [tmp_path / "photo.jpg"])
    assert set(seen) == {(16 * side, 12 * side)}, "one of the models wants it whole"


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA"])
def test_orientation_is_applied_to_images_as_to_files(kind, tmp_path, tiny_encoder):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_shape("triangolo", "red", 1).resize((60, 40)).convert(kind).save(path, exif=exif)
    whole = tiny_encoder.encode_images([path])
    assert np.allclose(tiny_encoder.encode_images([Image.open(path)]), whole, atol=1e-6)
    assert np.allclose(tiny_encoder.encode_images([Image.open(path).convert("RGB")]), whole, atol=1e-6)
    assert np.allclose(tiny_encoder.encode_images([decoding.open_picture(path)]), whole, atol=1e-6)
    plain = Image.new("RGB", (60, 40))
    plain.paste(Image.open(path).convert("RGB"))
    assert not np.allclose(tiny_encoder.encode_images([plain]), whole, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_of_texts_run_side_by_side_and_stay_in_order(threads):
    texts = [f"{'gatto ' * (n % 40)}{n}" for n in range(300)]
    seen = set()

    def embed(batch):
        seen.add(threading.get_ident())
        time.sleep(0.01)
        return np.array([[len(text), int(text.rpartition(" ")[2])] for text in batch], np.float32)

    found = encode_by_length(texts, 2, embed, threads)
    assert found.tolist() == [[len(text), n] for n, text in enumerate(texts)]
    assert len(seen) == threads
    assert encode_by_length([], 2, embed, threads).shape == (0, 2)


def test_an_error_of_one_batch_is_raised():
    def embed(batch):
        raise ValueError("no graph")

    with pytest.raises(ValueError, match="no graph"):
        encode_by_length(["a"] * 200, 2, embed, 2)
