"""Captions with their originals, for runs that learn from a teacher."""

import gzip
from dataclasses import replace

import pytest
import torch

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.pairs import Pair, write
from clip_italian.train.data import load_examples

STAGE = {"name": "s", "trainable": ["*"], "frozen": [], "learning_rate": 1e-3, "epochs": 1, "patience": 1}
TEACHER = {"model": {"teacher": "t", "text": "s"}}
LINES = ["a dog\tun cane", "a cat\tun gatto", "the sea\til mare", "a boat\tuna barca"]


def load(path, **more):
    given = {"output": "out", "data": {"pairs": path, "validation": 0.5}, "stage": [STAGE]} | TEACHER | more
    return load_examples(Recipe.model_validate(given))


def translations(examples):
    """Originals and their translations, by the numbers that both have."""
    numbers, _ = examples.captions(torch.arange(len(examples)))
    originals = examples.texts_of(numbers + len(examples.originals()))
    return list(zip(originals, examples.texts_of(numbers), strict=True))


PAIRS = [
    Pair(f"{i}", f"https://h/{i}.jpg", own, "s", captions_original=before)
    for i, (before, own) in enumerate(
        [
            (("a dog", "a black dog"), ("un cane", "un cane nero")),
            (("a cat",), ("un gatto",)),
            (("the sea",), ("il mare",)),
            (("a boat",), ("una barca",)),
        ]
    )
]


@pytest.mark.parametrize("name", ["pairs.parquet", "pairs.jsonl"])
def test_every_caption_of_a_pairs_file_has_its_original(tmp_path, name):
    write(PAIRS, tmp_path / name)
    found = load(tmp_path / name)  # the pictures are not on this machine
    dogs = [("a dog", "un cane"), ("a black dog", "un cane nero")]
    assert translations(found) == [*dogs, ("a cat", "un gatto"), ("the sea", "il mare"), ("a boat", "una barca")]
    assert translations(found.subset(torch.tensor([2, 0]))) == [("the sea", "il mare"), *dogs]


@pytest.mark.parametrize("name", ["texts.tsv", "texts.txt", "texts.tsv.gz"])
def test_two_columns_of_text_are_originals_and_translations(tmp_path, name):
    text = "\ufeff" + "\n".join([*LINES[:2], "", "  ", *LINES[2:]]) + "\r\n"
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write(text)
    found = load(tmp_path / name)
    assert translations(found) == [tuple(line.split("\t")) for line in LINES]
    assert found.ids.to_pylist() == ["1", "2", "5", "6"]
    assert found.sources(torch.arange(4))[0]["source"] == "texts"
    assert len(found.split_rows("train")) == len(found.split_rows("val")) == 2


def test_rows_that_share_an_original_stay_in_one_split(tmp_path):
    lines = [*LINES, "a dog\tuna cagna", "A dog.\tquel cane"]
    (tmp_path / "texts.tsv").write_text("\n".join(lines))
    groups = load(tmp_path / "texts.tsv").groups.tolist()
    assert groups[0] == groups[4] == groups[5]
    assert len(set(groups)) == 4


def test_rows_without_an_original_for_each_caption_are_left_out_and_counted(tmp_path, capsys):
    lacking = [
        replace(PAIRS[0], id="none", captions_original=None),
        replace(PAIRS[0], id="fewer", captions_original=("a dog",)),
        replace(PAIRS[0], id="blank", captions_original=("a dog", " ")),
    ]
    write([*lacking, *PAIRS], tmp_path / "pairs.parquet")
    found = load(tmp_path / "pairs.parquet")
    assert found.ids.to_pylist() == [p.id for p in PAIRS]
    assert "3 of 7 rows are left out" in capsys.readouterr().err


def lines_of(tmp_path, *lines):
    (tmp_path / "texts.tsv").write_text("\n".join(lines))
    return tmp_path / "texts.tsv"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty; give lines of an original, a tab and its translation"),
        ([*LINES, "a house"], "line 5: not two texts divided by a tab"),
        ([LINES[0], "a house\t "], "line 2: not two texts divided by a tab"),
        (["a\tb\tc", *LINES], "line 1: not two texts divided by a tab"),
        (LINES[:3], "1 pairs in split '(train|val)', too few to train on"),
        ([*LINES, "a\0\tb"], "nul-byte"),
    ],
)
def test_a_text_file_that_cannot_be_used_is_one_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message) as error:
        load(lines_of(tmp_path, *lines))
    assert "texts.tsv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_text_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; give lines of an original"):
        load(tmp_path / "texts.tsv")


def test_captions_without_originals_are_one_line(tmp_path):
    write([replace(p, captions_original=None) for p in PAIRS], tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match=r"no captions with their originals \(captions_original\).*translate"):
        load(tmp_path / "pairs.parquet")


@pytest.mark.parametrize("more", [{"loss": {"pictures": 1.0}}, {"model": {"base": "mini"}}])
def test_a_recipe_that_reads_pictures_needs_them(tmp_path, more):
    with pytest.raises(UserError, match="two columns of text have no pictures"):
        load(lines_of(tmp_path, *LINES), **more)
    write(PAIRS, tmp_path / "pairs.parquet")
    with pytest.raises(UserError, match="is not on this machine; get the pictures by clip-italian fetch"):
        load(tmp_path / "pairs.parquet", **more)
