"""A trained tiny model with results, as a run leaves it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clip_italian.config import Recipe
from clip_italian.evaluate import results
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.leaks import check
from clip_italian.evaluate.run import NamedModel, embed_pairs, picture_ids, retrieval_result, zeroshot_result
from clip_italian.pairs import read, write
from clip_italian.train.run import Run, train
from tests.conftest import save_tiny_model

STAGE = {
    "name": "projections", "trainable": ["*_projection.*"], "frozen": ["vision_model.*", "text_model.*", "logit_scale"],
    "learning_rate": 1e-2, "epochs": 1, "patience": 1,
}  # fmt: skip


def split(number: int) -> str:
    return ("train", "val", "test")[number % 3]


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory) -> Path:
    """With two layers, the random model is wrong about enough drawings of each kind."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), layers=2)


@pytest.fixture(scope="session")
def original(tmp_path_factory, tiny_original, shapes_original) -> Run:
    """A run on 18 pictures of two sources, half of them without a licence, and a folder `results` that it measured."""
    room = tmp_path_factory.mktemp("release")
    shapes = room / "shapes" / shapes_original.name
    shutil.copytree(shapes_original.parent, shapes.parent)
    pairs = [
        replace(
            pair, split=split(number), source="forme | <b>" if number < 27 else "shapes",
            license="CC BY 4.0" if number < 27 else None,
        )
        for number, pair in enumerate(read(shapes))
    ]  # fmt: skip
    write(pairs, shapes)
    recipe = Recipe.model_validate(
        {
            "output": room / "run", "data": {"pairs": shapes}, "model": {"base": str(tiny_original)},
            "license": "cc-by-sa-4.0", "cost": {"hourly": 3.0}, "stage": [STAGE],
        }
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_ITALIAN_CACHE", str(room / "cache"))
        run = train(recipe)
    chosen = [pair for pair in pairs if pair.split == "test"]
    checked = check({"tiny": run.encoder}, picture_ids(chosen, shapes), str(shapes), allow=True)
    (embedded,) = embed_pairs([NamedModel("run/model", "tiny", run.encoder)], chosen, shapes, checked)
    for name, one in (
        ("retrieval", retrieval_result(embedded, True, Resampling(50))),
        ("zeroshot", zeroshot_result(embedded, ["una foto di {}"], Resampling(50))),
    ):
        results.write(run.folder / "results" / f"{name}.json", one.result)
    return run


@pytest.fixture
def measured(original, tmp_path, cache) -> Run:
    """A copy of the run with its results."""
    return replace(original, folder=shutil.copytree(original.folder, tmp_path / "run"))


@pytest.fixture
def trained(measured) -> Run:
    """The same without results."""
    shutil.rmtree(measured.folder / "results")
    return measured


def result(run: Run, name: str) -> dict:
    return json.loads((run.folder / "results" / f"{name}.json").read_text())
