"""Facts about `mini`, tested with a tiny model instead."""

import gzip
import json

import pytest

from clip_italian.errors import UserError
from clip_italian.evaluate.leaks import check
from clip_italian.models import mini_facts
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import image_path, read
from clip_italian.pictures import leaks
from clip_italian.release.card import card
from clip_italian.release.facts import gather
from tests.train.test_cost import part


@pytest.fixture
def heads(tmp_path, tiny_folder, monkeypatch):
    """A heads file, with the tiny model as `mini`."""
    path = tmp_path / "package" / "mini_heads.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"heads")
    monkeypatch.setattr(mini, "HEADS", path)
    monkeypatch.setattr(mini, "trained_folder", lambda: tiny_folder)
    return path


def test_evaluate_refuses_the_pictures_that_mini_was_trained_on(heads, shapes):
    paths = [image_path(pair, shapes) for pair in read(shapes)]
    prints = leaks.fingerprints(paths[:5])[1]
    mini_facts.write(heads, {leaks.INFO_KEY: prints.to_json()}, [], {})
    encoder = DualEncoder.load("mini")
    with pytest.raises(UserError, match="1 of 2 pictures are among the training pictures of mini"):
        check({"mini": encoder}, {paths[4]: "seen", paths[53]: "new"}, "test.jsonl")


def test_the_card_of_mini_has_its_facts(heads):
    result = {
        "format": 1, "kind": "retrieval", "name": "mini", "model": {}, "bootstrap": {},
        "data": {"source": "photos/captions.jsonl", "fingerprint": "abc"}, "folds": {"count": 5},
        "overlap": {"checked": True, "pictures": 0}, "galleries": {"text_to_image": [4, 6], "image_to_text": [8, 8]},
        "text_to_image": {"MRR@10": 0.4321, "queries": 40, "intervals": {"MRR@10": [0.4, 0.5]}},
        "image_to_text": {"MRR@10": 0.3, "queries": 10, "intervals": {"MRR@10": [0.2, 0.4]}},
    }  # fmt: skip
    costs = {"cross-validation": {"parts": [part().model_dump()]}}
    recipe = {"license": "cc-by-nc-4.0", "model": {"base": "mini"}}
    share = {"accuracy": 0.25, "interval": [0.2, 0.3], "chance": 0.1667, "answers": {"1": {"2": 4}}}
    mini_facts.write(heads, {"language": "it", "recipe": recipe}, [result], costs, {"number": share})
    text = card(gather("mini"))
    assert "0.4321" in text and "0.4 to 0.5" in text
    assert "gallery of 4 to 6" in text and "5 models of this recipe" in text
    assert "cross-validation" in text
    assert "0.200 to 0.300" in text and "1 taken for 2: 4 of 4" in text
    assert "intfloat/multilingual-e5-small" in text and "Apache-2.0" in text
    assert 'DualEncoder.load("mini")' in text


def test_without_facts_info_is_empty(heads):
    assert mini.info() == {}
    assert "training data" in gather("mini").missing


def test_facts_of_other_heads_are_errors(heads):
    mini_facts.write(heads, {}, [], {})
    heads.write_bytes(b"others")
    with pytest.raises(UserError, match="does not belong to"):
        DualEncoder.load("mini")


def test_damaged_facts_are_errors(heads):
    path = mini_facts.write(heads, {}, [], {})
    whole = path.read_bytes()
    more = json.dumps(json.loads(gzip.decompress(whole)) | {"unknown": 1})
    for damaged in (gzip.compress(more.encode()), whole[:-9], whole[:20] + bytes(9) + whole[29:], b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            mini.info()


def test_the_packaged_facts_belong_to_the_packaged_heads():
    if mini_facts.read(mini.HEADS) is None:
        pytest.skip("the package tells nothing of its mini yet")
