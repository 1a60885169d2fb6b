"""What occurs again, against cases judged by hand and a plain count in Python."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clip_italian import languages, pairs
from clip_italian.clean.duplicates import Verdict, verdicts
from clip_italian.clean.recipe import Duplicates
from clip_italian.pairs import Pair
from clip_italian.pictures.phash import picture_hash

WORDS = languages.get("it").function_words


def judge(folder, rows, **settings):
    path = folder / "in.parquet"
    pairs.write(rows, path)
    return [v for row in verdicts(path, Duplicates(**settings), WORDS, folder) for v in row]


def pair(number, *captions, phash=None):
    return Pair(f"id-{number}", f"http://h/{number}", captions, "s", phash=phash)


def test_copies_and_near_copies_of_a_caption(tmp_path):
    rows = [
        pair(0, "Un gatto nero", "un cane"),
        pair(1, "un gatto nero", "Un gatto che dorme"),
        pair(2, "Il gatto nero!", "una foto"),
        pair(3, "Nero gatto", "L'autobus 12", "Autobus 15"),
        pair(4, "citta di notte"),
        pair(5, "Città di notte"),
    ]
    found = {(v.row, v.position): v.reason for v in judge(tmp_path, rows)}
    assert found == {
        (1, 0): "duplicate-caption",
        (2, 0): "near-duplicate-caption",
        (3, 0): "near-duplicate-caption",
        (3, 2): "near-duplicate-caption",
        (5, 0): "near-duplicate-caption",
    }


def test_captions_within_one_pair_lose_their_copies_whatever_may_stay_elsewhere(tmp_path):
    rows = [pair(0, "un cane", "Un cane", "il cane"), pair(1, "un cane")]
    found = {(v.row, v.position): v.reason for v in judge(tmp_path, rows, pictures_per_caption=None)}
    assert found == {(0, 1): "duplicate-caption", (0, 2): "near-duplicate-caption"}


def test_boilerplate_goes_everywhere(tmp_path):
    rows = [pair(i, "Logo della squadra", f"caption {chr(97 + i)}") for i in range(4)]
    assert judge(tmp_path, rows, boilerplate=3, pictures_per_caption=None) == [
        Verdict(i, 0, "boilerplate", "at 4 pictures") for i in range(4)
    ]
    assert judge(tmp_path, rows, boilerplate=4, pictures_per_caption=None) == []


def test_other_scripts_and_captions_of_function_words_are_not_all_alike(tmp_path):
    rows = [pair(0, "кошка"), pair(1, "собака"), pair(2, "con il"), pair(3, "per la"), pair(4, "!!!"), pair(5, "???")]
    assert judge(tmp_path, rows) == []


def test_pictures_alike_stand_for_the_first_that_stays(tmp_path):
    colour = "-" + "80" * 6
    rows = [
        pair(0, "a", phash="a" * 16 + colour),
        pair(1, "b"),
        pair(2, "c", phash="a" * 15 + "9" + colour),  # 2 bits from the first
        pair(3, "d", phash="a" * 15 + "5" + colour),  # 4 bits from the first, 2 from the third, which goes
        pair(4, "c", phash="5" * 16 + colour),
    ]
    assert judge(tmp_path, rows, picture_distance=2) == [Verdict(2, None, "near-duplicate-picture", "of id-0")]
    assert [v.row for v in judge(tmp_path, rows, picture_distance=4)] == [2, 3]
    # The caption "c" stays with the fifth picture although the third had it first: the third goes.


CAPTIONS = st.lists(st.sampled_from(["un cane", "Cane", "il gatto", "gatto nero", "GATTO NERO", "sole"]), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(CAPTIONS, min_size=1, max_size=8), st.integers(1, 3), st.integers(3, 5))
def test_same_as_counting_in_python(tmp_path_factory, captions, keep, boilerplate):
    rows = [pair(i, *some) for i, some in enumerate(captions)]
    found = judge(tmp_path_factory.mktemp("d"), rows, pictures_per_caption=keep, boilerplate=boilerplate)
    where = defaultdict(list)
    for row in range(len(rows)):
        for position, caption in enumerate(rows[row].captions):
            key = frozenset(word for word in caption.lower().split() if word not in WORDS)
            where[key].append((row, position))
    expected = set()
    for places in where.values():
        pictures = sorted({row for row, _ in places})
        first = {}
        for row, position in places:
            everywhere = len(pictures) > boilerplate
            if everywhere or pictures.index(row) >= keep or first.setdefault(row, position) != position:
                expected.add((row, position))
    assert {(v.row, v.position) for v in found} == expected


def test_an_empty_file(tmp_path):
    assert judge(tmp_path, []) == []


def test_settings_are_checked():
    with pytest.raises(ValueError, match="boilerplate"):
        Duplicates(boilerplate=0)


class Same:
    """An encoder to which all pictures are alike: the second look alone decides."""

    name, dim, at_least = "same", 4, None

    def encode(self, pictures):
        return np.full((len(pictures), 4), 0.5, np.float32)


def test_cropped_and_mirrored_copies_go_by_option_only(tmp_path):
    rows = []
    for number in range(3):
        noise = np.random.default_rng(number).integers(40, 190, (9, 9, 3), np.uint8)
        image = Image.fromarray(noise).resize((240, 240), Image.Resampling.BICUBIC)
        ways = {"a": image, "cut": image.crop((24, 24, 216, 216)), "mirrored": ImageOps.mirror(image)}
        for way, changed in ways.items():
            name = f"{number}-{way}.png"
            changed.save(tmp_path / name)
            rows.append(Pair(name, name, (f"didascalia {number} {way}",), "s", phash=picture_hash(changed)))
    pairs.write(rows, tmp_path / "in.parquet")
    recipe = Duplicates(pictures_per_caption=None, boilerplate=None, picture_distance=2)
    assert not list(verdicts(tmp_path / "in.parquet", recipe, frozenset(), tmp_path))
    found = list(verdicts(tmp_path / "in.parquet", recipe, frozenset(), tmp_path, Same()))
    assert [(one.row, one.reason, one.detail) for [one] in found] == [
        (3 * n + k, "near-duplicate-picture", f"of {n}-a.png") for n in range(3) for k in (1, 2)
    ]
