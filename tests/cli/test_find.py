"""`clip-italian find`: one command from a folder to hits."""

import json
import shutil
import sys

import pytest

from clip_italian.pipeline import parts
from clip_italian.search import embed, storage
from clip_italian.search.pictures import cached_index
from clip_italian.search.storage import read_manifest
from tests.search.test_index import with_old_vectors


@pytest.fixture
def photos(shapes):
    return shapes.parent / "images"


def found(run, *arguments):
    code, out, err = run("find", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_first_call_indexes_the_second_only_what_is_new(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    first = found(run, "un cerchio rosso", photos, "--model", tiny_folder, "-k", "3")
    assert (first["folder"], len(first["hits"])) == (str(photos), 3)
    index = cached_index(photos, str(tiny_folder))
    assert cache_with_graphs in index.parents and read_manifest(index).pictures == 54
    generation = read_manifest(index).generation
    assert found(run, "un cerchio rosso", photos, "--model", tiny_folder, "-k", "3") == first
    assert read_manifest(index).generation == generation
    shutil.copy(photos / "cerchio-rosso-0.png", photos / "other.png")
    (photos / "quadrato-blu-0.png").unlink()
    found(run, "un cerchio rosso", photos, "--model", tiny_folder)
    assert read_manifest(index).pictures == 54
    assert not list(photos.glob("*.idx")) and not list(photos.glob(".*")), "nothing is written beside the pictures"


def test_slow_vectors_of_an_older_version_are_said(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    found(run, "rosso", photos, "--model", tiny_folder)
    index = cached_index(photos, str(tiny_folder))
    with_old_vectors(index)
    assert "older version" not in run("find", "rosso", photos, "--model", tiny_folder)[2]
    monkeypatch.setattr(storage, "_SLOW_FROM", 50)
    assert run("find", "rosso", photos, "--model", tiny_folder)[2].count(f"clip-italian index compact {index}") == 1


def test_the_current_folder_is_the_default(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    monkeypatch.chdir(photos)
    hits = found(run, "cerchio-rosso-0.png", "--model", tiny_folder, "-k", "1")["hits"]
    assert hits[0]["id"].startswith("cerchio-rosso")


def test_a_model_is_the_same_from_another_folder(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    monkeypatch.chdir(tiny_folder.parent)
    found(run, "rosso", photos, "--model", tiny_folder.name)
    monkeypatch.chdir(photos)
    index = cached_index(photos, str(tiny_folder.resolve()))
    assert read_manifest(index).model_name == str(tiny_folder.resolve())
    code, out, err = run("search", index, "rosso", "--json")
    assert code == 0 and json.loads(out)["results"], err


def test_paths_and_lines(run, photos, tiny_folder, cache_with_graphs):
    code, out, _ = run("find", "rosso", photos, "--model", tiny_folder, "--paths", "-k", "2")
    assert code == 0 and [line.startswith(str(photos)) for line in out.splitlines()] == [True, True]
    code, out, _ = run("find", "rosso", photos, "--model", tiny_folder, "-k", "2")
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]


def test_a_contact_sheet(run, photos, tiny_folder, cache_with_graphs, tmp_path):
    code, _, err = run("find", "rosso", photos, "--model", tiny_folder, "--html", tmp_path / "sheet.html")
    assert code == 0 and f"contact sheet: {tmp_path / 'sheet.html'}" in err
    assert "<img" in (tmp_path / "sheet.html").read_text()


@pytest.mark.parametrize(("seconds", "length"), [(30, "30 seconds"), (2, "2 seconds"), (400, "7 minutes")])
def test_long_work_is_announced(seconds, length, run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    monkeypatch.setattr(embed.Todo, "estimate", lambda _: float(seconds))
    code, _, err = run("find", "rosso", photos, "--model", tiny_folder)
    assert code == 0 and f"indexing 54 pictures, about {length}; Ctrl-C keeps what is done" in err
    assert "indexing" not in run("find", "rosso", photos, "--model", tiny_folder)[2]


def test_more_than_ten_minutes_need_an_answer(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    monkeypatch.setattr(embed.Todo, "estimate", lambda _: 1200.0)
    code, _, err = run("find", "rosso", photos, "--model", tiny_folder)
    assert code == 1 and "indexing takes about 20 minutes; give --yes to do it" in err
    assert not cached_index(photos, str(tiny_folder)).exists()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    code, _, err = run("find", "rosso", photos, "--model", tiny_folder)
    assert code == 1 and "not indexed" in err
    assert run("find", "rosso", photos, "--model", tiny_folder, "--yes")[0] == 0


def test_an_estimate_is_of_the_pictures_to_come(photos, tiny_folder, cache_with_graphs, run, monkeypatch):
    seen = []
    real = embed.Todo.estimate
    monkeypatch.setattr(embed.Todo, "estimate", lambda todo: seen.append((todo.count, real(todo))) or seen[-1][1])
    (photos / "broken.png").write_text("no picture")
    assert run("find", "rosso", photos, "--model", tiny_folder)[0] == 0
    ((count, seconds),) = seen
    assert count == 55 and 0 < seconds < 600


def test_interrupted_work_is_kept(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    from clip_italian.search import update

    monkeypatch.setattr(update, "PART", 10)
    real, parts = embed.Embed.__call__, []

    def stop(work, number, folder):
        if number == 3:
            raise KeyboardInterrupt
        parts.append(number)
        real(work, number, folder)

    monkeypatch.setattr(embed.Embed, "__call__", stop)
    assert run("find", "rosso", photos, "--model", tiny_folder)[0] == 130
    monkeypatch.setattr(embed.Embed, "__call__", lambda *given: parts.append(given[1]) or real(*given))
    assert found(run, "rosso", photos, "--model", tiny_folder)["hits"]
    assert parts == [0, 1, 2, 0, 1, 2], "30 of 54 pictures were kept, 24 remained"


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_pictures_is_one_line(folder, run, tiny_folder, cache_with_graphs, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run("find", "rosso", tmp_path / folder, "--model", tiny_folder)
    lines = [line for line in err.splitlines() if line.startswith("clip-italian:")]
    assert code == 1 and len(lines) == 1 and str(tmp_path / folder) in lines[0] and not out


def test_pictures_in_the_terminal(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    code, out, err = run("find", "rosso", photos, "--model", tiny_folder, "--preview", "-k", "1")
    assert code == 0 and str(photos) in out and len(out.splitlines()) > 5
    monkeypatch.setitem(sys.modules, "textual_image.renderable", None)
    code, _, err = run("find", "rosso", photos, "--model", tiny_folder, "--preview")
    assert code == 1 and "pip install 'clip-italian[preview]'" in err


@pytest.mark.parametrize(("name", "said"), [("none", "no such folder"), ("images/cerchio-rosso-0.png", "a file")])
def test_what_is_no_folder_is_said_in_one_line(name, said, run, photos, cache):
    code, out, err = run("find", "rosso", photos.parent / name)
    assert (code, out) == (1, "")
    assert err == f"clip-italian: {photos.parent / name}: {said}; give a folder of pictures\n"


def test_a_second_run_waits_for_the_first(run, photos, tiny_folder, cache_with_graphs, monkeypatch):
    index = cached_index(photos, str(tiny_folder))
    index.parent.mkdir(parents=True)
    other = parts.exclusive_lock(index)
    other.__enter__()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            other.__exit__(None, None, None)

    monkeypatch.setattr("time.sleep", pause)
    code, out, err = run("find", "rosso", photos, "--model", tiny_folder, "-k", "2")
    assert code == 0 and len(out.splitlines()) == 2
    assert err.count("another run is indexing it; waiting for it") == 1 and len(pauses) >= 2
