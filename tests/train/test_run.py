import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, VisionTextDualEncoderModel

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import read, write
from clip_italian.pictures.leaks import Fingerprints
from clip_italian.train import run as run_module
from clip_italian.train.checkpoint import Checkpoint, Progress
from clip_italian.train.features import Store
from clip_italian.train.run import train


def recipe(pairs, base, output, **first_stage):
    stage = {
        "name": "projections",
        "trainable": ["visual_projection.*", "text_projection.*"],
        "frozen": ["vision_model.*", "text_model.*", "logit_scale"],
        "learning_rate": 1e-2, "epochs": 12, "patience": 6,
    }  # fmt: skip
    unfrozen = {
        **stage, "name": "unfrozen", "trainable": ["*projection.*", "vision_model.*", "text_model.*"],
        "frozen": ["logit_scale"], "learning_rate": 1e-3, "epochs": 2,
    }  # fmt: skip
    return Recipe.model_validate(
        {
            "output": output,
            "data": {"pairs": pairs, "validation": 0.2},
            "model": {"base": str(base), "projection_dim": 24},
            "stage": [stage | first_stage, unfrozen],
        }
    )


@pytest.fixture
def shapes(shapes):
    """Every third picture is for validation: new places of known shapes, which random towers can learn."""
    pairs = [replace(p, split="val" if p.id.endswith("2") else "train") for p in read(shapes)]
    write(pairs, shapes)
    return shapes


@pytest.fixture
def run(shapes, tiny_folder, tmp_path, cache):
    return train(recipe(shapes, tiny_folder, tmp_path / "run"))


def test_the_same_run_again_gives_the_same_figures_though_less_has_to_be_made(
    shapes, tiny_folder, tmp_path, cache, monkeypatch
):
    def made_first(settings):
        torch.rand(3)  # as building a model that is not in the cache yet does
        return load_base(settings)

    same = recipe(shapes, tiny_folder, tmp_path / "run", text_dropout=0.3)
    again = train(same).history
    monkeypatch.setattr("clip_italian.train.run.load_base", made_first)
    assert train(same).history == again


def test_training_learns_and_keeps_the_best_validation_loss(run):
    losses = [record["validation_loss"] for record in run.history]
    assert run.history[0]["stage"] == "untrained"
    assert run.history[0]["step"] == 0
    assert min(losses) < losses[0] - 0.3
    assert run.encoder.info["validation"]["validation_loss"] == min(losses)
    written = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert written == run.history


def test_saved_model_loads_everywhere_and_agrees(run):
    folder = run.folder / "model"
    captions = ["un cerchio rosso", "un quadrato blu"]
    expected = run.encoder.encode_text(captions)
    assert np.abs(DualEncoder.load(folder).encode_text(captions) - expected).max() <= 1e-4
    for loader in (AutoModel, VisionTextDualEncoderModel):
        model = loader.from_pretrained(folder).eval()
        with torch.no_grad():
            vectors = model.get_text_features(**run.encoder.tokenize(captions)).pooler_output
        assert np.abs(torch.nn.functional.normalize(vectors, dim=1).numpy() - expected).max() <= 1e-4


def test_the_logit_scale_stays_at_twenty(run):
    assert run.encoder.model.logit_scale.exp().item() == pytest.approx(20.0)


def test_the_same_seed_gives_the_same_losses(shapes, tiny_folder, tmp_path, cache):
    settings = recipe(shapes, tiny_folder, tmp_path / "a")
    first = train(settings).history
    again = train(settings.model_copy(update={"output": tmp_path / "b"})).history
    assert [r["validation_loss"] for r in first] == [r["validation_loss"] for r in again]


def test_frozen_weights_are_bit_identical(shapes, tiny_folder, tmp_path, cache):
    settings = recipe(shapes, tiny_folder, tmp_path / "run")
    trained = train(settings.model_copy(update={"stage": settings.stage[:1]})).encoder.model
    before = DualEncoder.load(tiny_folder).model.state_dict()
    moved = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"visual_projection.weight", "text_projection.weight"}


def test_unreadable_pictures_are_left_out_counted_and_listed(shapes, tiny_folder, tmp_path, cache, capsys):
    broken = shapes.parent / "images" / "cerchio-rosso-0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    run = train(recipe(shapes, tiny_folder, tmp_path / "run", epochs=1))
    assert "1 of 54 pictures cannot be read" in capsys.readouterr().err
    assert "cerchio-rosso-0.png" in (run.folder / "unreadable.txt").read_text()


