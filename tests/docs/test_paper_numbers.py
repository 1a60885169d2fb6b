"""The recipes and the table of docs/paper.md have the paper's numbers, which are written here once more.

The sections are those of Bianchi et al. 2021: 3 is on data, 4 on model and training. "script" is the published training
script, "README" that of its repository; "ours" is in none of them.
"""

import re
import tomllib
from pathlib import Path

import pytest

from clip_italian.clean.recipe import load_clean_recipe
from clip_italian.config import load_recipe
from clip_italian.stats import card

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"
ROW = re.compile(r"\|[^|]*\| ([^|]+) \| `([^`=]+) = ([^`]+)` \| `([\w/-]+)` \|")

DATA, TABLE_1, TRAINING, SCRIPT, README, OURS = (
    "section 3", "section 3, Table 1", "section 4", "script", "README", "ours",
)  # fmt: skip
NUMBERS = {
    ("stats", "wit"): (525_950, TABLE_1),
    ("stats", "mscoco-it"): (116_195, TABLE_1),
    ("stats", "conceptual-captions"): (712_890, TABLE_1),
    ("stats", "ilpost"): (29_055, TABLE_1),
    ("cleaning/paper", "names.share"): (0.8, DATA),
    ("paper", "data.validation"): (0.05, README),
    ("paper", "model.vision"): ("openai/clip-vit-base-patch32", TRAINING),
    ("paper", "model.text"): ("dbmdz/bert-base-italian-xxl-cased", TRAINING),
    ("paper-code", "model.text"): ("dbmdz/bert-base-italian-xxl-uncased", SCRIPT),
    ("paper", "model.projection_dim"): (512, TRAINING),
    ("paper", "model.max_tokens"): (96, TRAINING),
    ("paper", "model.logit_scale"): (20, TRAINING),
    ("paper", "loss.kind"): ("contrastive", TRAINING),
    ("paper", "batch.per_device"): (128, TRAINING),
    ("paper", "optimizer.name"): ("adabelief", TRAINING),
    ("paper", "optimizer.beta1"): (0.9, SCRIPT),
    ("paper", "optimizer.beta2"): (0.999, SCRIPT),
    ("paper", "optimizer.eps"): (1e-16, SCRIPT),
    ("paper", "stage.*.clipping"): (0.01, SCRIPT),
    ("paper", "stage.*.learning_rate"): (1e-5, SCRIPT),
    ("paper", "stage.*.warmup"): (0.1, SCRIPT),
    ("paper", "stage.*.weight_decay"): (0, SCRIPT),
    ("paper", "stage.*.tower_dropout"): (True, SCRIPT),
    ("paper", "stage.*.evaluate_every"): (15, TRAINING),
    ("paper", "stage.*.patience"): (1, TRAINING),
    ("paper", "stage.0.trainable"): (["visual_projection.*", "text_projection.*"], TRAINING),
    ("paper", "stage.*.epochs"): (60, OURS),
    ("paper", "augmentation.degrees"): (15, SCRIPT),
    ("paper", "augmentation.translate"): (0.1, SCRIPT),
    ("paper", "augmentation.scale"): (0.2, SCRIPT),
    ("paper", "augmentation.shear"): (15, SCRIPT),
    ("paper", "augmentation.perspective"): (0.3, SCRIPT),
    ("paper", "augmentation.perspective_p"): (0.3, SCRIPT),
    ("paper", "augmentation.equalize_p"): (0.3, SCRIPT),
    ("paper", "augmentation.brightness"): (0.2, OURS),
    ("paper", "augmentation.contrast"): (0.2, OURS),
    ("paper", "augmentation.saturation"): (0.2, OURS),
    ("paper", "augmentation.hue"): (0.1, SCRIPT),
    ("paper-code", "augmentation.brightness"): (0, SCRIPT),
    ("paper-code", "augmentation.contrast"): (0, SCRIPT),
    ("paper-code", "augmentation.saturation"): (0, SCRIPT),
    ("paper-code", "augmentation.hue"): (0.1, SCRIPT),
    ("paper", "augmentation.flip_p"): (0.5, SCRIPT),
    ("paper", "augmentation.autocontrast_p"): (0.3, SCRIPT),
    ("paper", "augmentation.random_crop"): (True, SCRIPT),
}


def table():
    """The section of the page that has the table."""
    return PAGE.read_text(encoding="utf-8").split("\n## Number by number\n")[1].split("\n## ")[0]


def rows():
    """Value and origin of each setting in the page's table."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Number by number\n")[1].split("\n## ")[0]
    return {
        (file, key): (tomllib.loads(f"v = {value}")["v"], origin) for origin, key, value, file in ROW.findall(section)
    }


def settings(file):
    if file == "stats":
        return card.PAPER
    if file.startswith("cleaning/"):
        return load_clean_recipe(file.removeprefix("cleaning/")).model_dump(mode="json")
    return load_recipe(file).model_dump(mode="json")


def at(values, key):
    """The values of a dotted key; `*` stands for each place of a list."""
    name, _, rest = key.partition(".")
    places = values if name == "*" else [values[int(name)] if isinstance(values, list) else values[name]]
    return [found for place in places for found in (at(place, rest) if rest else [place])]


def test_the_page_has_the_papers_numbers_and_no_others():
    assert rows() == NUMBERS


@pytest.mark.parametrize(("file", "key"), NUMBERS, ids=lambda text: text)
def test_the_recipes_have_them(file, key):
    expected, _ = NUMBERS[file, key]
    found = at(settings(file), key)
    assert found == [expected] * len(found)
    assert len(found) == (2 if key.startswith("stage.*") else 1)


def test_the_page_has_every_row_of_its_table():
    """A row that the pattern does not read would be checked by nobody."""
    written = [line for line in table().splitlines() if line.startswith("| ")]
    assert len(written) == len(NUMBERS) + 1  # and its heading


def test_the_paper_changes_colours_and_hue_the_least():
    augmentation = load_recipe("paper").augmentation
    assert min(augmentation.brightness, augmentation.contrast, augmentation.saturation) > augmentation.hue > 0
    assert augmentation.colour_p == 1
