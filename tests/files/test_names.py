"""Names in the Unicode forms NFC and NFD are compared and found on disk."""

from pathlib import Path

import pytest

from clip_italian.files.names import as_stored, followed, is_below, normal, without_accents

NFC, NFD = "perch\u00e9", "perche\u0301"


def test_names_are_equal_up_to_normalisation():
    assert normal(NFC) == normal(NFD) == NFC
    assert normal("plain[1].jpg") == "plain[1].jpg"


@pytest.mark.parametrize("text", [NFC, NFD])
def test_accents_are_left_out_in_both_forms(text):
    assert without_accents(text) == "perche"
    assert without_accents("Ålesund, plain [1]") == "Alesund, plain [1]"


def test_what_lies_below_a_folder():
    assert is_below("/a/b", "/a") and is_below("/a", "/a") and is_below("/a", "/") and is_below("/a/b", "/a/")
    assert not is_below("/ab", "/a") and not is_below("/", "/a")


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_a_path_is_found_up_to_normalisation(tmp_path, monkeypatch, stored, typed):
    file = tmp_path / stored / "a[1]" / f"{stored}.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    assert as_stored(tmp_path / typed / "a[1]" / f"{typed}.jpg") == file
    monkeypatch.chdir(tmp_path)
    assert as_stored(Path(typed)) == Path(stored)
    assert as_stored(Path("..", tmp_path.name, typed)) == Path("..", tmp_path.name, stored)


def test_existing_and_missing_paths_are_unchanged(tmp_path):
    for name in (NFC, NFD):
        (tmp_path / name).mkdir()
    assert as_stored(tmp_path / NFC) == tmp_path / NFC, "both are there: each is its own"
    assert as_stored(tmp_path / NFD) == tmp_path / NFD
    missing = tmp_path / "no" / NFC
    assert as_stored(missing) == missing
    (tmp_path / f"{NFD}3").mkdir()
    assert as_stored(tmp_path / f"{NFC}3" / "new" / NFC) == tmp_path / f"{NFD}3" / "new" / NFC, "a file to write"
    (tmp_path / f"{NFC}2").symlink_to("nowhere")
    assert as_stored(tmp_path / f"{NFC}2") == tmp_path / f"{NFC}2"


def test_links_are_resolved_for_each_folder(tmp_path, monkeypatch):
    (tmp_path / "disk" / NFD).mkdir(parents=True)
    (tmp_path / "disk" / NFD / "l").symlink_to("..")
    (tmp_path / "disk" / "a.png").symlink_to("b.png")
    (tmp_path / "foto").symlink_to(f"disk/{NFD}")
    disk = str(tmp_path / "disk")
    assert followed(tmp_path / "foto" / "a.jpg") == [f"{disk}/{NFC}/a.jpg"]
    assert followed(tmp_path / "foto" / "l" / "no" / "a.jpg") == [f"{disk}/no/a.jpg", f"{disk}/{NFC}/l/no/a.jpg"]
    assert followed(tmp_path / "disk" / "a.png") == [], "a linked file is another file"
    monkeypatch.chdir(tmp_path)
    assert followed("./foto/../foto/l") == [disk, f"{disk}/{NFC}/l"]
    assert followed("foto") == [f"{disk}/{NFC}"]
