"""A folder and a model by name: the first call embeds, later ones what is new."""

import pytest
from PIL import Image

from clip_italian import Pictures
from clip_italian.errors import UserError
from tests.search.conftest import noise


def test_a_folder_is_found_again_with_what_is_new(photos, tiny_folder, tmp_path, cache_with_graphs):
    pictures = Pictures.below(photos, model=str(tiny_folder))
    assert len(pictures) == 12
    assert [hit.id for hit in pictures.search(like=[photos / "03.png"], k=1)] == ["03.png"]
    assert len(pictures.search("un gatto", "un micio", unlike=["un cane"], k=20)) == 12
    for given in (str(photos / "03.png"), photos / "03.png", Image.open(photos / "03.png")):
        assert [hit.id for hit in pictures.search(given, k=1)] == ["03.png"], "as on the command line"
    assert len(pictures.search("un gatto", unlike=[str(photos / "03.png")], k=20)) == 12
    noise(99).save(photos / "new.png")
    assert len(pictures) == 12
    later = Pictures.below(photos, model=str(tiny_folder))
    assert later.index.folder == pictures.index.folder
    assert len(later) == 13
    hit = later.search(like=[Image.open(photos / "new.png")], k=1)[0]
    assert (hit.id, hit.open().size, hit.path) == ("new.png", (20, 20), photos / "new.png")
    elsewhere = Pictures.below(str(photos / "sub"), model=str(tiny_folder), index=tmp_path / "own.idx")
    assert (len(elsewhere), elsewhere.index.folder) == (8, tmp_path / "own.idx")
    (photos / "note.txt").write_text("un gatto")
    with pytest.raises(UserError, match="not a picture"):
        pictures.search(str(photos / "note.txt"))
    fewer = Pictures.below(photos, model=str(tiny_folder), exclude=["sub"])
    assert {hit.id for hit in fewer.search("un gatto", k=20)} == {"00.png", "03.png", "06.png", "09.png", "new.png"}
    with pytest.raises(UserError):
        Pictures.below(tmp_path / "none", model=str(tiny_folder))
