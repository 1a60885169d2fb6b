"""MSCOCO-IT: the published JSON files with what is odd in them."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.mscoco_it import MscocoIt

SAMPLE = Path(__file__).parents[1] / "data" / "captions_ita_devset_validated_sample.json"
PUBLISHED = Path(__file__).parents[3] / "shared/mscoco-it"
DEV = "captions_ita_devset_unvalidated.json.gz"


def image(number, part="val2014"):
    return {"id": number, "file_name": f"COCO_{part}_{int(number):012d}.jpg", "license": 4, "height": 1, "width": 1}


def annotation(number, caption="un gatto", id_=1):
    return {"image_id": number, "id": id_, "caption": caption}


def write(folder, images, annotations, name=DEV):
    data = {
        "info": {"year": 2014}, "type": "captions", "annotations": annotations, "images": images,
        "licenses": [{"id": 4, "name": "Attribution License", "url": "http://licence"}],
    }  # fmt: skip
    raw = json.dumps(data, ensure_ascii=False).encode()
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder / name


def found(path, images=None):
    return list(MscocoIt(images)(path))


def test_the_sample_file():
    first, second, unlisted = found(SAMPLE)
    assert (first.id, len(first.captions), first.captions[2]) == (
        "coco-000000000011",
        5,
        "Un vecchio ponte tra gli alberi",
    )
    assert (second.id, len(second.captions)) == ("coco-000000000023", 5)
    assert (unlisted.id, unlisted.captions) == ("coco-000000000037", ("Un mulino che manca tra le immagini",))
    assert unlisted.image.endswith("/val2014/COCO_val2014_000000000037.jpg")
    assert {(pair.source, pair.split) for pair in (first, second, unlisted)} == {("mscoco-it", "val")}


def test_five_captions_an_image_in_their_order(tmp_path):
    many = [annotation(number, f"caption {n} of {number} ", n) for n in range(5) for number in (42, 7)]
    first, second = found(write(tmp_path, [image(7), image(42)], many))
    assert first == Pair(
        "coco-000000000007",
        "http://images.cocodataset.org/val2014/COCO_val2014_000000000007.jpg",
        tuple(f"caption {n} of 7" for n in range(5)),
        "mscoco-it",
        "val",
        license="image: Attribution License; captions: CC BY 4.0 (MSCOCO), translation: CC BY-SA 4.0",
        page="https://cocodataset.org/#explore?id=7",
    )
    assert second.captions == tuple(f"caption {n} of 42" for n in range(5))


def test_ids_are_integers_in_some_files_and_strings_in_others(tmp_path):
    path = write(tmp_path, [image(42), image("7")], [annotation("42"), annotation(42), annotation(7), annotation("07")])
    assert [(pair.id, len(pair.captions)) for pair in found(path)] == [
        ("coco-000000000042", 2),
        ("coco-000000000007", 2),
    ]


@pytest.mark.parametrize(
    ("name", "source", "split"),
    [
        ("captions_ita_trainingset_train2014.json.gz", "mscoco-it", "train"),
        ("captions_ita_trainingset_val2014.json", "mscoco-it", "train"),
        ("captions_ita_devset_unvalidated.json", "mscoco-it", "val"),
        ("captions_ita_devset_validated.json.gz", "mscoco-it", "val"),
        ("captions_ita_testset_unvalidated.json", "mscoco-it", "test"),
        ("captions_ita_testset_validated.json", "mscoco-it", "test"),
        ("mine.json", "mscoco-it", None),
    ],
)
def test_file_names_tell_source_and_split(tmp_path, name, source, split):
    (pair,) = found(write(tmp_path, [image(1)], [annotation(1)], name))
    assert (pair.source, pair.split) == (source, split)


def test_pictures_flat_and_in_folders(tmp_path):
    folder = tmp_path / "coco"
    for name in ("COCO_val2014_000000000001.jpg", "val2014/COCO_val2014_000000000002.jpg",
                 "train2014/COCO_train2014_000000000003.jpg", "train2014/COCO_val2014_000000000004.jpg"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = write(tmp_path, [image(1), image(2), image(3, "train2014"), image(4)], [annotation(n) for n in (1, 2, 3, 4)])
    *kept, missing = found(path, folder)
    assert [str(Path(pair.image).relative_to(folder)) for pair in kept] == [
        "COCO_val2014_000000000001.jpg",
        "val2014/COCO_val2014_000000000002.jpg",
        "train2014/COCO_train2014_000000000003.jpg",
    ]
    assert missing == Reject("coco-000000000004", "missing-image", "un gatto", "COCO_val2014_000000000004.jpg")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("000000000359.jpg", "val2014"),
        ("val2017/000000000359.jpg", "val2014"),
        ("train2017/000000000359.jpg", "val2014"),
        ("val2017/000000000359.jpg", "train2014"),
        ("images/train2017/000000000359.jpg", "train2014"),
        ("val2014/000000000359.jpg", "val2014"),
    ],
)
def test_pictures_by_the_names_of_2017(tmp_path, name, part):
    picture = tmp_path / "coco" / name
    picture.parent.mkdir(parents=True)
    picture.touch()
    (pair,) = found(write(tmp_path, [image(359, part)], [annotation(359)]), tmp_path / "coco")
    assert (pair.id, pair.image) == ("coco-000000000359", str(picture))


def test_lists_with_names_of_2017(tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/COCO_val2014_000000000359.jpg").touch()
    path = write(tmp_path, [image(359) | {"file_name": "000000000359.jpg"}], [annotation(359)])
    assert found(path, tmp_path / "coco")[0].image.endswith("/coco/COCO_val2014_000000000359.jpg")


def test_annotations_of_images_that_are_not_listed(tmp_path):
    training = "captions_ita_trainingset_train2014.json"
    assert found(write(tmp_path, [], [annotation(9)], training))[0].image == (
        "http://images.cocodataset.org/train2014/COCO_train2014_000000000009.jpg"
    )
    (pair,) = found(write(tmp_path, [], [annotation("9")]))
    assert pair.image == "http://images.cocodataset.org/val2014/COCO_val2014_000000000009.jpg"
    assert pair.license.startswith("image: unknown;")


def test_odd_entries_are_rejected_one_by_one(tmp_path):
    annotations = [
        annotation("x"), annotation(None), annotation(1, " "), annotation(1, None), annotation(1, 5),
        annotation(1, "nu\0lo"), annotation(1, "un cane"), "no object", annotation(-1), annotation("9" * 5000),
    ]  # fmt: skip
    items = found(
        write(tmp_path, [image(1), image(2), {"id": "y"}, {}, 3, image(5) | {"file_name": "../x"}], annotations)
    )
    assert Counter(item.reason for item in items if isinstance(item, Reject)) == {
        "bad-id": 6, "no-caption": 5, "nul-byte": 1,
    }  # fmt: skip
    assert [pair.captions for pair in items if isinstance(pair, Pair)] == [("un cane",)]


def test_half_characters_in_json(tmp_path):
    path = tmp_path / "captions_ita_devset_validated.json"
    path.write_text(
        '{"annotations": [{"image_id": 1, "caption": "\\ud83d"}, {"image_id": 1, "caption": "\\ud83d\\ude42"}]}'
    )
    items = found(path)
    assert [item.reason for item in items if isinstance(item, Reject)] == ["broken-text"]
    assert items[-1].captions == ("🙂",)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b'{"annotations": [', "not JSON .*download the file again"),
        (b"\0\0", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list of annotations"),
        (b'{"annotations": 3}', "no list of annotations"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], "damaged gzip file .*download it again"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, raw, words):
    (tmp_path / DEV).write_bytes(raw)
    with pytest.raises(UserError, match=f"{DEV}: {words}"):
        found(tmp_path / DEV)


def test_encodings(tmp_path):
    plain = json.dumps({"annotations": [annotation(1, "perché")]}, ensure_ascii=False)
    for raw in (plain.encode("utf-8-sig"), plain.encode("latin-1")):
        (tmp_path / DEV).write_bytes(raw)
        assert found(tmp_path / DEV)[0].captions == ("perché",)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"needs the published files in {PUBLISHED}")
def test_the_published_files(tmp_path):
    """Against a count of the JSON itself."""
    files = sorted(PUBLISHED.glob("*.json.gz"))
    summary = collect("mscoco-it", MscocoIt(), {}, files, tmp_path / "coco.parquet", workers=2)
    kept = pairs.read(tmp_path / "coco.parquet")
    expected = {}
    for path in files:
        for entry in json.loads(gzip.decompress(path.read_bytes()))["annotations"]:
            expected.setdefault(int(entry["image_id"]), []).append(" ".join(entry["caption"].split()))
    assert {int(pair.id.removeprefix("coco-")): list(pair.captions) for pair in kept} == expected
    assert (summary.after, summary.rejected) == (2600, {})
    assert Counter((pair.source, pair.split) for pair in kept) == {
        ("mscoco-it", "val"): 2004, ("mscoco-it", "test"): 596,
    }  # fmt: skip
