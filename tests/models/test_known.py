import json
import os

import pytest

from clip_italian.errors import UserError
from clip_italian.models import known


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_a_digest_is_of_the_content_not_of_the_place(folder, cache, tmp_path):
    first = known.digest(folder)
    assert folder.rename(tmp_path / "moved") and known.digest(tmp_path / "moved") == first
    (tmp_path / "moved" / "notes.md").write_text("not part of the model")
    assert known.digest(tmp_path / "moved") == first


@pytest.mark.parametrize("keep_time", [True, False])
def test_a_replaced_file_of_the_same_size_changes_it(folder, cache, keep_time):
    before = known.digest(folder)
    weights = folder / "model.safetensors"
    status = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    if keep_time:  # as archives and container images do
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known.digest(folder) != before


def test_unchanged_files_are_read_once(folder, cache, monkeypatch):
    found = known.digest(folder)
    monkeypatch.setattr(known, "sha256_of", lambda path: pytest.fail(f"read {path}"))
    assert known.digest(folder) == found


@pytest.mark.parametrize("content", ["", "[1]", '{"x": 3}', "\0\0"])
def test_a_damaged_memory_is_replaced(content, folder, cache):
    cache.mkdir()
    (cache / "known.json").write_text(content)
    found = known.digest(folder)
    assert found in json.loads((cache / "known.json").read_text()).values()


def test_a_cache_that_cannot_be_written_is_only_slower(folder, cache, monkeypatch):
    def full(name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(known, "lock", full)
    assert known.digest(folder) == known.digest(folder)


def test_a_folder_without_model_files_is_an_error(tmp_path, cache):
    with pytest.raises(UserError, match="its files are missing"):
        known.digest(tmp_path / "none")
