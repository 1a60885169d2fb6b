"""A trained tiny model with results, as a run leaves it."""

import json
import shutil
from dataclasses import replace

import pytest

from clip_italian.config import Recipe
from clip_italian.evaluate import results
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.run import Rules, retrieval_on_pairs, zeroshot_on_pairs
from clip_italian.evaluate.subjects import Subject
from clip_italian.pairs import read, write
from clip_italian.train.run import Run, train

STAGE = {
    "name": "projections", "trainable": ["*_projection.*"], "frozen": ["vision_model.*", "text_model.*", "logit_scale"],
    "learning_rate": 1e-2, "epochs": 1, "patience": 1,
}  # fmt: skip


def split(number: int) -> str:
    return ("train", "val", "test")[number % 3]


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
    rules = Rules(Resampling(50), allow_overlap=True)
    subject = [Subject("run/model", "tiny", run.encoder)]
    for name, found in (
        ("retrieval", retrieval_on_pairs(subject, chosen, shapes, True, rules)),
        ("zeroshot", zeroshot_on_pairs(subject, chosen, shapes, ["una foto di {}"], rules)),
    ):
        (one,) = found
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
