"""A trained tiny model with results, as a run leaves it."""

import json
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


@pytest.fixture
def trained(shapes, tiny_folder, tmp_path, cache) -> Run:
    """A run on 18 pictures of two sources, half of them without a licence."""
    pairs = [
        replace(
            pair, split=split(number), source="forme | <b>" if number < 27 else "shapes",
            license="CC BY 4.0" if number < 27 else None,
        )
        for number, pair in enumerate(read(shapes))
    ]  # fmt: skip
    write(pairs, shapes)
    return train(
        Recipe.model_validate(
            {
                "output": tmp_path / "run", "data": {"pairs": shapes}, "model": {"base": str(tiny_folder)},
                "license": "cc-by-sa-4.0", "cost": {"hourly": 3.0}, "stage": [STAGE],
            }
        )
    )  # fmt: skip


@pytest.fixture
def measured(trained, shapes):
    """The same with a retrieval and a zero-shot result in its results folder."""
    folder = trained.folder / "results"
    chosen = [pair for pair in read(shapes) if pair.split == "test"]
    rules = Rules(Resampling(50), allow_overlap=True)
    subject = [Subject("run/model", "tiny", trained.encoder)]
    for name, found in (
        ("retrieval", retrieval_on_pairs(subject, chosen, shapes, True, rules)),
        ("zeroshot", zeroshot_on_pairs(subject, chosen, shapes, ["una foto di {}"], rules)),
    ):
        (one,) = found
        results.write(folder / f"{name}.json", one.result)
    return trained


def result(run: Run, name: str) -> dict:
    return json.loads((run.folder / "results" / f"{name}.json").read_text())
