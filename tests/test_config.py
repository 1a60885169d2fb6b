import pytest

from clip_italian.config import Recipe, load_recipe
from clip_italian.errors import UsageError

MINIMAL = """
output = "runs/x"
[data]
pairs = "p.jsonl"
[[stage]]
name = "one"
trainable = ["visual_projection.*"]
frozen = ["*"]
learning_rate = 1e-3
epochs = 2
patience = 1
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(MINIMAL)
    return path


def test_overrides_reach_nested_keys_and_list_items(recipe):
    settings = load_recipe(recipe, ["data.pairs=other/photos.jsonl", "stage.0.epochs=7", "model.logit_scale=12"])
    assert str(settings.data.pairs) == "other/photos.jsonl"
    assert settings.stage[0].epochs == 7
    assert settings.model.logit_scale == 12.0


def test_paths_are_found_up_to_normalisation(recipe, tmp_path):
    (tmp_path / "citta\u0300").mkdir()
    (tmp_path / "citta\u0300" / "p.jsonl").write_text("")
    typed = tmp_path / "citt\u00e0"
    settings = load_recipe(recipe, [f"data.pairs={typed / 'p.jsonl'}", f"output={typed / 'runs' / 'x'}"])
    assert settings.data.pairs == tmp_path / "citta\u0300" / "p.jsonl"
    assert settings.output == tmp_path / "citta\u0300" / "runs" / "x"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sead=2", "unknown key sead"),
        ("model.logit_scal=2", "unknown key model.logit_scal"),
        ("stage.0.epochs=0", "stage.0.epochs"),
        ("stage.5.epochs=1", "no key stage.5.epochs"),
        ("seed", "not key=value"),
        ("model.class_names=true", "class_names needs base = 'mini', landmarks"),
        ("seed=abc", "seed"),
    ],
)
def test_wrong_settings_are_one_line_errors(recipe, override, words):
    with pytest.raises(UsageError) as caught:
        load_recipe(recipe, [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_invalid_toml_are_errors(tmp_path):
    with pytest.raises(UsageError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")
    broken = tmp_path / "b.toml"
    broken.write_text("a = [")
    with pytest.raises(UsageError, match="not TOML"):
        load_recipe(broken)


TOWERS = ["model.vision=some/vision", "model.text=some/text", "model.start=random", "model.landmarks=0"]


def test_two_towers_have_no_base():
    recipe = load_recipe("mini", [*TOWERS, "model.class_names=false"])
    assert recipe.model.base is None
    again = Recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    older = recipe.model_dump(mode="json")
    older["model"]["base"] = "mini"  # as written by older versions
    assert Recipe.model_validate(older) == recipe


@pytest.mark.parametrize("name", ["paper", "paper-code"])
def test_the_papers_recipes_name_only_two_towers(name):
    model = load_recipe(name).model.model_dump()
    assert model["base"] is None and model["vision"] and model["text"]


def test_a_base_with_two_towers_is_an_error():
    with pytest.raises(UsageError, match="base cannot be combined with vision and text"):
        load_recipe("paper", ["model.base=some/model"])
    assert load_recipe("mini").model.base == "mini"
