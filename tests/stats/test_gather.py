"""What is counted in pairs files and rejects files."""

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_italian.clean.language_id import Guess
from clip_italian.errors import UserError
from clip_italian.pairs import Pair, write
from clip_italian.pipeline.rejects import Reject, write_rejects
from clip_italian.stats import gather


def guess(captions):
    return [Guess("it" if "gatto" in caption else "und", 1.0) for caption in captions]


def gathered(*files, rejects=(), seed=0):
    return gather.gather(files, rejects, seed, guess, lambda rows: None)


@pytest.fixture
def some(tmp_path):
    """Two pairs files, of one and two sources, with two pictures here, one missing and one damaged."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (10, 90)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    write(
        [
            Pair("a", "a.png", ("un gatto nero", "il gatto"), "wit", split="train", license="CC0"),
            Pair("b", str(tmp_path / "b.png"), ("una casa",), "folder"),
            Pair("c", "c.png", ("rotta",), "folder"),
        ],
        tmp_path / "one.parquet",
    )
    remote = Pair("u", "https://example.org/u.jpg", ("gatto",), "wit", captions_original=("cat",), license="CC0")
    write([remote, Pair("m", "missing.png", ("manca " * 40,), "wit")], tmp_path / "two.jsonl")
    return tmp_path / "one.parquet", tmp_path / "two.jsonl"


def test_counts(some):
    facts = gathered(*some)
    assert facts.images == {"wit": 3, "folder": 2}
    assert facts.captions == {"wit": 4, "folder": 2}
    assert facts.splits == {"train": 1, "(none)": 4}
    assert facts.licenses == {"CC0": 2, "(none)": 3}
    assert facts.words == {1: 2, 2: 2, 3: 1, 40: 1}
    assert (facts.translated, facts.remote, facts.local) == (1, 1, 4)
    assert facts.languages == {"it": 3, "und": 3}
    assert sorted(facts.sizes) == [(10, 90), (40, 30)]
    assert sorted(picture.path.name for picture in facts.pictures) == ["a.png", "b.png"]
    assert facts.unreadable == 2


def test_the_order_of_files_changes_nothing(some):
    one, two = some
    assert gathered(one, two).pictures == gathered(two, one).pictures


def test_rejects_by_stage_and_reason(some, tmp_path):
    write_rejects([Reject("x", "name"), Reject("y", "name"), Reject("", "too-short")], tmp_path / "z.rejects.jsonl")
    (tmp_path / "deep").mkdir()
    write_rejects([Reject("", "mime-type")], tmp_path / "deep" / "wit.rejects.jsonl")
    write_rejects([Reject("", "name")], tmp_path / "deep" / "z.rejects.jsonl")
    (tmp_path / "a.rejects.jsonl").touch()
    found = gather.beside(some)
    assert [path.name for path in found] == ["a.rejects.jsonl", "z.rejects.jsonl"]
    facts = gathered(*some, rejects=[*found, *sorted((tmp_path / "deep").iterdir())])
    assert facts.rejects == {"a": {}, "z": {"name": 3, "too-short": 1}, "wit": {"mime-type": 1}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"reason": "name"}\n{"reason"\n', "line 2: not what a stage writes"),
        (b'\xef\xbb\xbf{"reason": "name"}\n', "line 1: not what"),
        (b'{"reason": "name", "text": "pi\xf9"}\n', "line 1: not what"),
        (b"\x00\x00\n", "line 1: not what"),
        (b'{"image_path": "a.jpg", "captions": []}\n', "line 1: not what"),
        (b"null\n", "line 1: not what"),
        (None, "no such rejects file"),
    ],
)
def test_bad_rejects_files(some, tmp_path, content, words):
    path = tmp_path / "bad.rejects.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        gathered(*some, rejects=[path])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_to_count(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    write([], tmp_path / "empty.parquet")
    write([Pair("a", "a.jpg", (), "wit")], tmp_path / "bare.parquet")
    for name in ("empty.jsonl", "empty.parquet", "bare.parquet"):
        with pytest.raises(UserError, match="no captions"):
            gathered(tmp_path / name)


@given(st.lists(st.integers(0, 30), min_size=1), st.floats(0, 1))
def test_quantiles(values, share):
    found = gather.quantile(Counter(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert not any(other < found and sum(value <= other for value in values) >= share * len(values) for other in values)


def test_memory_does_not_grow_with_names_or_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "MAX_NAMES", 20)
    monkeypatch.setattr(gather, "LANGUAGE_SAMPLE", 50)
    monkeypatch.setattr(gather, "PICTURE_SAMPLE", 50)

    def peak(rows):
        path = tmp_path / f"{rows}.parquet"
        write((Pair(str(n), f"{n}.jpg", (f"gatto {n}",), f"s{n}", license=f"l{n}") for n in range(rows)), path)
        tracemalloc.start()
        facts = gathered(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(facts.images) == len(facts.licenses) == 21
        assert facts.images["(other)"] == facts.licenses["(other)"] == rows - 20
        assert facts.images.total() == rows
        assert facts.languages.total() == facts.unreadable == 50
        return most

    assert peak(40_000) < 1.3 * peak(10_000)
