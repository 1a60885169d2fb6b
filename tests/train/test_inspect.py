from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.pairs import Pair, read, write
from clip_italian.pictures.decoding import open_picture
from clip_italian.pictures.leaks import Fingerprints
from clip_italian.pictures.phash import picture_hash
from clip_italian.train import inspect as module
from clip_italian.train.data import load_examples
from clip_italian.train.inspect import inspect, write_errors
from tests.train.test_data import recipe


@pytest.fixture
def data(shapes, cache):
    """54 shapes, the picture of the first in two more rows: by the same path, and as a copy."""
    pairs = read(shapes)
    (shapes.parent / "images" / "copy.png").write_bytes((shapes.parent / pairs[0].image).read_bytes())
    again = [Pair("again", pairs[0].image, ("un disco",), "s"), Pair("copy", "images/copy.png", ("un tondo",), "s")]
    write([*pairs, *again], shapes)
    return load_examples(recipe(shapes, validation=0.3))


def path(data, row):
    return data.pictures.path(row)


@pytest.mark.parametrize("workers", [0, 2])
def test_looks_and_contents_are_those_of_the_files(data, workers, monkeypatch):
    monkeypatch.setattr(module, "_PART", 20)
    seen = []
    found = inspect(data, workers, seen.append)
    assert sum(seen) == 56
    assert found.good_rows.tolist() == list(range(56))
    assert found.looks == [picture_hash(open_picture(path(data, row))) for row in range(56)]
    paths = [path(data, row) for row in range(56)]
    assert np.array_equal(found.contents, Fingerprints.of(paths, found.looks).contents)
    different = found.fingerprints(torch.arange(56))
    assert np.array_equal(different.contents, found.contents[:54])
    assert np.array_equal(different.outlines, Fingerprints.of(paths[:54], found.looks[:54]).outlines)
    joined = data.same_where(found.contents)
    assert joined.identities[0] == joined.identities[54] == joined.identities[55]
    assert len(joined.identities.unique()) == 54


def test_unreadable_pictures_are_left_out_and_listed(data, tmp_path):
    path(data, 0).write_bytes(path(data, 0).read_bytes()[:60])
    path(data, 9).unlink()
    found = inspect(data, 0, lambda _: None)
    assert sorted(set(range(56)) - set(found.good_rows.tolist())) == [0, 9, 54]
    write_errors(found, tmp_path / "errors.txt")
    lines = (tmp_path / "errors.txt").read_text().splitlines()
    assert len(lines) == 2
    assert str(path(data, 0)) in lines[0]
    assert str(path(data, 9)) in lines[1]
    assert len(found.looks) == len(found.contents) == 53
    write_errors(replace(found, errors=[]), tmp_path / "errors.txt")
    assert not (tmp_path / "errors.txt").exists()


def test_what_was_seen_is_not_read_again_until_it_changes(data, monkeypatch):
    first = inspect(data, 0, lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(module, "in_order", None)
        seen = []
        again = inspect(data, 0, seen.append)
        assert sum(seen) == 56
        assert (again.looks, again.good_rows.tolist()) == (first.looks, first.good_rows.tolist())
        assert np.array_equal(again.contents, first.contents)
    Image.new("RGB", (30, 20), "pink").save(path(data, 5))
    changed = inspect(data, 0, lambda _: None)
    assert [row for row in range(56) if changed.looks[row] != first.looks[row]] == [5]


def test_a_killed_inspection_goes_on(data, monkeypatch):
    monkeypatch.setattr(module, "_PART", 20)
    monkeypatch.setattr(module, "_AT_ONCE", 10)

    def killed(done):
        killed.rows += done
        if killed.rows > 30:
            raise KeyboardInterrupt

    killed.rows = 0
    with pytest.raises(KeyboardInterrupt):
        inspect(data, 0, killed)
    seen = []
    assert len(inspect(data, 0, seen.append).looks) == 56
    assert seen[0] == 21  # the first part of 20 pictures, one of which has two rows, was there


def test_nothing_readable_is_one_line_with_the_reasons(data):
    for row in range(56):
        path(data, row).write_text("broken")
    path(data, 3).unlink()
    with pytest.raises(UserError, match="0 readable pairs of 56: not a picture in a known format 54, cannot be read 1"):
        inspect(data, 0, lambda _: None)
