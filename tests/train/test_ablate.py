import json
from statistics import stdev

import pytest

from clip_italian.config import Recipe
from clip_italian.train import ablate
from clip_italian.train.ablate import BASELINE, DataSet, choose_variants, difference, plan, run_all, spread

VARIANTS = choose_variants(["AdamW", "no frozen stage"])


@pytest.fixture
def recipe(tiny_folder, tmp_path):
    stage = {
        "name": "projections",
        "trainable": ["visual_projection.*", "text_projection.*"],
        "frozen": ["vision_model.*", "text_model.*", "logit_scale"],
        "learning_rate": 1e-2, "epochs": 1, "patience": 1,
    }  # fmt: skip
    unfrozen = {**stage, "name": "unfrozen", "trainable": ["*projection.*", "text_model.encoder.layer.0.*"]}
    return Recipe.model_validate(
        {
            "output": tmp_path / "ablation",
            "data": {"pairs": "none", "validation": 0.2},
            "batch": {"effective": 16},
            "model": {"base": str(tiny_folder), "projection_dim": 24, "start": "random"},
            "stage": [stage, unfrozen],
        }
    )


def planned(recipe, pairs, seeds=(1, 2)):
    return plan(recipe, VARIANTS, [DataSet("shapes", pairs)], seeds, recipe.output)


def test_runs_differ_in_seed_and_edit_alone_and_have_folders_of_their_own(recipe, shapes):
    runs = planned(recipe, shapes)
    assert [(run.seed, run.variant) for run in runs] == [(s, v.name) for s in (1, 2) for v in VARIANTS]
    assert len({run.recipe.output for run in runs}) == len({run.digest for run in runs}) == 6
    for run in runs:
        assert run.recipe.seed == run.seed
        assert run.recipe.data.pairs == shapes
        assert run.recipe.output.parent == recipe.output / "shapes"
    assert runs == planned(recipe, shapes)


def test_other_settings_or_other_pairs_are_other_runs(recipe, shapes):
    digests = {run.digest for run in planned(recipe, shapes)}
    slower = recipe.model_copy(update={"stage": tuple(s.model_copy(update={"warmup": 0.5}) for s in recipe.stage)})
    assert digests.isdisjoint(run.digest for run in planned(slower, shapes))
    elsewhere = recipe.model_copy(update={"output": recipe.output / "other"})
    assert digests == {run.digest for run in planned(elsewhere, shapes)}
    shapes.write_text("".join(shapes.read_text().splitlines(keepends=True)[:-1]))
    assert digests.isdisjoint(run.digest for run in planned(recipe, shapes))


def test_what_is_finished_is_not_done_again(recipe, shapes, cache, monkeypatch):
    real, asked = ablate.train, []

    def interrupted(settings, **more):
        asked.append(settings.output.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(settings, **more)

    monkeypatch.setattr(ablate, "train", interrupted)
    runs = planned(recipe, shapes, seeds=(1,))
    with pytest.raises(KeyboardInterrupt):
        run_all(runs, recipe.output)
    results = run_all(runs, recipe.output)
    assert asked == [run.recipe.output.name for run in (runs[0], runs[1], runs[2], runs[2])]
    assert [result["variant"] for result in results] == [variant.name for variant in VARIANTS]
    written = [json.loads(line) for line in (recipe.output / "results.jsonl").read_text().splitlines()]
    assert written == results == run_all(runs, recipe.output)
    assert len(asked) == 4
    for run, result in zip(runs, results, strict=True):
        folder = run.recipe.output
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        best = min(history, key=lambda record: record["validation_loss"])
        assert result["MRR@10"] == best["MRR@10"]
        assert result["steps"] == len((folder / "steps.jsonl").read_text().splitlines())
        assert result["scale"] == pytest.approx(20.0)
        # Weights of dozens of runs would fill the disk.
        assert not (folder / "model").exists()
        assert not (folder / "checkpoints").exists()
        assert (folder / "report.html").is_file()


def test_spread_and_differences_are_taken_over_the_seeds():
    results = [
        {"data": data, "variant": variant, "seed": seed, "MRR@10": value}
        for data, variant, values in [
            ("a", BASELINE, (0.30, 0.34, 0.38)),
            ("a", "AdamW", (0.31, 0.35, 0.36)),
            ("b", "AdamW", (0.9, 0.9, 0.9)),
        ]
        for seed, value in enumerate(values, start=1)
    ]
    found = spread(results, "a", BASELINE, "MRR@10")
    assert found.mean == pytest.approx(0.34)
    assert found.deviation == pytest.approx(0.04)
    apart = difference(results[::-1], "a", "AdamW", "MRR@10")  # whatever the order
    assert apart.mean == pytest.approx(0.0)
    assert apart.deviation == pytest.approx(stdev([0.01, 0.01, -0.02]))
    assert spread(results[:1], "a", BASELINE, "MRR@10").deviation == 0.0
