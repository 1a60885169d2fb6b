"""Folders of classes and shards, labels from files, and everything that can be wrong with them."""

import io
import json

import numpy as np
import pytest

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import labelled, labels, run
from clip_italian.evaluate.bootstrap import Resampling
from tests.conftest import draw_shape
from tests.tars import write_tar

ITALIAN = languages.get("it")


def png(shape, colour, seed=0):
    sink = io.BytesIO()
    draw_shape(shape, colour, seed).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "set"
    for name, colour in (("cerchio_rosso", "red"), ("cerchio_blu", "blue"), ("quadrato_nero", "black")):
        (place / name / "more").mkdir(parents=True)
        shape = name.split("_")[0]
        draw_shape(shape, colour, 1).save(place / name / "b.png")
        draw_shape(shape, colour, 2).save(place / name / "more" / "a.jpg")
    (place / "README.txt").write_text("not a class")
    return place


def load(source, file=None, room=None, allow_empty=False):
    (data,) = labelled.load([source], [str(file)] if file else [], ITALIAN, room or source, allow_empty)
    return data


def test_a_folder_a_class(folder):
    data = load(folder)
    assert data.classes == ("cerchio_blu", "cerchio_rosso", "quadrato_nero")
    assert data.names == (("un cerchio blu",), ("un cerchio rosso",), ("un quadrato nero",))
    assert data.ids[:2] == ("cerchio_blu/b.png", "cerchio_blu/more/a.jpg")
    assert data.right == (0, 0, 1, 1, 2, 2)
    fingerprint = data.fingerprint()
    (folder / "cerchio_blu" / "b.png").rename(folder / "cerchio_blu" / "c.png")
    assert load(folder).fingerprint() != fingerprint


def test_an_archive_beside_the_classes_is_no_shard(folder):
    write_tar(folder / "backup.tar", {"0.png": png("cerchio", "red"), "0.cls": b"0"})
    assert load(folder).classes == ("cerchio_blu", "cerchio_rosso", "quadrato_nero")


def test_classes_are_walked_as_other_folders(folder):
    for name in ("@eaDir", "__MACOSX"):
        (folder / name).mkdir()
        draw_shape("cerchio", "red", 1).save(folder / name / "x.jpg")
    (folder / "cerchio_blu" / "b.png").rename(folder / "cerchio_blu" / "b.jfif")
    (folder / "cerchio_rosso" / ".hidden.png").write_bytes(png("cerchio", "red"))
    (folder / "quadrato_nero").rename(folder.parent / "extern")
    (folder / "quadrato_nero").symlink_to("../extern")
    data = load(folder)
    assert data.classes == ("cerchio_blu", "cerchio_rosso", "quadrato_nero")
    assert data.ids == (
        "cerchio_blu/b.jfif", "cerchio_blu/more/a.jpg", "cerchio_rosso/b.png", "cerchio_rosso/more/a.jpg",
        "quadrato_nero/b.png", "quadrato_nero/more/a.jpg",
    )  # fmt: skip


def test_shards_with_numbers_and_names_beside(tmp_path):
    write_tar(tmp_path / "0.tar", {"a.png": png("cerchio", "red"), "a.cls": b"1\n", "b.png": png("cerchio", "blue"),
                               "b.cls": b"0"})  # fmt: skip
    write_tar(tmp_path / "1.tar", {"a.png": png("cerchio", "red", 3), "a.cls": b"01", "x.png": b"no class"})
    (tmp_path / "classnames.txt").write_text("cerchio blu\ncerchio rosso\n")
    room = tmp_path / "room"
    room.mkdir()
    data = load(tmp_path, room=room)
    assert data.classes == ("0", "1")
    assert data.names == (("un cerchio blu",), ("un cerchio rosso",))
    assert data.ids == ("0.tar/b", "0.tar/a", "1.tar/a")
    assert data.right == (0, 1, 1)
    assert data.paths[2].read_bytes() == png("cerchio", "red", 3)


def test_shards_with_names_inside(tmp_path):
    one = write_tar(
        tmp_path / "0.tar", {"a.png": b"A", "a.json": b'{"label": "gatto"}', "b.jpg": b"B", "b.cls": b"cane"}
    )
    data = load(one, room=tmp_path)
    assert data.names == (("un cane",), ("un gatto",))


