"""A run from every kind of joint model: what is trained moves, the rest stays bit for bit."""

from fnmatch import fnmatchcase

import pytest
import torch

from clip_italian.config import Batch, Data, Model, Recipe, Stage
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train.run import train
from tests.models_torch import kinds


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_trains_and_its_frozen_weights_stay(tmp_path, shapes, cache, kind):
    folder = kinds.folder(kind, tmp_path / kind)
    heads = ["vision_model.head.*", "text_model.head.*"] if kind == "siglip" else ["*_projection.*"]
    stage = Stage(name="heads", trainable=tuple(heads), frozen=("*",), learning_rate=1e-3, epochs=1, patience=1)
    recipe = Recipe(
        output=tmp_path / "run",
        data=Data(pairs=shapes, validation=0.2),
        model=Model(base=str(folder), start="kept"),
        batch=Batch(per_device=16),
        stage=(stage,),
    )
    run = train(recipe)
    before = DualEncoder.load(folder).model.state_dict()
    trained = DualEncoder.load(tmp_path / "run" / "model").model.state_dict()
    moved = {name for name, value in trained.items() if not torch.equal(value, before[name])}
    assert set(trained) == set(before)
    assert all(any(fnmatchcase(name, pattern) for pattern in heads) for name in moved)
    improved = min(run.history, key=lambda record: record["validation_loss"])["epoch"] > 0
    assert bool(moved) == improved
