import json

import numpy as np
import pytest
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.images import find_pictures
from clip_italian.search import index
from clip_italian.search.contact_sheet import write_sheet
from tests.conftest import draw_shape


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for number, (shape, colour) in enumerate([("cerchio", "red"), ("quadrato", "blue"), ("triangolo", "green")]):
        draw_shape(shape, colour, number).save(folder / "sub" / f"{shape}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


@pytest.fixture
def built(pictures, tmp_path, tiny_encoder):
    errors = index.build(find_pictures(pictures), pictures, tmp_path / "idx", tiny_encoder, "tiny")
    assert ["broken.jpg" in str(error) for error in errors] == [True]
    return index.Index.open(tmp_path / "idx")


def test_search_is_an_exact_ranking(built, pictures, tiny_encoder):
    files = sorted(pictures.glob("sub/*.png"))
    query = tiny_encoder.encode_text(["un cerchio rosso"])[0]
    scores = tiny_encoder.encode_images(files) @ query
    expected = [f"sub/{files[i].name}" for i in np.argsort(-scores)]
    hits = built.search(query, 5)
    assert [hit.id for hit in hits] == expected
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert np.allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-5)
    assert all(hit.path.is_file() for hit in hits)


def test_a_picture_finds_itself(built, pictures, tiny_encoder):
    for path in sorted(pictures.glob("sub/*.png")):
        (hit,) = built.search(tiny_encoder.encode_images([path])[0], 1)
        assert hit.path.resolve() == path.resolve()
        assert hit.score == pytest.approx(1, abs=1e-5)


def test_another_model_is_refused(built, tiny_encoder):
    built.check_model(tiny_encoder)
    tiny_encoder.model.text_projection.weight.data += 1
    del tiny_encoder.__dict__["weights_hash"]
    with pytest.raises(UserError, match="another model"):
        built.check_model(tiny_encoder)


def test_no_index_and_a_damaged_one(built, tmp_path):
    with pytest.raises(UserError, match="no index here"):
        index.Index.open(tmp_path / "none")
    (built.folder / "vectors.usearch").write_bytes(b"junk")
    with pytest.raises(UserError, match="index"):
        index.Index.open(built.folder)


def test_only_broken_pictures_make_no_index(tmp_path, tiny_encoder):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(UserError, match="no picture could be read"):
        index.build([tmp_path / "a.png"], tmp_path, tmp_path / "idx", tiny_encoder, "tiny")
    assert not (tmp_path / "idx").exists()


def test_building_again_replaces_the_index_as_a_whole(built, pictures, tmp_path, tiny_encoder):
    Image.new("RGB", (40, 40), "yellow").save(pictures / "new.png")
    index.build(find_pictures(pictures), pictures, tmp_path / "idx", tiny_encoder, "tiny")
    assert len(index.Index.open(tmp_path / "idx")) == 4
    assert json.loads((tmp_path / "idx" / "index.json").read_text())["pictures"] == 4


def test_contact_sheet_is_self_contained_and_escaped(built, tiny_encoder, tmp_path, pictures):
    hits = built.search(tiny_encoder.encode_text(["un gatto"])[0], 3)
    (pictures / "sub" / "cerchio.png").unlink()
    sheet = tmp_path / "sheet.html"
    write_sheet(sheet, [("<script>un gatto</script>", hits)])
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "file is gone" in page
    assert "<script>" not in page