def test_labels_from_files(tmp_path, folder):
    file = tmp_path / "l.json"
    wanted = {"cerchio_blu": ["un cerchio azzurro", "disco blu"], "cerchio_rosso": "disco rosso", "quadrato_nero": "x"}
    file.write_text(json.dumps(wanted))
    assert load(folder, file).names == (("un cerchio azzurro", "un disco blu"), ("un disco rosso",), ("uno x",))
    file.write_text(json.dumps(["mela", "l'uva", "un’ape"]))
    assert load(folder, file).names == (("una mela",), ("l'uva",), ("un’ape",))
    plain = tmp_path / "l.txt"
    plain.write_text("mela\npera\n\nsedia\n")
    assert load(folder, plain).names[2] == ("una sedia",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["a", "b"]', "2 labels for 3 classes"),
        ('{"cerchio_blu": "a", "cerchio_rosso": "b"}', r"no label for 1 class \('quadrato_nero'\)"),
        ('{"cerchio_blu": "a", "cerchio_rosso": "b", "quadrato_nero": " "}', "class 'quadrato_nero' has no label"),
        ('{"cerchio_blu": [], "cerchio_rosso": "b", "quadrato_nero": "c"}', "class 'cerchio_blu' has no label"),
        (
            '{"cerchio_blu": "a", "cerchio_rosso": "b", "quadrato_nero": "c", "gatto": "d"}',
            r"no pictures for 1 class",
        ),
        ("3", "no labels; expected"),
        ("{", "not JSON"),
    ],
)
def test_wrong_labels(tmp_path, folder, text, words):
    file = tmp_path / "l.json"
    file.write_text(text)
    with pytest.raises(UserError, match=words):
        load(folder, file)


def test_a_label_without_pictures_may_stay_as_a_wrong_answer(tmp_path, folder):
    file = tmp_path / "l.json"
    file.write_text('{"gatto": "d", "cerchio_blu": "a", "cerchio_rosso": "b", "quadrato_nero": "c"}')
    data = load(folder, file, allow_empty=True)
    assert data.classes == ("cerchio_blu", "cerchio_rosso", "gatto", "quadrato_nero")
    assert data.right == (0, 0, 1, 1, 3, 3)


NUMBERS = ("un topo", "un gatto", "un cane", "un treno", "una pera", "una mela", "un'ape", "un re", "un fiore",
           "un albero", "una sedia", "un letto")  # fmt: skip


def numbered(place, folders):
    for folder in folders:
        (place / folder).mkdir(parents=True)
        draw_shape("cerchio", "red", 1).save(place / folder / "a.png")
    return place


@pytest.mark.parametrize("form", ["{}", "{:02}", "{:03}"])
@pytest.mark.parametrize("start", [0, 1])
def test_folders_that_are_numbers_are_in_numeric_order(tmp_path, form, start):
    folders = [form.format(number + start) for number in range(12)]
    file = tmp_path / "l.json"
    file.write_text(json.dumps(NUMBERS))
    data = load(numbered(tmp_path / "set", folders), file)
    assert data.classes == tuple(folders)
    assert dict(zip(data.classes, data.names, strict=True)) == dict(
        zip(folders, [(name,) for name in NUMBERS], strict=True)
    )
    assert [data.ids[place] for place in (2, 10)] == [f"{folders[2]}/a.png", f"{folders[10]}/a.png"]


@pytest.mark.parametrize(
    ("folders", "why"),
    [
        ([f"classe{number}" for number in range(12)], r"two orders \(alphabetical or numeric, from 'classe2' on\)"),
        (["1", "01", "2"], "are the same number"),
        (["a-9", "a-10", "b"], "two orders"),
    ],
)
def test_a_list_for_classes_whose_order_is_unclear_is_refused(tmp_path, folders, why):
    place, file = numbered(tmp_path / "set", folders), tmp_path / "l.json"
    file.write_text(json.dumps(NUMBERS[: len(folders)]))
    with pytest.raises(UserError, match=why):
        load(place, file)
    file.write_text(json.dumps(dict(zip(folders, NUMBERS, strict=False))))
    assert set(load(place, file).classes) == set(folders)


def test_shards_are_read_in_numeric_order(tmp_path):
    for number in (10, 2):
        write_tar(tmp_path / f"{number}.tar", {"a.png": png("cerchio", "red"), "a.cls": b"cane"})
    assert load(tmp_path, room=tmp_path).ids == ("2.tar/a", "10.tar/a")


def test_equal_labels_are_said(tmp_path, folder, capsys):
    file = tmp_path / "l.json"
    file.write_text('["gatto", "gatto", "mela"]')
    load(folder, file)
    assert "1 name ('un gatto') for several classes" in capsys.readouterr().err


