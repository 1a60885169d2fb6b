"""The card as people read it."""

from collections import Counter

import pytest
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.stats import card
from clip_italian.stats.gather import Facts, Picture


def facts(**changed):
    found = Facts(
        images=Counter({"wit": 3, "mscoco-it": 400, "mio": 2}),
        captions=Counter({"wit": 3, "mscoco-it": 2_000, "mio": 2}),
        splits=Counter({"train": 400, "(none)": 5}),
        licenses=Counter({"CC BY 4.0": 400, "(none)": 5}),
        words=Counter({1: 1, 5: 1_000, 9: 1_003, 400: 1}),
        remote=405,
        languages=Counter({"it": 1_999, "en": 6}),
    )
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def rows(text, heading):
    """The cells of the first table after a heading."""
    lines = text.split(f"## {heading}\n")[1].splitlines()
    table = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            break
    return [table[0], *table[2:]]


def test_beside_the_paper():
    text = card.markdown(facts(), "Le nostre coppie", 0)
    assert "# Le nostre coppie" in text
    assert rows(text, "Captions and images by source") == [
        ["source", "images", "captions", "the paper's captions", "captions an image"],
        ["wit", "3", "3", "525,950", "1.00"],
        ["mscoco-it", "400", "2,000", "116,195", "5.00"],
        ["conceptual-captions", "0", "0", "712,890", "–"],
        ["ilpost", "0", "0", "29,055", "–"],
        ["mio", "2", "2", "–", "1.00"],
        ["all", "405", "2,005", "1,384,090", "4.95"],
    ]
    assert rows(text, "Caption lengths")[1] == ["words at most", "1", "5", "5", "9", "9", "9", "400"]
    assert rows(text, "Licences")[1:] == [["CC BY 4.0", "400", "98.8%"], ["(none)", "5", "1.2%"]]
    assert "405 of 405 images (100.0%) are URLs" in text
    assert "sizes.png" not in text
    assert "No rejects files" in text


def test_rejects_sizes_and_translations():
    text = card.markdown(
        facts(
            rejects={"wit": Counter({"mime-type": 1_200}), "clean": Counter({"name": 1, "too-short": 3})},
            sizes=[(100, 50), (200, 300), (300, 300)], local=10, unreadable=1, translated=500,
        ),
        "T", 3,
    )  # fmt: skip
    assert rows(text, "Rejects") == [
        ["stage", "reason", "rows", "of the stage's"],
        ["wit", "mime-type", "1,200", "100.0%"],
        ["clean", "too-short", "3", "75.0%"],
        ["clean", "name", "1", "25.0%"],
    ]
    assert rows(text, "Image sizes")[1:] == [
        ["width", "100", "100", "200", "300", "300"],
        ["height", "50", "50", "300", "300", "300"],
        ["shorter side", "50", "50", "200", "300", "300"],
    ]
    assert "of 3 pictures on this machine drawn by chance" in text
    assert "1 of 4 pictures drawn by chance (25.0%) are missing or damaged" in text
    assert "500 of 2,005 captions (24.9%) are translations" in text


def test_many_names_are_summed_up():
    text = card.markdown(facts(licenses=Counter({f"l{n:02}": 30 - n for n in range(20)})), "T", 0)
    table = rows(text, "Licences")[1:]
    assert len(table) == 16
    assert table[-1] == ["(other)", str(sum(30 - n for n in range(15, 20))), "15.9%"]


def test_files_written(tmp_path):
    Image.new("RGB", (60, 40), "green").save(tmp_path / "a.png")
    full = facts(
        rejects={"clean": Counter({"name": 3}), "wit": Counter()}, sizes=[(60, 40)], local=1,
        pictures=[Picture(tmp_path / "a.png", "un prato è verde", "wit")],
    )  # fmt: skip
    written = card.write(full, "T", tmp_path / "card")
    names = {"README.md", "sources.png", "lengths.png", "rejects.png", "sizes.png", "samples.png"}
    assert {path.name for path in written} == {path.name for path in (tmp_path / "card").iterdir()} == names
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    for name in names - {"README.md"}:
        assert f"]({name})" in text
        with Image.open(tmp_path / "card" / name) as image:
            image.load()
            assert image.format == "PNG"
    # Again, over the former card; but not over another's README.
    card.write(full, "Altro titolo", tmp_path / "card")
    assert "Altro titolo" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(UserError, match=r"README.md: written by somebody else"):
        card.write(full, "T", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "a.png", "card"}
