"""Features for copy detection from the packaged tower, with and without its wheel."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from clip_italian.models_torch.copy_features import CopyFeatures


def test_without_the_wheel_a_warning_is_printed(cache, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert CopyFeatures.load_or_warn() is None
    told = " ".join(capsys.readouterr().err.split())
    assert "no search for cropped, mirrored and brightened copies" in told
    assert "check the network" in told


def test_copies_are_closer_than_other_pictures(borrowed_cache):
    def scene(seed):
        noise = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
        return Image.fromarray(noise).resize((300, 240), Image.Resampling.BICUBIC)

    one, other = scene(0), scene(1)
    copies = [ImageOps.mirror(one), ImageEnhance.Brightness(one).enhance(0.9)]
    features = CopyFeatures.load("cpu").encode([one, *copies, other])
    assert features.shape == (4, CopyFeatures.dim)
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4)
    cosines = features[1:] @ features[0]
    assert cosines[:2].min() > cosines[2]