def test_sets_that_are_none(tmp_path, folder):
    (folder / "vuota").mkdir()
    with pytest.raises(UserError, match=r"no pictures for 1 class \('vuota'\); add some"):
        load(folder)
    with pytest.raises(UserError, match="no folders in it; expected a folder for each class"):
        load(folder / "vuota")
    with pytest.raises(UserError, match="no such folder or shard"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="the classes are numbers; give their names"):
        load(write_tar(tmp_path / "0.tar", {"a.png": b"A", "a.cls": b"1"}), room=tmp_path)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:700])
    with pytest.raises(UserError, match="damaged shard"):
        load(tmp_path / "cut.tar", room=tmp_path)
    with pytest.raises(UserError, match="WordNet ids"):
        labels.from_class_names(["n01440764", "n01443537"], ITALIAN)
    with pytest.raises(UserError, match="its name has no words"):
        labels.from_class_names(["_"], ITALIAN)


@pytest.mark.parametrize("form", ["folders", "hub", "flat folder"])
def test_imagenet_with_the_languages_own_labels(tmp_path, form, capsys):
    place = tmp_path / "imagenet" if form == "flat folder" else tmp_path / "imagenet" / "val"
    place.mkdir(parents=True)
    for number, wordnet in enumerate(("n01440764", "n07873807"), start=1):
        name = f"ILSVRC2012_val_{number:08d}{'' if form == 'folders' else f'_{wordnet}'}.JPEG"
        folder = place / wordnet if form == "folders" else place
        folder.mkdir(exist_ok=True)
        draw_shape("cerchio", "red", number).save(folder / name)
    sets = labelled.load([tmp_path / "imagenet"], ["curated", "curated-synonyms"], ITALIAN, tmp_path, True)
    for data, tench in zip(sets, (1, 3), strict=True):
        assert len(data.classes) == 1000
        assert data.ids == ("imagenet-00000001", "imagenet-00000002")
        assert [data.classes[number] for number in data.right] == ["n01440764", "n07873807"]
        assert data.names[0][0] == "una tinca"
        assert len(data.names[0]) == tench
    assert sets[0].fingerprint() == sets[1].fingerprint()
    assert "2 pictures, ImageNet's validation set has 50,000" in capsys.readouterr().err


def test_imagenets_labels_by_number(tmp_path):
    one = write_tar(tmp_path / "0.tar", {"a.png": b"A", "a.cls": b"0", "b.png": b"B", "b.cls": b"963"})
    with pytest.raises(UserError, match="no pictures for 998 classes"):
        labelled.load([one], ["curated"], ITALIAN, tmp_path)
    (data,) = labelled.load([one], ["curated"], ITALIAN, tmp_path, True)
    assert [data.names[number][0] for number in data.right] == ["una tinca", "una pizza"]
    (tmp_path / "2021.txt").write_text("\n".join(f"etichetta {number}" for number in range(1000)))
    (other,) = labelled.load([one], [str(tmp_path / "2021.txt")], ITALIAN, tmp_path, True)
    assert other.classes == data.classes
    assert [other.names[number][0] for number in other.right] == ["un'etichetta 0", "un'etichetta 963"]


def test_measured_class_by_class(folder, tiny_encoder):
    data = load(folder)
    (embedded,) = run.embed_classes([run.NamedModel("tiny", "tiny", tiny_encoder)], [data], {})
    measured = run.classes_result(embedded, ["una foto di {}", "{}"], Resampling(50))
    figures = measured.result
    found = np.array(figures["ranks"]["zeroshot"])
    texts = np.stack([tiny_encoder.encode_text([f"una foto di {name}", name]).mean(axis=0) for (name,) in data.names])
    scores = tiny_encoder.encode_images(data.paths) @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    expected = [1 + int((line > line[right]).sum()) for line, right in zip(scores, data.right, strict=True)]
    assert found.tolist() == expected
    assert figures["accuracy@1"] == pytest.approx(np.mean(found == 1), abs=1e-4)
    by_class = [part["accuracy@1"] for part in figures["per_class"].values()]
    assert figures["mean_class_accuracy@1"] == pytest.approx(np.mean(by_class), abs=1e-4)
    assert figures["prompts"] == ["una foto di {}", "{}"]
    assert set(figures["intervals"]) == {f"accuracy@{k}" for k in (1, 5, 10, 100)}
    assert measured.chance["accuracy@1"] == pytest.approx(1 / 3, abs=1e-4)


def test_unreadable_pictures_are_left_out_but_not_a_whole_class(folder, tiny_encoder, capsys):
    (folder / "cerchio_blu" / "b.png").write_text("no picture")
    models = [run.NamedModel("tiny", "tiny", tiny_encoder)]
    (embedded,) = run.embed_classes(models, [load(folder)], {})
    assert len(embedded.left_out) == 1
    assert len(embedded.images) == len(embedded.right) == 5
    assert "1 of 6 pictures cannot be read and are left out" in capsys.readouterr().err
    (folder / "cerchio_blu" / "more" / "a.jpg").write_text("no picture")
    with pytest.raises(UserError, match="no picture of class 'cerchio_blu' can be read"):
        run.embed_classes(models, [load(folder)], {})
