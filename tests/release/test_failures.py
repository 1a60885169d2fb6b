"""The sheet of mistakes: drawings as the probes made them, beside the card that links to it."""

import json
from itertools import islice

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import probes
from clip_italian.release import failures
from clip_italian.release.card import publish
from clip_italian.release.facts import gather
from clip_italian.release.push import plan
from clip_italian.stats.contact_sheet import GAP

WORDS = languages.get("it").probes


@pytest.fixture
def probe(tiny_encoder, borrowed_cache):
    """The probes of a tiny model, two drawings of each value."""
    return probes.probe(tiny_encoder, WORDS, "it", 2, 7)


def test_the_sheet_shows_the_drawings_that_were_got_wrong(probe, tmp_path):
    path = tmp_path / "failures.jpg"
    count = failures.write(probe, path)
    assert count == sum(min(4, len(probe[kind]["mistakes"])) for kind in probes.KINDS) > 6
    assert path.stat().st_size < 200_000
    sheet = Image.open(path)
    cell, heading = failures._CELL, failures._HEADING
    for column, mistake in enumerate(probe["number"]["mistakes"][:4]):
        drawing = next(islice(probes.make_cases(WORDS, 2, 7, ("number",)), mistake["number"], None)).picture
        x = GAP + column * (cell + GAP)
        shown = np.asarray(sheet.crop((x + 3, heading + 3, x + cell - 3, heading + cell - 3)), float)
        wanted = np.asarray(drawing.resize((cell, cell)).crop((3, 3, cell - 3, cell - 3)), float)
        assert np.abs(shown - wanted).mean() < 3
    assert sheet.height < 3 * failures._ROW + 2 * GAP + 1


def test_a_file_of_somebody_else_is_left_alone(probe, tmp_path):
    path = tmp_path / "failures.jpg"
    failures.write(probe, path)
    failures.write(probe, path)  # our own may be written again
    for content in (b"mine", (tmp_path / "failures.jpg").read_bytes().replace(b"Written", b"Painted")):
        path.write_bytes(content)
        with pytest.raises(UserError, match="somebody else"):
            failures.write(probe, path)
        assert path.read_bytes() == content


def test_no_sheet_without_mistakes_or_of_drawings_that_have_changed(probe, tmp_path, capsys):
    path = tmp_path / "failures.jpg"
    assert failures.write({kind: probe[kind] | {"mistakes": []} for kind in probes.KINDS}, path) == 0
    old = {key: value for key, value in probe["number"].items() if key != "mistakes"}  # before there were any
    assert failures.write({"language": "it", "number": old}, path) == 0
    assert failures.write(probe | {"seed": 8}, path) == 0
    assert "drawn otherwise by this version" in capsys.readouterr().err
    assert not path.exists()


def test_the_card_links_the_sheet_beside_it_and_push_takes_it(measured, borrowed_cache, tmp_path):
    figures = probes.probe(measured.encoder, WORDS, "it", 1, 7)
    lying = measured.folder / "results" / "probe.json"
    lying.write_text(json.dumps({"model": "elsewhere"} | figures))
    found = gather(str(measured.folder))
    folder = measured.folder / "model"
    publish(found, folder / "README.md")
    assert "](failures.jpg)" in ModelCard.load(folder / "README.md").text
    assert "CC BY-SA 4.0" in (folder / "README.md").read_text()
    assert plan(folder).objections == []
    publish(found, tmp_path / "a card.md")
    assert "](a%20card-failures.jpg)" in (tmp_path / "a card.md").read_text()
    assert (tmp_path / "a card-failures.jpg").is_file()
    Image.new("RGB", (9, 9)).save(folder / "failures.jpg")
    assert any("failures.jpg: a picture" in one for one in plan(folder).objections)
    lying.write_text(json.dumps({"model": str(folder)} | figures | {"weights_sha256": "0" * 16}))
    assert gather(str(measured.folder)).probe is None


def test_each_kind_is_at_chance_above_or_below():
    share = {"accuracy": 0.2, "interval": [0.1, 0.3], "answers": {"1": {"1": 2}, "2": {"2": 1}}}
    said = failures.summary({
        "number": share | {"chance": 0.3}, "colour": share | {"chance": 0.31}, "relation": share | {"chance": 0.09},
    })  # fmt: skip
    assert (said["at_chance"], said["below"], said["above"]) == (["number"], ["colour"], ["relation"])
    assert "1: 2 of 3" in said["table"] and "none |" in said["table"]