def test_too_few_pictures_is_one_clear_line(shapes, tiny_folder, tmp_path, cache):
    for picture in (shapes.parent / "images").iterdir():
        picture.write_text("broken")
    with pytest.raises(UserError, match="0 readable pairs"):
        train(recipe(shapes, tiny_folder, tmp_path / "run"))


def test_a_share_of_the_training_pictures_is_augmented(shapes, tiny_folder, tmp_path, cache):
    settings = recipe(shapes, tiny_folder, tmp_path / "run", views=2)
    settings = settings.model_copy(
        update={"stage": settings.stage[:1], "augmentation": settings.augmentation.model_copy(update={"share": 0.25})}
    )
    train(settings)
    stores = [Store.open(kept) for kept in (cache / "features").iterdir()]
    assert sorted(map(len, stores)) == [9, 9, 54, 54]  # 36 pictures are for training; 54 captions


def test_kept_features_are_found_again(shapes, tiny_folder, tmp_path, cache, monkeypatch):
    settings = recipe(shapes, tiny_folder, tmp_path / "run", views=1)
    settings = settings.model_copy(update={"stage": settings.stage[:1]})
    first = train(settings)
    kept = list((cache / "features").iterdir())
    assert len(kept) == 3  # the plain view, an augmented one, and the captions
    monkeypatch.setattr("clip_italian.train.features.Draft.open", None)
    again = train(settings)
    assert [r["validation_loss"] for r in again.history] == [r["validation_loss"] for r in first.history]


def test_kept_features_give_the_losses_of_towers_that_run_at_every_step(shapes, tiny_folder, tmp_path, cache):
    def losses(name, cached):
        settings = recipe(shapes, tiny_folder, tmp_path / name, cached=cached)
        settings = settings.model_copy(update={"stage": settings.stage[:1], "precision": "float32"})
        train(settings)
        return [json.loads(line)["loss"] for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()]

    kept, live = losses("kept", True), losses("live", False)
    assert len(kept) > 3
    np.testing.assert_allclose(kept, live, rtol=1e-5)


def test_the_validation_figures_are_those_of_the_weights_that_are_left():
    first = [{"stage": "a", "epoch": epoch, "validation_loss": loss} for epoch, loss in enumerate([3.0, 1.0])]
    last = [{"stage": "b", "epoch": epoch, "validation_loss": loss} for epoch, loss in enumerate([1.2, 1.1, 1.3])]
    untrained = {"stage": "untrained", "epoch": 0, "validation_loss": 0.5}
    assert run_module._best_of_last_stage([untrained, *first, *last]) == last[1]
    assert run_module._best_of_last_stage([untrained, *first]) == first[1]
    assert np.isnan(run_module._best_of_last_stage([])["validation_loss"])


def test_models_keep_features_of_their_pictures_where_the_recipe_says_so(
    shapes, tiny_folder, tmp_path, cache, monkeypatch
):
    class Colours:
        """An encoder without weights."""

        name, dim, at_least = "colours", 4, None

        def encode(self, pictures):
            return np.ones((len(pictures), 4), np.float32)

    monkeypatch.setattr("clip_italian.train.run.CopyFeatures.load_or_warn", Colours)
    settings = recipe(shapes, tiny_folder, tmp_path / "features", epochs=1)
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"copies": True})})
    kept = train(settings).encoder.info["training_pictures"]
    assert kept["encoder"] == "colours"
    fingerprints = Fingerprints.from_json(kept)
    assert fingerprints.features.shape == (kept["count"], 40)
    assert fingerprints.features.any(axis=1).all()


def test_an_unfinished_run_of_an_older_version_is_the_same_without_newer_settings(shapes, tiny_folder, tmp_path):
    settings = recipe(shapes, tiny_folder, tmp_path / "run")
    older = settings.model_dump(mode="json")  # with every None, as older versions wrote them
    del older["model"]["teacher"], older["model"]["text_layers"], older["loss"]["pictures"]
    now = {"recipe": settings.model_dump(mode="json", exclude=run_module._FREE, exclude_none=True)}
    run_module._check_same(Checkpoint({"recipe": older}, Progress(), {}, {}, {}), now, tmp_path)
    older["model"]["projection_dim"] = 12
    with pytest.raises(UserError, match=r"another recipe\.model\.projection_dim: 12, not 24"):
        run_module._check_same(Checkpoint({"recipe": older}, Progress(), {}, {}, {}), now, tmp_path)
