"""What plain transformers and sentence-transformers make of the exported folders, without this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.export import hf, sentence_transformers
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.mean_pooled_bert import MeanPooledBertModel
from tests.conftest import draw_shape, tiny_model, tiny_tokenizer
from tests.model import kinds

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
    """Folders and embeddings (texts, pictures) by another process, in which this package cannot be imported."""
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
def test_others_get_the_same_embeddings(way, kind, models, outside):
    _, texts, pictures = outside[way, kind]
    assert np.allclose(texts, models[kind].encode_text(TEXTS), atol=1e-5)
    assert np.allclose(pictures, models[kind].encode_images([PICTURE]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_model_folder_of_ours_too(kind, models, outside):
    again = DualEncoder.load(outside["hf", kind][0])
    assert again.weights_hash == models[kind].weights_hash and again.max_tokens == models[kind].max_tokens


@pytest.mark.parametrize("export", [hf.export, sentence_transformers.export])
def test_classes_of_ours_are_refused_in_one_line(export, tmp_path, tiny_encoder):
    tiny_encoder.model.text_model.__class__ = MeanPooledBertModel
    with pytest.raises(UserError, match=r"clip-italian \(MeanPooledBertModel\)") as caught:
        export(tiny_encoder, "mine", tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_small_letters_are_in_the_tokenizer_that_is_written(tmp_path, monkeypatch):
    encoder = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip"))
    monkeypatch.setattr(type(encoder), "lowers", True)
    hf.export(encoder, "siglip", tmp_path / "out")
    monkeypatch.setattr(type(encoder), "lowers", False)
    again = DualEncoder.load(tmp_path / "out")
    assert again.tokenize(["UN Gatto"])["input_ids"].tolist() == encoder.tokenize(["un gatto"])["input_ids"].tolist()
