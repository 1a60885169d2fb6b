import gzip

import pytest

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.unsplash import LICENSE, Unsplash

COLUMNS = (
    "photo_id photo_url photo_image_url photo_submitted_at photo_featured photo_width photo_height "
    "photo_aspect_ratio photo_description photographer_username ai_description blur_hash"
).split()


def line(**values):
    return "\t".join(values.get(name, "") for name in COLUMNS)


def photo(id_, description="", ai=""):
    return line(
        photo_id=id_, photo_url=f"https://unsplash.com/photos/{id_}", photo_description=description, ai_description=ai,
        photo_image_url=f"https://images.unsplash.com/photo-{id_}", photo_submitted_at="2019-06-20 06:11:31.51847",
    )  # fmt: skip


@pytest.fixture
def file(tmp_path):
    rows = [
        "\t".join(COLUMNS),
        photo("XMyPniM9LF0", "Woman exploring  a forest", "woman walking in the middle of forest"),
        photo("rDLBArZUl1c", ai="succulent plants"),
        photo("cNDGZ2sQ3Bo"),
        line(photo_id="none", photo_image_url="no address"),
        line(photo_image_url="https://h/a"),
        "cut\toff",
    ]
    path = tmp_path / "photos.tsv000"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_photos_become_pairs_that_ask_for_a_width(file):
    found = list(Unsplash(400)(file))
    assert found[:3] == [
        Pair(
            f"unsplash-{id_}", f"https://images.unsplash.com/photo-{id_}?w=400&q=85&fm=jpg", captions, "unsplash",
            license=LICENSE, page=f"https://unsplash.com/photos/{id_}",
        )
        for id_, captions in (
            ("XMyPniM9LF0", ("Woman exploring a forest", "woman walking in the middle of forest")),
            ("rDLBArZUl1c", ("succulent plants",)),
            ("cNDGZ2sQ3Bo", ()),
        )
    ]  # fmt: skip
    assert [(one.reason, one.detail) for one in found[3:] if isinstance(one, Reject)] == [
        ("no-url", "photos.tsv000, line 5"),
        ("no-id", "photos.tsv000, line 6"),
        ("wrong-columns", "photos.tsv000, line 7: 2 columns, not 12"),
    ]
    assert next(iter(Unsplash(0)(file))).image == "https://images.unsplash.com/photo-XMyPniM9LF0"


def test_an_address_keeps_its_own_parameters():
    assert Unsplash(10)._sized("https://h/p?ixid=a&w=9") == "https://h/p?ixid=a&w=10&q=85&fm=jpg"


def test_collected_also_gzipped_photos_without_a_description_stay(file, tmp_path):
    packed = tmp_path / "photos.csv000.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    summary = collect("unsplash", Unsplash(), {}, [packed], tmp_path / "out.parquet")
    assert (summary.after, summary.rejected) == (3, {"no-url": 1, "no-id": 1, "wrong-columns": 1})
    assert pairs.count(tmp_path / "out.parquet") == 3


def test_another_file_is_refused(tmp_path):
    (tmp_path / "keywords.tsv000").write_text("photo_id\tkeyword\na\tb\n")
    with pytest.raises(UserError, match="lacks the columns photo_image_url"):
        list(Unsplash()(tmp_path / "keywords.tsv000"))
