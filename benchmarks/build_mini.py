"""Train the packaged `mini`: the heads that the package carries, and the facts that stand beside them.

    python benchmarks/build_mini.py photos.jsonl --license cc-by-nc-4.0 -o runs/mini

Cross-validates the recipe on the pairs, then trains it on all of them (a share for validation) and writes
`mini_heads.safetensors` and `mini_facts.json.gz` into the package: recipe, fingerprints of data and training pictures,
cross-validated results, what both steps cost, and the probes' figures (`probe_mini.py`). Runs that are finished are
not done again (-o).
"""

import argparse
import json
from pathlib import Path

import probe_mini
from cross_validate import cross_validate, write

from clip_italian.cli.train import show_record
from clip_italian.config import Recipe, load_recipe
from clip_italian.errors import UserError
from clip_italian.evaluate import results
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.models import mini_facts
from clip_italian.models.folders import INFO_FILE
from clip_italian.models_torch import mini
from clip_italian.release.facts import learned, short
from clip_italian.train import cost
from clip_italian.train.parallel import Processes
from clip_italian.train.run import MODEL_FOLDER, train

_RESULTS = "results"
_COST = "cross-validation.json"


def measured(recipe: Recipe, name: str, folds: int, output: Path) -> tuple[list[Path], cost.Spent]:
    """Result files of a cross-validation and its cost: found again where they are of the same recipe and folds."""
    file, spent_file = output / _RESULTS / f"{Path(name).stem}.json", output / _COST
    if file.is_file() and (spent := cost.read(spent_file)):
        known = results.read(file).values.get("folds", {})
        if known.get("count") == folds and learned(known["recipe"]) == learned(recipe.model_dump(mode="json")):
            return [file], spent
    with cost.Meter(recipe.cost, Processes(), "CPU") as meter:
        done = list(cross_validate(recipe, folds))
        meter.keep(spent_file, None)
        spent = meter.finish()
    return write(done, name, recipe, output / _RESULTS, Resampling(1000))[:1], spent


def facts(model: Path, found: list[Path], spent: cost.Spent, heads: Path) -> Path:
    """Write what is known of the heads beside them; paths of this machine are cut to their ends."""
    info = json.loads((model / INFO_FILE).read_text(encoding="utf-8"))
    info["data"]["pairs"] = info["recipe"]["data"]["pairs"] = short(info["data"]["pairs"])
    info["recipe"]["output"] = short(info["recipe"]["output"])
    kept = []
    for path in found:
        values = results.read(path).values
        one = results.without_ranks(values)
        one["data"] = one["data"] | {"source": short(one["data"]["source"])}
        one["folds"] = {"count": one["folds"]["count"]}  # the recipe stands in `info`
        kept.append(one)
    return mini_facts.write(heads, info, kept, {"cross-validation": spent.to_json()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--license", required=True, help="of the heads, by the Hub's name")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/mini"), help="folder of the run")
    parser.add_argument("--heads", type=Path, default=mini.HEADS, help="file to write; the facts go beside it")
    parser.add_argument("settings", nargs="*", help="key=value, as for clip-italian train")
    options = parser.parse_intermixed_args()
    given = [f"data.pairs={options.pairs.resolve()}", f"output={options.output}", f"license={options.license}"]
    recipe = load_recipe(options.recipe, [*given, *options.settings])
    found, spent = measured(recipe, options.recipe, options.folds, options.output)
    print(f"cross-validation: {spent}")
    info_file = options.output / MODEL_FOLDER / INFO_FILE
    if info_file.is_file():
        there = json.loads(info_file.read_text(encoding="utf-8"))["recipe"]
        if learned(there) != learned(recipe.model_dump(mode="json")):
            raise UserError(f"{options.output}: a run of another recipe is there; choose another output (-o)")
    run = train(recipe, show_record, unfinished="resume")
    print(f"training: {run.spent}")
    model = run.folder / MODEL_FOLDER
    names = mini.write_heads(model, options.heads)
    print(f"{options.heads}: {len(names)} tensors, {options.heads.stat().st_size / 1e6:.1f} MB")
    print(facts(model, found, spent, options.heads))
    probe_mini.add(options.heads)


if __name__ == "__main__":
    main()
