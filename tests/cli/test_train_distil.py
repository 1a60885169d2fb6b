"""From captions and their originals to searches, by commands alone."""

import json

import pytest

from clip_italian.pairs import read
from tests.conftest import tiny_bert, tiny_tokenizer

# A cipher that takes the part of another language: each word of the captions is another one.
ORIGINAL = {"un": "una", "cerchio": "gatto", "quadrato": "dorme", "triangolo": "foto"}


@pytest.fixture
def student(tmp_path):
    tiny_bert(hidden_size=32, layers=2).save_pretrained(tmp_path / "student")
    tiny_tokenizer().save_pretrained(tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture
def columns(shapes, tmp_path):
    """Two columns of text: an original and its translation in each line."""
    captions = [pair.captions[0] for pair in read(shapes)]
    lines = [" ".join(ORIGINAL.get(word, word) for word in caption.split()) + f"\t{caption}" for caption in captions]
    (tmp_path / "texts.tsv").write_text("\n".join(lines))
    return tmp_path / "texts.tsv"


def settings(pairs, teacher, student, output):
    return [
        f"data.pairs={pairs}", f"model.teacher={teacher}", f"model.text={student}", f"output={output}",
        "stage.0.epochs=2", "batch.per_device=8",
    ]  # fmt: skip


@pytest.mark.integration
def test_the_result_goes_through_every_command(run, shapes, columns, tiny_folder, student, tmp_path, cache_with_graphs):
    code, out, err = run("train", "distil", *settings(columns, tiny_folder, student, tmp_path / "run"), "--json")
    assert code == 0, err
    model = json.loads(out)["model"]
    pictures = shapes.parent / "images"
    index = tmp_path / "shapes.idx"
    code, _, err = run("index", "build", pictures, "-o", index, "--model", model)
    assert code == 0, err
    code, out, err = run("search", index, "un cerchio rosso", "-k", 3, "--json")
    assert code == 0, err
    assert len(json.loads(out)["results"][0]["hits"]) == 3
    code, _, err = run("classify", pictures / "cerchio-rosso-0.png", "--labels", "cerchio,quadrato", "--model", model)
    assert code == 0, err
    code, _, err = run("evaluate", "retrieval", "--model", model, "--pairs", shapes, "-o", tmp_path / "results")
    assert code == 0, err
    code, _, err = run("card", tmp_path / "run")
    assert code == 0, err
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "No picture was read" in text
    assert str(tmp_path) not in text


def test_a_file_of_one_column_is_one_line(run, columns, tiny_folder, student, tmp_path):
    columns.write_text("un gatto\nun cane\n")
    code, _, err = run("train", "distil", *settings(columns, tiny_folder, student, tmp_path / "run"))
    assert code == 1
    assert err.count("\n") == 1
    assert "texts.tsv, line 1: not two texts divided by a tab" in err


def test_pictures_without_a_teacher_have_no_weight(run, shapes, tmp_path):
    code, _, err = run("train", "mini", f"data.pairs={shapes}", f"output={tmp_path / 'run'}", "loss.pictures=1.0")
    assert code == 2
    assert "loss.pictures weighs pictures beside a teacher; name one as model.teacher, or remove it" in err
