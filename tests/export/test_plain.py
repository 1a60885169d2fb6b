"""Exported folders, loaded with transformers and sentence-transformers without this package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.export import hf, sentence_transformers
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.mean_pooled import MeanPooledBertModel
from clip_italian.pictures.decoding import open_picture
from tests.conftest import draw_shape, tiny_model, tiny_tokenizer
from tests.models_torch import kinds

TEXTS = ["un gatto che dorme", "una foto", "gatto " * 150]
WORKER = Path(__file__).with_name("plain.py")


PICTURE = draw_shape("cerchio", "red", 1)
EXPORTS = {"hf": hf.export, "sentence-transformers": sentence_transformers.export}
KINDS = ("dual", "clip", "siglip")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A CLIP, a SigLIP, and the vision-text dual encoder with a ViT and a BERT."""
    room = tmp_path_factory.mktemp("models")
    processor = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    DualEncoder(tiny_model(), tiny_tokenizer(), processor).save(room / "dual")
    return {
        kind: DualEncoder.load(room / "dual" if kind == "dual" else kinds.folder(kind, room / kind)) for kind in KINDS
    }


@pytest.fixture(scope="module")
def outside(models, tmp_path_factory):
    """Folders, and embeddings (texts, pictures) by another process that cannot import this package."""
    room = tmp_path_factory.mktemp("exported")
    PICTURE.save(room / "picture.png")
    folders = {(way, kind): room / f"{way}-{kind}" for way in EXPORTS for kind in KINDS}
    for (way, kind), folder in folders.items():
        EXPORTS[way](models[kind], kind, folder)
    jobs = [(way, str(folder)) for (way, _), folder in folders.items()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", WORKER], capture_output=True, text=True, check=False,
        input=json.dumps({"texts": TEXTS, "picture": str(room / "picture.png"), "jobs": jobs}),
        env=os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {key: (folder, *one) for (key, folder), one in zip(folders.items(), found, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", EXPORTS)
def test_other_libraries_get_the_same_embeddings(way, kind, models, outside):
    _, texts, pictures = outside[way, kind]
    assert np.allclose(texts, models[kind].encode_text(TEXTS), atol=1e-5)
    assert np.allclose(pictures, models[kind].encode_images([PICTURE]), atol=1e-5)


def _odd(room):
    """Pictures that Pillow's `convert` decodes differently from viewers."""
    photo = draw_shape("cerchio", "red", 1).resize((80, 60))
    steps = np.linspace(0, 65_535, 80)[None, :].repeat(60, axis=0).astype(np.uint16)
    seen = np.zeros((60, 80), np.uint8)
    seen[10:50, 20:60] = 255
    hidden = np.dstack([np.asarray(photo) * (seen > 0)[..., None], seen])
    Image.fromarray(hidden).save(room / "rgba.png")
    Image.fromarray(np.dstack([np.asarray(photo.convert("L")) * (seen > 0), seen])).save(room / "la.png")
    Image.fromarray(steps).save(room / "grey16.png")
    Image.fromarray(steps).save(room / "grey16.tif")
    photo.quantize(8).save(room / "palette.png", transparency=0)
    photo.save(room / "plain.jpg")
    return sorted(room.iterdir())


def _snippet():
    """The function in docs/release.md that opens a picture with only Pillow."""
    page = (Path(__file__).parents[2] / "docs" / "release.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(def opened.*?)```", page, re.DOTALL)
    scope = {"np": np, "Image": Image}
    exec(code, scope)
    return scope["opened"]


@pytest.mark.parametrize("kind", KINDS)
def test_unusual_pictures_agree_when_opened_as_in_the_guide(kind, models, outside, tmp_path):
    from sentence_transformers import SentenceTransformer

    paths = _odd(tmp_path)
    ours = models[kind].encode_images(paths)
    theirs = SentenceTransformer(str(outside["sentence-transformers", kind][0]), device="cpu")
    for opened in (open_picture, _snippet()):
        found = theirs.encode([opened(path) for path in paths])
        assert (ours * found).sum(1) == pytest.approx(1, abs=1e-3)
    pictures = [path for path in paths if path.suffix != ".tif"]  # the library treats this path as text
    rows = [paths.index(path) for path in pictures]
    by_path = (ours[rows] * theirs.encode([str(path) for path in pictures])).sum(1)
    told = {"rgba.png", "la.png", "grey16.png"}  # the only exceptions, as the guide states
    assert {path.name for path, cosine in zip(pictures, by_path, strict=True) if cosine < 0.999} <= told


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_is_also_a_model_folder(kind, models, outside):
    again = DualEncoder.load(outside["hf", kind][0])
    assert again.weights_hash == models[kind].weights_hash and again.max_tokens == models[kind].max_tokens


@pytest.mark.parametrize("export", [hf.export, sentence_transformers.export])
def test_classes_of_this_package_are_errors(export, tmp_path, tiny_encoder):
    tiny_encoder.model.text_model.__class__ = MeanPooledBertModel
    with pytest.raises(UserError, match=r"clip-italian \(MeanPooledBertModel\)") as caught:
        export(tiny_encoder, "mine", tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_written_tokenizer_lowercases(tmp_path, monkeypatch):
    encoder = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip"))
    monkeypatch.setattr(type(encoder), "lowers", True)
    hf.export(encoder, "siglip", tmp_path / "out")
    monkeypatch.setattr(type(encoder), "lowers", False)
    again = DualEncoder.load(tmp_path / "out")
    assert again.tokenize(["UN Gatto"])["input_ids"].tolist() == encoder.tokenize(["un gatto"])["input_ids"].tolist()
