"""Embeddings equal those of open_clip itself. Skipped without the environment of `make peers`."""

import json
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.models import load
from clip_italian.models_torch.dual_encoder import DualEncoder

REPOSITORY = Path(__file__).parents[2]
PEERS = REPOSITORY / ".venv-peers/bin/python"
TEXTS = ["un gatto che dorme", "un cerchio rosso"]


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Results of the worker: models in a folder, and embeddings by both libraries."""
    if not PEERS.is_file():
        pytest.skip("no .venv-peers (make peers): open_clip needs torchvision, which the tests' own torch lacks")
    folder = tmp_path_factory.mktemp("open_clip")
    worker = Path(__file__).parent / "open_clip_worker.py"
    command = [PEERS, worker, folder, REPOSITORY, sysconfig.get_path("purelib")]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["by name", "xlm-roberta", "nllb"])
def test_embeddings_equal_those_of_the_library(peers, kind):
    found = peers[1][kind]
    for part in ("text", "images"):
        mine, theirs = (np.array(found[side][part]) for side in ("adapter", "library"))
        assert mine.shape == (2, 24)
        assert np.allclose(mine, theirs, atol=1e-6)
        assert np.allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
    facts = found["adapter"]["facts"]
    assert facts["library"].startswith("open_clip_torch ")
    assert facts["dim"] == 24
    assert len({facts[f"{what}_sha256"] for what in ("weights", "tokenizer", "preprocessing")}) == 3


def test_a_tag_and_a_file_with_the_same_weights_are_one_model(peers):
    found = peers[1]["by name"]
    assert found["by tag"] == found["adapter"]["facts"]
    assert "QuickGELU mismatch" in found["quick"]


def test_nllb_gets_the_language(peers):
    found = peers[1]["nllb"]
    assert {row[0] for row in found["tokens"]} == {found["italian"]}


def test_the_conversion_of_xlm_roberta_gives_the_same_without_the_library(peers):
    folder, found = peers
    encoder = DualEncoder.load(folder / "xlm-clip")
    theirs = found["xlm-roberta"]["library"]
    pictures = [Image.linear_gradient("L").resize(size).convert("RGB") for size in ((60, 40), (33, 70))]
    assert np.allclose(encoder.encode_text(TEXTS), theirs["text"], atol=1e-5)
    images = encoder.encode_images(pictures)
    assert np.allclose(images[0], theirs["images"][0], atol=1e-5)
    # 35 rows of the tall picture are cropped: torchvision rounds 17.5 up, transformers down.
    assert 0.999 < images[1] @ theirs["images"][1] < 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unknown", "open_clip has no model 'ViT-B-33'; similar names: ViT-B-32"),
        ("no tag", "name the weights too: open_clip:ViT-B-32/TAG (openai"),
        ("wrong tag", "'laion9' is not a known tag"),
        ("unreachable", "Failed to download weights for tag 'laion5b_s13b_b90k'"),
        ("no weights", "no weights (*.safetensors, *.bin, *.pth)"),
        ("no folder", "/nowhere"),
        ("broken", "damaged weights"),
        ("other shape", "check the name and that the weights belong to it"),
    ],
)
def test_missing_parts_are_errors(peers, what, words):
    line = peers[1]["errors"][what]
    assert words in line
    assert "\n" not in line


def test_without_the_library_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(
        UserError, match=r"needs open_clip and a matching torchvision .*pip install 'clip-italian\[open-clip\]'"
    ):
        load.load_rival("open_clip:ViT-B-32/openai", languages.get("it"), torch.device("cpu"))
