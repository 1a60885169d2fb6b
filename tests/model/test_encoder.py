"""Several models on the same files: each file is decoded once, and each model gives what it gives alone."""

import numpy as np
import pytest

from clip_italian import images
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.encoder import encode_files
from tests.conftest import draw_shape
from tests.model import kinds


@pytest.fixture
def files(tmp_path):
    paths = []
    for number in range(11):
        paths.append(tmp_path / f"{number}.png")
        draw_shape("cerchio", "red", number).resize((60, 40 + number)).save(paths[-1])
    paths.insert(4, tmp_path / "broken.png")
    paths[4].write_text("no picture")
    return paths


def test_every_file_is_decoded_once_for_all(files, tmp_path, tiny_encoder, monkeypatch):
    encoders = [tiny_encoder, *(DualEncoder.load(kinds.folder(kind, tmp_path / kind)) for kind in ("clip", "siglip"))]
    alone = [encoder.encode_files(files) for encoder in encoders]
    opened = []
    decode = images.open_picture
    monkeypatch.setattr(images, "open_picture", lambda path, *rest: (opened.append(path), decode(path, *rest))[1])
    steps = []
    done, vectors, errors = encode_files(encoders, files, steps.append)
    assert sorted(opened) == sorted(files)
    assert sum(steps) == len(files)
    assert done == [path for path in files if path.stem != "broken"]
    assert [str(error) for error in errors] == [f"{files[4]}: not a picture in a known format"]
    for mine, (_, theirs, _) in zip(vectors, alone, strict=True):
        assert np.array_equal(mine, theirs)
    assert {mine.shape[1] for mine in vectors} == {24, 40}


def test_nothing_in_nothing_out(tmp_path, tiny_encoder):
    done, (vectors,), errors = encode_files([tiny_encoder], [tmp_path / "none.png"])
    assert (done, vectors.shape, len(errors)) == ([], (0, 24), 1)
