"""MSCOCO-IT and XTD10 from tiny copies of their files."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import sets
from clip_italian.evaluate.sets.base import Size, load

DEV = "mscoco-it-dev-unvalidated"
SETS = sets.known(languages.get("it"))
PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "mscoco-it"


def tiny(name, pictures, captions):
    return replace(SETS[name], size=Size(pictures, captions))


@pytest.fixture
def coco(tmp_path):
    """Two pictures with three captions in all, ids as numbers and as texts."""
    images = [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "license": 1}, {"id": 7, "license": 1}]
    annotations = [
        {"image_id": 42, "id": 1, "caption": "un  gatto"},
        {"image_id": "42", "id": 2, "caption": "un gatto nero"},
        {"image_id": "7", "id": "3", "caption": "un treno"},
    ]
    text = json.dumps({"images": images, "annotations": annotations})
    (tmp_path / "captions_ita_devset_unvalidated.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "val2014").mkdir()
    for number in (42, 7):
        (tmp_path / f"val2014/COCO_val2014_{number:012d}.jpg").touch()
    return tmp_path


def test_mscoco_it(coco):
    found = load(tiny(DEV, 2, 3), coco)
    assert [(pair.id, pair.captions, pair.source, pair.split) for pair in found.pairs] == [
        ("coco-000000000042", ("un gatto", "un gatto nero"), DEV, "test"),
        ("coco-000000000007", ("un treno",), DEV, "test"),
    ]
    assert found.pairs[0].image == str(coco / "val2014/COCO_val2014_000000000042.jpg")
    assert found.notes == ()


def test_published_sizes_are_asked_for(coco):
    with pytest.raises(UserError, match=f"2 pictures of {DEV}, published are 1,696; download it again"):
        load(SETS[DEV], coco)
    with pytest.raises(UserError, match=f"3 captions of {DEV}, published are 4"):
        load(tiny(DEV, 2, 4), coco)


def test_missing_pictures_are_one_line_or_a_note(coco):
    (coco / "val2014/COCO_val2014_000000000007.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 of 2 pictures .* missing, first COCO_val2014_000000000007.jpg; .*--partial"
    ):
        load(tiny(DEV, 2, 3), coco)
    found = load(tiny(DEV, 2, 3), coco, partial=True)
    assert [pair.id for pair in found.pairs] == ["coco-000000000042"]
    assert found.notes[0].startswith("measured in part: ")
    (coco / "val2014/COCO_val2014_000000000042.jpg").unlink()
    with pytest.raises(UserError, match="2 of 2 pictures"):
        load(tiny(DEV, 2, 3), coco, partial=True)


def test_missing_files_and_damaged_ones(coco, tmp_path):
    with pytest.raises(UserError, match="no such folder; `clip-italian evaluate sets xtd10`"):
        load(SETS["xtd10"], tmp_path / "no")
    with pytest.raises(UserError, match=r"no test_image_names.txt in it; it comes from https://"):
        load(SETS["xtd10"], tmp_path)
    with pytest.raises(UserError, match=r"no captions_ita_testset_validated.json.gz in it"):
        load(SETS["mscoco-it-test"], tmp_path)
    text = json.dumps({"annotations": [{"image_id": "x", "id": 1, "caption": "un gatto"}]})
    (tmp_path / "captions_ita_devset_validated.json").write_text(text)
    with pytest.raises(UserError, match=r"bad-id \(.*image 'x'\); download the file again"):
        load(SETS["mscoco-it-dev"], tmp_path)


@pytest.fixture
def xtd(tmp_path):
    """Two pictures of MSCOCO's training set and one of its validation set, in the repository's folder."""
    names = ["COCO_train2014_000000061844.jpg", "COCO_train2014_000000061849.jpg", "COCO_val2014_000000127068.jpg"]
    (tmp_path / "XTD10").mkdir()
    (tmp_path / "XTD10/test_image_names.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "XTD10/test_1kcaptions_it.txt").write_text("Un cane.\nUna pizza. \nUn treno alla stazione.")
    (tmp_path / "train2014").mkdir()
    (tmp_path / "train2014" / names[0]).touch()
    for name in names[1:]:
        (tmp_path / name).touch()
    return tmp_path


def test_pictures_by_the_names_of_2017(coco, xtd):
    (coco / "train2017").mkdir()
    (coco / "val2014/COCO_val2014_000000000042.jpg").rename(coco / "train2017/000000000042.jpg")
    assert load(tiny(DEV, 2, 3), coco).pairs[0].image == str(coco / "train2017/000000000042.jpg")
    (xtd / "val2017").mkdir(exist_ok=True)
    (xtd / "COCO_val2014_000000127068.jpg").rename(xtd / "val2017/000000127068.jpg")
    (xtd / "COCO_train2014_000000061849.jpg").rename(xtd / "000000061849.jpg")
    images = [pair.image for pair in load(tiny("xtd10", 3, 3), xtd).pairs]
    assert images[1:] == [str(xtd / "000000061849.jpg"), str(xtd / "val2017/000000127068.jpg")]


def test_xtd10_warns_of_training_pictures(xtd):
    found = load(tiny("xtd10", 3, 3), xtd)
    assert [(pair.id, pair.captions) for pair in found.pairs] == [
        ("coco-000000061844", ("Un cane.",)),
        ("coco-000000061849", ("Una pizza.",)),
        ("coco-000000127068", ("Un treno alla stazione.",)),
    ]
    (note,) = found.notes
    assert note.startswith("2 of its 3 pictures are training pictures of MSCOCO")


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        ("Un cane.\nUna pizza.\n", "3 names of pictures, 2 captions"),
        ("Un cane.\n\nUn treno.\n", "line 2 of XTD10 has no picture of MSCOCO or no caption"),
    ],
)
def test_lines_must_belong_together(xtd, captions, words):
    (xtd / "XTD10/test_1kcaptions_it.txt").write_text(captions)
    with pytest.raises(UserError, match=words):
        load(tiny("xtd10", 3, 3), xtd)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"needs the published files in {PUBLISHED}")
@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("mscoco-it")])
def test_the_published_files_have_the_published_sizes(tmp_path, name):
    for path in PUBLISHED.glob("*.json.gz"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "val2014").mkdir()
    for picture in SETS[name].read(tmp_path).missing:
        (tmp_path / "val2014" / picture).touch()
    assert len(load(SETS[name], tmp_path).pairs) == SETS[name].size.pictures
