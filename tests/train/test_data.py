import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.pairs import Pair, concept, write
from clip_italian.split.draw import identity_groups
from clip_italian.train.data import load_examples

STAGE = {
    "name": "s", "trainable": ["*"], "frozen": [], "learning_rate": 1e-3, "epochs": 1, "patience": 1,
}  # fmt: skip


def recipe(pairs, **data):
    return Recipe.model_validate({"output": "out", "data": {"pairs": pairs, **data}, "stage": [STAGE]})


def loaded(pairs, folder, **data):
    write(pairs, folder / "pairs.parquet")
    return load_examples(recipe(folder / "pairs.parquet", **data))


def concept_groups(pairs):
    return identity_groups([[concept(caption) for caption in pair.captions] for pair in pairs])


def hold_out(pairs, share, seed):
    """The draw that the published splits were made by, row by row."""
    groups = concept_groups(pairs)
    names = {group: pair.id for group, pair in reversed(list(zip(groups, pairs, strict=True)))}
    ordered = sorted(names, key=lambda group: hashlib.sha256(f"{seed}:{names[group]}".encode()).digest())
    held = set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])
    return [replace(pair, split="val" if g in held else "train") for pair, g in zip(pairs, groups, strict=True)]


def fingerprint(pairs):
    """What names the data in the model folders that were published, row by row."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.id, list(pair.captions), pair.split], ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def partition(numbers):
    """Which rows are together, whatever their numbers."""
    return {tuple(np.flatnonzero(np.asarray(numbers) == number)) for number in set(numbers)}


captions = st.lists(st.sampled_from(["Un cane.", "un cane", "un gatto", "due gatti!", "mare", "il mare"]), min_size=1)
rows = st.lists(st.tuples(st.integers(0, 9), captions, st.lists(st.text(min_size=1), max_size=2)), min_size=6)


@settings(deadline=None, max_examples=40)
@given(rows=rows, seed=st.integers(0, 9), text=st.text(alphabet="aà 猫'", min_size=1).filter(str.strip))
def test_rows_are_the_pairs_in_order_with_their_texts(tmp_path_factory, rows, seed, text):
    pairs = [
        Pair(f"{i}-{text}", f"{i}.png", tuple(own), "s", captions_original=tuple(original) or None)
        for i, (_, own, original) in enumerate(rows)
    ]
    if len(set(concept_groups(pairs))) < 4:
        return  # too few identities to divide
    folder = tmp_path_factory.mktemp("pairs")
    write(pairs, folder / "pairs.jsonl")
    settings = recipe(folder / "pairs.jsonl", validation=0.5, original_captions=0.5).model_copy(update={"seed": seed})
    expected = hold_out(pairs, 0.5, str(seed))
    if min(sum(p.split == name for p in expected) for name in ("train", "val")) < 2:
        return
    found = load_examples(settings)
    assert [(p.id, p.captions, p.split) for p in found.pairs(torch.arange(len(pairs)))] == [
        (p.id, p.captions, p.split) for p in expected
    ]
    assert found.fingerprint() == fingerprint(expected)
    assert partition(found.groups.tolist()) == partition(concept_groups(pairs))
    for i, pair in enumerate(pairs):
        assert tuple(found.text(t) for t in range(found.own[i], found.own[i + 1])) == pair.captions
        original = found.texts_of(torch.arange(found.original[i], found.original[i + 1]))
        assert tuple(original) == (pair.captions_original or ())


PAIRS = [
    Pair("a", "a.png", ("un cane", "un cane nero"), "s", "train", ("a dog",)),
    Pair("b", "b.png", ("un gatto",), "s", "train"),
    Pair("c", "a.png", ("il mio amico",), "s", "train", ("my friend",)),
    Pair("d", "d.png", ("mare",), "s", "test"),
    Pair("e", "e.png", ("Mare!",), "s", "val"),
    Pair("f", "f.png", ("sole",), "s", "val"),
]


def test_published_splits_stay_and_other_rows_go(tmp_path):
    examples = loaded(PAIRS, tmp_path)
    assert examples.split_rows("train").tolist() == [0, 1, 2]
    assert examples.split_rows("val").tolist() == [3, 4]
    assert examples.pictures.name(3) == str(tmp_path / "e.png")
    assert examples.fingerprint() == fingerprint([p for p in PAIRS if p.split != "test"])


def test_rows_of_one_picture_have_one_identity_and_are_no_negatives(tmp_path):
    examples = loaded(PAIRS, tmp_path)
    assert examples.identities[0] == examples.identities[2] != examples.identities[1]
    assert examples.groups[0] == examples.groups[2] != examples.groups[1]
    joined = examples.same_where(np.array([7, 9, 8, 9, 5], np.uint64))
    assert partition(joined.identities.tolist()) == {(0, 2), (1, 3), (4,)}
    assert partition(joined.groups.tolist()) == {(0, 2), (1, 3), (4,)}


def test_captions_from_before_translation_only_where_wanted(tmp_path):
    without = loaded(PAIRS, tmp_path)
    assert without.texts.to_pylist() == ["un cane", "un cane nero", "un gatto", "il mio amico", "Mare!", "sole"]
    assert (without.original.diff() == 0).all()
    with_them = loaded(PAIRS, tmp_path, original_captions=0.3)
    assert with_them.texts.to_pylist()[6:] == ["a dog", "my friend"]
    assert with_them.original.tolist() == [6, 7, 7, 8, 8, 8]


def test_a_part_is_numbered_anew(tmp_path):
    part = loaded(PAIRS, tmp_path, original_captions=0.3).subset(torch.tensor([2, 3]))
    assert part.texts.to_pylist() == ["il mio amico", "Mare!", "my friend"]
    assert part.own.tolist() == [0, 1, 2]
    assert part.original.tolist() == [2, 3, 3]
    assert part.ids.to_pylist() == ["c", "e"]
    assert part.pictures.name(0) == str(tmp_path / "a.png")
    assert part.split_rows("val").tolist() == [1]
    assert part.fingerprint() == fingerprint([PAIRS[2], PAIRS[4]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": ("", "un cane")}, "row 2: image 'b.png' has an empty caption"),
        ({"captions": ()}, "row 2: image 'b.png' has an empty caption"),
        ({"captions": (" \n",)}, "row 2: image 'b.png' has an empty caption"),
        ({"image": "https://example.org/b.png"}, r"https://example.org/b.png is not on this machine"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        loaded([PAIRS[0], replace(PAIRS[1], **change), *PAIRS[2:]], tmp_path)


def test_too_few_rows_of_a_split_is_an_error(tmp_path):
    with pytest.raises(UserError, match="1 pairs in split 'val', too few"):
        loaded(PAIRS[:5], tmp_path)


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        loaded([], tmp_path)
