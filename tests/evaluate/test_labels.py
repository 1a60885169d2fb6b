import json

import pytest

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import labels

IT = languages.get("it")


def test_labels_that_are_their_own_classes():
    found = labels.own(["gatto", " mela  rossa", "il cane", "tre gatti"], "--labels", IT)
    assert found == {
        "gatto": ("un gatto",), "mela rossa": ("una mela rossa",), "il cane": ("il cane",), "tre gatti": ("tre gatti",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "x: no labels"),
        (["gatto", " "], "x: label 2 is empty"),
        ([7], "x: label 1 is empty"),
        (["un gatto", "un  gatto"], "x: the label 'un gatto' is given twice"),
    ],
)
def test_labels_that_are_none(words, message):
    with pytest.raises(UserError, match=message):
        labels.own(words, "x", IT)


def test_files_of_own_labels(tmp_path):
    lines = tmp_path / "l.txt"
    lines.write_text("gatto\n\ncane\n", encoding="utf-8-sig")
    assert labels.read_own(lines, IT) == {"gatto": ("un gatto",), "cane": ("un cane",)}
    file = tmp_path / "l.json"
    file.write_text(json.dumps(["gatto", "cane"]))
    assert labels.read_own(file, IT) == labels.read_own(lines, IT)
    file.write_text(json.dumps({"felino": ["gatto", "la tigre"], "cane": "cane"}))
    assert labels.read_own(file, IT) == {"felino": ("un gatto", "la tigre"), "cane": ("un cane",)}
    for content in ("7", "[]", "{}", '{"a": []}', "[["):
        file.write_text(content)
        with pytest.raises(UserError):
            labels.read_own(file, IT)
