"""Outputs that would cost something else, or that cannot be written: one line, and nothing is lost."""

import errno
import os
import tempfile

import pytest

from clip_italian import pairs
from clip_italian.clean import cleaning
from clip_italian.pairs import Pair

STAGES = {
    "clean": [],
    "split": [],
    "translate": ["--engine", "deepl", "--server-url", "http://127.0.0.1:9"],
    "collect": ["parquet"],
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPL_AUTH_KEY", "key")
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(tmp_path / "cache"))
    pairs.write([Pair("1", "http://h/1.jpg", ("Un gatto dorme sul divano",), "s")], tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def command(stage, source, output):
    group = [stage, *STAGES[stage]] if stage == "collect" else [stage]
    more = [] if stage == "collect" else STAGES[stage]
    return [*group, source, "-o", output, *more]


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_replaces_its_input(run, source, stage):
    before = source.read_bytes()
    code, out, err = run(*command(stage, source, source))
    assert (code, out) == (2, "")
    assert err == f"clip-italian: {source}: would replace its own input; choose another output\n"
    assert source.read_bytes() == before


@pytest.mark.parametrize("stage", STAGES)
def test_folders_and_other_suffixes_are_no_pairs_files(run, source, tmp_path, stage):
    photos = tmp_path / "photos.parquet"
    photos.mkdir()
    (photos / "a.jpg").write_text("precious")
    for output, words in ((photos, "a folder; give a file name"), (tmp_path / "o.csv", "ends in .parquet")):
        code, out, err = run(*command(stage, source, output))
        assert (code, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1
    assert (photos / "a.jpg").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} <= {"in.parquet", "photos.parquet", "cache"}


def test_shards_need_a_folder(run, source):
    code, _, err = run("fetch", source, "-o", source)
    assert code == 1
    assert "a file; give the name of a folder" in err


@pytest.mark.parametrize("words", [(errno.ENOSPC, "No space left"), ("Error writing bytes. Detail: [errno 28] …",)])
def test_a_full_disk_is_one_line_with_advice(run, source, tmp_path, monkeypatch, words):
    def full(*_):
        raise OSError(*words)

    monkeypatch.setattr(cleaning, "_write", full)
    code, out, err = run("clean", source, "-o", tmp_path / "out.parquet", "--workers", "1")
    assert (code, out) == (1, "")
    said = "No space left on device; free disk space and run the same command again to resume"
    assert err == f"clip-italian: {tmp_path / 'out.parquet'}: {said}\n"
    monkeypatch.undo()
    assert run("clean", source, "-o", tmp_path / "out.parquet", "--workers", "1")[0] == 0


def test_a_command_that_got_nowhere_leaves_nothing(run, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    assert run("collect", "mscoco-it", tmp_path / "bad.json", "-o", tmp_path / "out.parquet")[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_where_nothing_may_be_written_is_named(run, shapes, tiny_folder, tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), f"{tmp_path}/.sheet.html-x1")

    built = run("index", "build", shapes, "-o", tmp_path / "idx", "--model", tiny_folder)
    assert built[0] == 0, built[2]
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    code, _, err = run("search", tmp_path / "idx", "un gatto", "--html", tmp_path / "sheet.html")
    said = f"clip-italian: {tmp_path}/sheet.html: {os.strerror(number)}; choose another path, or change its permissions"
    assert code == 1 and err.startswith(said) and err.count("\n") == 1


def test_a_cache_where_nothing_may_be_written_names_its_variable(
    run, shapes, tiny_folder, cache_with_graphs, monkeypatch
):
    def refuse(*_, **__):
        raise PermissionError(
            errno.EACCES, os.strerror(errno.EACCES), str(cache_with_graphs / "indexes" / "photos.parts")
        )

    monkeypatch.setattr("clip_italian.search.update.build", refuse)
    code, _, err = run("find", "rosso", shapes.parent, "--model", tiny_folder)
    said = f"{cache_with_graphs}/indexes/photos.parts: Permission denied; set CLIP_ITALIAN_CACHE to a folder"
    assert code == 1 and said in err and err.count("\n") == 1
