"""Training pictures of a model are detected: the same file and low-quality copies, but no others."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from clip_italian.errors import UserError
from clip_italian.evaluate.leaks import check
from clip_italian.pictures.leaks import INFO_KEY, SAME_FILE, SAME_LOOK, Fingerprints, fingerprints
from clip_italian.pictures.phash import alike
from tests.pictures.thumbnails import Thumbnails


def photo(seed):
    """Return smooth noise, similar to a photo."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((240, 240), Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(tmp_path):
    """Ten training pictures in a folder, and variants of them in another."""
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for seed in range(9):
        photo(seed).save(tmp_path / "train" / f"{seed}.png")
    Image.new("RGB", (90, 90), "navy").save(tmp_path / "train" / "flat.png")
    return tmp_path


def test_finds_files_and_copies_only(pictures):
    test = pictures / "test"
    (test / "a-file.png").write_bytes((pictures / "train" / "3.png").read_bytes())
    photo(4).resize((120, 120)).save(test / "b-copy.jpg", quality=50)
    photo(50).save(test / "c-new.png")
    (test / "d-flat.png").write_bytes((pictures / "train" / "flat.png").read_bytes())
    Image.new("RGB", (91, 91), "navy").save(test / "e-flat-too.png")  # no outline: never matches
    (test / "f-broken.png").write_text("no picture")
    _, trained = fingerprints(sorted((pictures / "train").iterdir()))
    readable, mine = fingerprints(sorted(test.iterdir()))
    found = mine.found_in(Fingerprints.from_json(json.loads(json.dumps(trained.to_json()))))
    assert dict(zip([path.stem for path in readable], found, strict=True)) == {
        "a-file": SAME_FILE, "b-copy": SAME_LOOK, "c-new": None, "d-flat": SAME_FILE, "e-flat-too": None,
    }  # fmt: skip


hashes = st.builds(
    lambda bits, colours: f"{sum(1 << bit for bit in bits):016x}-{bytes(colours).hex()}",
    st.sets(st.integers(0, 9), max_size=8),
    st.lists(st.integers(120, 140), min_size=6, max_size=6),
)


@given(st.lists(hashes, max_size=8), st.lists(hashes, max_size=8))
def test_matches_are_those_of_alike(tmp_path_factory, mine, others):
    nowhere = tmp_path_factory.getbasetemp() / "none"
    found = Fingerprints.of([nowhere] * len(mine), mine).found_in(Fingerprints.of([nowhere] * len(others), others))
    assert found == [SAME_LOOK if any(alike(a, b) for b in others) else None for a in mine]


class Encoder:
    """The parts of a model that the check uses."""

    def __init__(self, info):
        self.info = info


def test_evaluation_stops_lists_and_can_be_overridden(pictures, capsys):
    _, trained = fingerprints(sorted((pictures / "train").iterdir()))
    encoder = Encoder({INFO_KEY: trained.to_json()})
    photo(2).save(pictures / "old.png")
    photo(60).save(pictures / "new.png")
    ids = {pictures / "old.png": "old", pictures / "new.png": "new"}
    with pytest.raises(UserError, match=r"1 of 2 pictures are among the training pictures of mine;.*--allow-overlap"):
        check({"mine": encoder}, ids, "pairs.jsonl")
    assert "old: the same file as one that the model was trained on" in capsys.readouterr().err.replace("\n", " ")
    seen = {"checked": True, "pictures": 1}
    assert check({"mine": encoder}, ids, "pairs.jsonl", allow=True) == {"mine": seen}
    del ids[pictures / "old.png"]
    assert check({"mine": encoder}, ids, "pairs.jsonl") == {"mine": {"checked": True, "pictures": 0}}


def test_models_that_do_not_tell(pictures, capsys):
    assert check({"theirs": Encoder({})}, {}, "pairs.jsonl") == {"theirs": {"checked": False}}
    assert "theirs has no list of its training pictures" in capsys.readouterr().err
    # One of several is refused all the same.
    _, trained = fingerprints(sorted((pictures / "train").iterdir()))
    both = {"theirs": Encoder({}), "mine": Encoder({INFO_KEY: trained.to_json()})}
    ids = {pictures / "train" / "1.png": "one"}
    with pytest.raises(UserError, match="training pictures of mine"):
        check(both, ids, "pairs.jsonl")
    assert check(both, ids, "pairs.jsonl", allow=True) == {
        "theirs": {"checked": False}, "mine": {"checked": True, "pictures": 1},
    }  # fmt: skip


def test_mirrored_and_brightened_training_pictures_are_found_by_features(pictures, capsys):
    train, test = pictures / "train", pictures / "test"
    _, plain = fingerprints(sorted(train.iterdir()))
    _, trained = fingerprints(sorted(train.iterdir()), encoder=Thumbnails())
    ImageOps.mirror(photo(3)).save(test / "mirrored.png")
    ImageEnhance.Brightness(photo(4)).enhance(0.8).save(test / "darker.png")
    photo(50).save(test / "new.png")
    ids = {path: path.stem for path in sorted(test.iterdir())}
    kept = json.loads(json.dumps(trained.to_json()))
    assert kept["encoder"] == "thumbnails"
    told = check({"mine": Encoder({INFO_KEY: kept})}, ids, "p", allow=True, copies=Thumbnails)
    assert told == {"mine": {"checked": True, "pictures": 2}}
    assert "mirrored: nearly the same picture" in capsys.readouterr().err.replace("\n", " ")
    # Without the encoder, or with fingerprints of before, the hash alone decides; it is not even loaded for those.
    none = check({"mine": Encoder({INFO_KEY: kept})}, ids, "p", allow=True, copies=lambda: None)
    assert none["mine"]["pictures"] < 2
    old = {"old": Encoder({INFO_KEY: plain.to_json()})}
    assert check(old, ids, "p", allow=True, copies=pytest.fail)["old"]["pictures"] < 2


def test_at_most_64_bytes_per_picture_and_unions_keep_features(pictures):
    files = sorted((pictures / "train").iterdir())
    _, some = fingerprints(files[:6], encoder=Thumbnails())
    _, plain = fingerprints(files[4:])
    both = Fingerprints.union([plain, some])
    assert len(both.contents) == len(files)
    assert both.encoder == "thumbnails"
    assert both.features.any(axis=1).sum() == 6
    bytes_each = sum(getattr(both, name)[:1].nbytes for name in ("contents", "outlines", "colours", "features"))
    assert bytes_each <= 64
