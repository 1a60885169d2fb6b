"""The filters together on one batch, judged by hand."""

import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.clean.pictures import PictureLimits
from clip_italian.clean.recipe import Captions, CleanRecipe, LanguageCheck, Names, load_clean_recipe
from clip_italian.clean.stage import Clean
from clip_italian.errors import UsageError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject


def run(recipe, folder, *rows):
    batch, rejects = Clean(recipe, folder)(pairs.to_batch(rows))
    return list(pairs.from_batch(batch)), rejects


def pair(*captions, original=None, image="http://h/1.jpg"):
    return Pair("id-1", image, captions, "s", captions_original=original)


def test_captions_go_with_their_originals_and_reasons(tmp_path):
    recipe = CleanRecipe(
        captions=Captions(), names=Names(backend="lexicon"), language_check=LanguageCheck(), pictures=PictureLimits()
    )
    given = (
        "Un gatto[27]&nbsp;che dorme sul divano", "Anna Maria Mozzoni", "the old bridge over the river at night",
        "Duomo", "foto da www.sito.it di sera",
    )  # fmt: skip
    kept, rejects = run(recipe, tmp_path, pair(*given, original=("0", "1", "2", "3", "4")))
    assert [(p.captions, p.captions_original) for p in kept] == [(("Un gatto che dorme sul divano",), ("0",))]
    assert [(r.id, r.reason) for r in rejects] == [
        ("id-1", "names"), ("id-1", "language"), ("id-1", "too-short"), ("id-1", "url"),
    ]  # fmt: skip
    assert rejects[0].text == "Anna Maria Mozzoni"
    assert rejects[1].detail.startswith("en ")


def test_short_captions_stay_with_their_doubt_recorded(tmp_path):
    recipe = CleanRecipe(language_check=LanguageCheck(short=3))
    kept, rejects = run(recipe, tmp_path, pair("white house"))
    assert [p.captions for p in kept] == [("white house",)]
    assert [r.reason for r in rejects] in ([], ["language-doubt"])
    long = run(CleanRecipe(language_check=LanguageCheck(short=0)), tmp_path, pair("the white house and the lake"))
    assert long[0] == []
    assert long[1][0].reason == "language"


def test_a_filter_without_a_table_is_off(tmp_path):
    rows = [pair("Anna Maria Mozzoni", "the old bridge", "x")]
    assert run(CleanRecipe(), tmp_path, *rows) == (rows, [])
    assert run(CleanRecipe(), tmp_path, pair("", "\x00")) == ([], [
        Reject("id-1", "too-short", "", "0 words"), Reject("id-1", "too-short", "", "0 words"),
    ])  # fmt: skip


def test_pictures_that_lie_here_are_looked_at(tmp_path, shapes):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    good = pairs.read(shapes)[0]
    recipe = CleanRecipe(pictures=PictureLimits(min_side=32))
    kept, rejects = run(recipe, shapes.parent, good, pair("una parete", image=str(tmp_path / "red.png")),
                        pair("un cane", image="none.jpg"))  # fmt: skip
    assert [p.id for p in kept] == [good.id]
    assert len(kept[0].phash.split("-")[0]) == 16
    assert [r.reason for r in rejects] == ["single-colour", "unreadable"]


def test_the_paper_recipe_is_the_package_default_and_unknown_keys_are_refused():
    recipe = load_clean_recipe("paper")
    assert recipe.names.share == 0.8
    assert all(getattr(recipe, name) for name in ("captions", "language_check", "pictures", "duplicates"))
    assert load_clean_recipe("paper", ["names.share=0.9"]).names.share == 0.9
    with pytest.raises(UsageError, match=r"unknown key names\.shares"):
        load_clean_recipe("paper", ["names.shares=0.9"])
    with pytest.raises(UsageError, match=r"no such recipe; give a \.toml file or one of: paper"):
        load_clean_recipe("none")
