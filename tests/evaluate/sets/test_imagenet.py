"""ImageNet's validation pictures in the forms in which people have them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import sets
from clip_italian.evaluate.retrieval import retrieval_set
from clip_italian.evaluate.sets.base import Size, load
from clip_italian.evaluate.sets.imagenet import legacy_labels

ITALIAN = languages.get("it")
IMAGENET = replace(sets.known(ITALIAN)["imagenet"], size=Size(3))
RIGHT = [
    ("imagenet-00000001", "una tinca"), ("imagenet-00000002", "una pizza"), ("imagenet-00000003", "una tinca"),
]  # fmt: skip
OF = {1: "n01440764", 2: "n07873807", 3: "n01440764"}


def name(number, wordnet=""):
    return f"ILSVRC2012_val_{number:08d}{wordnet}.JPEG"


def folders(folder):
    for number, wordnet in OF.items():
        (folder / "val" / wordnet).mkdir(parents=True, exist_ok=True)
        (folder / "val" / wordnet / name(number)).touch()


def hub(folder):
    (folder / "val").mkdir()
    for number, wordnet in OF.items():
        (folder / "val" / name(number, f"_{wordnet}")).touch()


def devkit(folder):
    """The published pictures with the development kit: its ids are in an order of their own, inner nodes last."""
    (folder / "val").mkdir()
    for number in OF:
        (folder / "val" / name(number)).touch()
    kit = folder / "ILSVRC2012_devkit_t12/data"
    kit.mkdir(parents=True)
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([(1, OF[2], "pizza", 0), (2, OF[1], "tench", 0), (3, "n00001740", "entity", 2)], dtype=fields)
    savemat(kit / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n2\n")


@pytest.mark.parametrize("form", [folders, hub, devkit])
def test_every_form_tells_the_class(tmp_path, form):
    form(tmp_path)
    found = load(IMAGENET, tmp_path)
    assert sorted((pair.id, *pair.captions) for pair in found.pairs) == RIGHT
    assert all(pair.split == "test" for pair in found.pairs)


def test_the_pairs_make_a_classification(tmp_path):
    folders(tmp_path)
    found = retrieval_set(load(IMAGENET, tmp_path).pairs)
    assert (found.captions, found.captions_of) == (("una tinca", "una pizza"), ((0,), (0,), (1,)))


def test_labels_of_another_set(tmp_path):
    hub(tmp_path)
    labels = [f"etichetta {number}" for number in range(1000)]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    other = sets.known(ITALIAN, legacy_labels(tmp_path / "labels.json"))["imagenet"]
    found = load(replace(other, size=Size(3)), tmp_path)
    assert {pair.captions[0] for pair in found.pairs} == {"etichetta 0", "etichetta 963"}


@pytest.mark.parametrize("text", ["[", "{}", '["un gatto"]', json.dumps([""] * 1000), json.dumps([1] * 1000)])
def test_labels_that_are_none(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError, match=r"labels.json: (no JSON list of labels|not a list of 1,000 labels)"):
        legacy_labels(tmp_path / "labels.json")


def test_pictures_without_a_class(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / name(1)).touch()
    with pytest.raises(UserError, match=r"names have no class; unpack ILSVRC2012_devkit_t12.tar.gz beside"):
        load(IMAGENET, tmp_path)
    (tmp_path / "val" / name(1)).rename(tmp_path / "val/gatto.jpg")
    with pytest.raises(UserError, match=r"gatto.jpg: unknown class; put it into a folder"):
        load(IMAGENET, tmp_path)


def test_half_a_set_is_said(tmp_path):
    hub(tmp_path)
    with pytest.raises(UserError, match="3 pictures of imagenet, published are 50,000"):
        load(sets.known(ITALIAN)["imagenet"], tmp_path)
