"""Names of cameras and places, levels of tags."""

import pytest

from clip_italian.sources.facts import camera_name, place_name, tag_levels


@pytest.mark.parametrize(
    ("maker", "model", "expected"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"), ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Apple", "iPhone 12", "Apple iPhone 12"), ("OLYMPUS IMAGING CORP.", "E-M5", "OLYMPUS E-M5"),
        ("SAMSUNG TECHWIN CO., LTD.", "NX10", "SAMSUNG TECHWIN NX10"),
        ("EASTMAN KODAK COMPANY", "KODAK C713", "KODAK C713"),
        ("HTC", None, "HTC"), (None, "D90", "D90"), (None, None, None), (" ", "", None),
    ],
)  # fmt: skip
def test_the_name_of_a_camera_has_its_maker_once(maker, model, expected):
    assert camera_name(maker, model) == expected


def test_places_and_tags():
    assert place_name(["", "Stintino", None, "Sardegna", "Sardegna", " Italia "]) == "Stintino, Sardegna, Italia"
    assert place_name([None, ""]) is None
    assert list(tag_levels(["Luoghi|Italia||Roma", "Anna"], "|")) == ["Luoghi", "Italia", "Roma", "Anna"]
