from itertools import combinations, islice

import numpy as np
import pytest
from PIL import Image

from clip_italian import languages
from clip_italian.pairs import concept, read
from clip_italian.pictures.phash import alike
from clip_italian.sources import emoji, picture_book, stamps

RED_DOT = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><circle cx="5" cy="5" r="2" fill="red"/></svg>'


@pytest.fixture
def stamp_folder(tmp_path):
    folder = tmp_path / "stamps"
    (folder / "food").mkdir(parents=True)
    Image.new("RGBA", (10, 30), (255, 0, 0, 255)).save(folder / "food" / "apple.png")
    (folder / "food" / "apple.txt").write_text("A red apple.\nfr.utf8=Une pomme.\nit.utf8=Una mela rossa.\n", "utf-8")
    (folder / "food" / "drop.svg").write_text(RED_DOT)
    (folder / "food" / "drop.txt").write_text("A drop.\nit.utf8=Una goccia.\n")
    (folder / "food" / "silent.png").write_bytes((folder / "food" / "apple.png").read_bytes())
    (folder / "food" / "silent.txt").write_text("Only English.\n")
    (folder / "alone.txt").write_text("No picture.\nit.utf8=Nessuna figura.\n")
    return folder


def test_stamps_with_a_sentence_and_a_picture(stamp_folder):
    found = list(stamps.read(stamp_folder, "it"))
    assert [(s.name, s.sentence, s.english) for s in found] == [
        ("food/apple", "Una mela rossa.", "A red apple."),
        ("food/drop", "Una goccia.", "A drop."),
    ]
    assert stamps.draw(found[0], 100).size == (10, 30)
    drop = stamps.draw(found[1], 100)
    assert drop.size == (100, 100)
    assert drop.getpixel((50, 50)) == (255, 0, 0, 255)
    assert drop.getpixel((1, 1))[3] == 0


def test_emoji_have_names_and_drawings_but_no_skin_tones(real_assets):
    from clip_italian.files import assets

    found = list(emoji.read(assets.fetch(assets.DRAWINGS), assets.fetch(assets.EMOJI_NAMES), "it"))
    by_code = {e.code: e for e in found}
    assert len(found) == len(by_code) == 1914
    assert (by_code["1F34E"].name, by_code["1F34E"].english) == ("mela rossa", "red apple")
    assert by_code["1F1EE-1F1F9"].name == "bandiera italia"
    assert not any("1F3FB" in code for code in by_code)


def test_book_is_complete_and_leak_free(borrowed_cache, tmp_path, monkeypatch, stamp_folder):
    whole = emoji.read
    monkeypatch.setattr(emoji, "read", lambda *args: islice(whole(*args), 120))
    monkeypatch.setattr(picture_book.assets, "stamps", lambda: stamp_folder.parent)
    notices = []
    pairs = picture_book.collect(languages.get("it"), tmp_path / "book.parquet", notices.append)
    assert read(tmp_path / "book.parquet") == pairs
    assert len(pairs) == 122
    assert {pair.license for pair in pairs} == {"CC BY-SA 4.0", "GPL-2"}
    sides = {}
    for pair in pairs:
        sides.setdefault(concept(pair.captions[0]), set()).add(pair.split)
        picture = np.asarray(Image.open(tmp_path / pair.image))
        assert picture.shape == (picture_book.SIZE, picture_book.SIZE, 3)
        assert picture.std() > 0
    assert all(len(names) == 1 for names in sides.values())
    near = [(a, b) for a, b in combinations(pairs, 2) if alike(a.phash, b.phash)]
    assert near
    assert all(a.split == b.split for a, b in near)


def test_equal_pictures_with_different_captions_share_a_split(borrowed_cache, tmp_path, monkeypatch):
    twins = [emoji.Emoji(f"T{i}", f"gatto numero {i}", "cat", RED_DOT) for i in range(30)]
    monkeypatch.setattr(emoji, "read", lambda *_: iter(twins))
    monkeypatch.setattr(picture_book.assets, "stamps", lambda: None)
    notices = []
    pairs = picture_book.collect(languages.get("it"), tmp_path / "book.parquet", notices.append)
    assert len({pair.split for pair in pairs}) == 1
    assert any("without the Tux Paint stamps" in line for line in notices)
