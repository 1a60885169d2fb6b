"""Words of rows: how they are read, found and ranked, against plain Python."""

import json
import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.errors import UsageError, UserError
from clip_italian.pairs import Pair
from clip_italian.search import commit, index, update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.query import Query, find
from clip_italian.search.schema import ROWS
from clip_italian.search.verify import verify
from clip_italian.search.words import COLUMNS, WORDS_FILE, Words, WordsWriter, fused, reader, shares, weights
from tests.search.conftest import noise
from tests.search.fakes import DIM, FakeEncoder
from tests.search.test_metadata import made_older

ITALIAN = reader("it")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Città", "citta"), ("PERCHÉ", "perche\u0301"), ("gatti neri", "gatto nero"), ("le spiagge", "la spiaggia"),
        ("l'estate", "estate"), ("una foto di Anna", "Anna"), ("VacanzeSardegna2019", "vacanze sardegna 2019"),
        ("IPHONE12", "iphone 12"), ("007", "7"), ("a b", ""), ("1234567", ""), ("e di il", ""), ("ﬁore", "fiore"),
    ],
)  # fmt: skip
def test_texts_that_have_the_same_words(text, same):
    assert ITALIAN.words(text) == ITALIAN.words(same)
    assert bool(ITALIAN.words(text)) == bool(same)


def test_words_of_other_languages():
    assert reader("de").words("die Häuser") == reader("de").words("das Haus") != []
    assert reader("es").words("las canciones") == reader("es").words("la canción") != []


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("Sardegna 2019/IMG_1234.jpg", "Sardegna 2019"), ("DSC01234.JPG", ""), ("100CANON/P1010123.JPG", "100 canon"),
        ("1000268201_693b08cb0e.jpg", ""), ("mare.e.monti.jpg", "mare monti"), ("2019/08/15/a.jpg", "2019 agosto 15"),
        ("IMG-20190815-WA0001.jpg", "2019 agosto 15 img"), ("20190815_123456 festa.jpg", "2019 agosto 15 festa"),
        ("2019-08 Puglia/x.png", "2019 agosto Puglia"), ("Foto di Luca/20.jpg", "Luca 20"),
        ("Gita 15-08-2019/a.jpg", "gita 2019 agosto 15"), ("5.8.2019 mare.jpg", "2019 agosto 5 mare"),
        ("15-8_2019.jpg", "15 8 2019"), ("99-08-2019.jpg", "99 8 2019"), ("1.2.3.2019.jpg", "1 2 3 2019"),
        ("gita_2019_13.jpg", "gita 2019 13"), ("Puglia 08-2019/a.jpg", "Puglia 2019 agosto"),
        ("mare-8.2019.jpg", "mare 2019 agosto"), ("album 3/2019/a.jpg", "album 3 2019"), ("3_2019.jpg", "3 2019"),
        ("13-2019.jpg", "13 2019"), ("1.2019.5.jpg", "1 2019 5"), ("gita_2019.08.jpg", "gita 2019 8"),
        (".nascosta/Roma.jpeg", "nascosta Roma"),
    ],
)  # fmt: skip
def test_words_of_names(path, same):
    assert sorted(set(ITALIAN.name_words(path))) == sorted(set(ITALIAN.words(same)))


@pytest.mark.parametrize("date", ["08/2019", "8/2019", "2019-08", "08.2019", "8-2019", "2019/8", "2019.08"])
def test_a_month_in_a_query(date):
    assert sorted(ITALIAN.query_words(f"mare, {date}")) == sorted(ITALIAN.words("mare agosto 2019"))


@pytest.mark.parametrize("text", ["13/2019", "1/13/2019", "8/20199", "0/2019", "15/8/19"])
def test_what_is_no_month_in_a_query(text):
    assert ITALIAN.query_words(text) == ITALIAN.words(text)


def test_a_date_in_a_query_is_one_in_a_row():
    row = dict.fromkeys(COLUMNS) | {"id": "a", "path": "a"}
    for taken, query in (("2019-08-15", "15/08/2019"), ("2019-08-15", "agosto 2019"), ("2019-08-15", "2019-08")):
        has = ITALIAN.row_words(row | {"taken": np.datetime64(taken).astype("M8[ms]").item()})
        assert set(ITALIAN.query_words(query)) <= has


TEXT = st.lists(st.sampled_from("gatto cane mare monti città neve sole 2019".split()), max_size=5).map(" ".join)


@settings(deadline=None, max_examples=50)
@given(captions=st.lists(TEXT, max_size=40), block=st.integers(1, 50))
def test_words_are_found_in_the_rows_that_have_them(tmp_path_factory, captions, block):
    folder = tmp_path_factory.mktemp("words")
    rows = [dict.fromkeys(COLUMNS) | {"id": "", "path": "", "caption": text} for text in captions]
    schema = pa.schema([ROWS.field(name) for name in COLUMNS])
    writer = WordsWriter(folder, "it")
    for start in range(0, len(rows), block):
        writer.write(pa.Table.from_pylist(rows[start : start + block], schema))
    writer.close()
    opened = Words.open(folder / WORDS_FILE)
    for word in ITALIAN.words("gatto cane mare monti città neve sole 2019 altro"):
        expected = [number for number, text in enumerate(captions) if word in ITALIAN.words(text)]
        assert opened.rows(word).tolist() == expected
    wanted = ITALIAN.words("cane mare altro")
    weight = weights([len(opened.rows(word)) for word in wanted], len(rows))
    found = shares(opened, wanted, weight, len(rows))
    for number, text in enumerate(captions):
        has = set(ITALIAN.words(text))
        share = sum(one for word, one in zip(wanted, weight, strict=True) if word in has)
        assert found[number] == pytest.approx(share, abs=1e-6)


def test_rare_words_weigh_more_and_all_sum_to_one():
    weight = weights([1, 10, 0, 100], 100)
    assert weight.sum() == pytest.approx(1)
    assert list(weight) == sorted(weight, reverse=True)
    assert weight[1] == weight[2], "a word that no row has weighs like one that every tenth row has"
    assert weight[0] / weight[1] == pytest.approx(math.log(1 + 99.5 / 1.5) / math.log(1 + 90.5 / 10.5))
    assert list(weights([], 5)) == []


RANKINGS = st.lists(st.integers(0, 30), unique=True, max_size=12)
SHARES = st.lists(st.sampled_from([0.1, 0.39, 0.75, 1.0]), min_size=12, max_size=12).map(
    lambda some: sorted(some)[::-1]
)


@given(RANKINGS, RANKINGS, SHARES)
def test_rankings_are_fused_by_reciprocal_rank(looks, named, some):
    by_words = list(zip(named, some, strict=False))
    scores = Counter()
    for rank, row in enumerate(looks, 1):
        scores[row] += 1 / (60 + rank)
    for rank, (row, share) in enumerate(by_words, 1):
        scores[row] += (5 * share if share >= 0.4 else share**3) / (60 + rank)
    found = fused(looks, by_words)
    assert sorted(found) == sorted(scores)
    assert all(scores[a] >= scores[b] - 1e-12 for a, b in pairwise(found))
    assert fused(looks, []) == looks
    whole = [row for row, share in by_words if share >= 0.4]
    # Rows that have enough words come before all that have none of them.
    others = [row for row in looks if row not in named]
    if whole and others:
        assert max(map(found.index, whole)) < min(map(found.index, others))


NAMES = [
    "un gatto", "un cane", "il mare", "un gatto al mare", "il cane e il gatto", "2019", "un sole", "cani", "altro",
    "la neve", "il mare con la neve", "un gatto nella neve",
]  # fmt: skip


@pytest.fixture
def captioned(tmp_path, photos, monkeypatch):
    """An index of the twelve photos with captions, in segments of five rows; one is deleted."""
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 5)
    files = sorted(photos.rglob("*.png"), key=lambda path: path.name)
    rows = [
        Pair(f"p{number}", str(path.relative_to(tmp_path)), (text,), "s" if number % 2 else "t")
        for number, (path, text) in enumerate(zip(files, NAMES, strict=True))
    ]
    pairs.write(rows, tmp_path / "pairs.jsonl")
    encoder = FakeEncoder()
    update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], update.Model(encoder, "fake"))
    update.remove(tmp_path / "idx", ["p4"])
    vectors = {f"p{number}": encoder.encode_images([path])[0] for number, path in enumerate(files)}
    return Index.open(tmp_path / "idx"), vectors


def ranked(vectors, words, query, where):
    """Ids with the share of each, by plain Python."""
    has = {
        f"p{number}": set(ITALIAN.words(f"{text} {'s' if number % 2 else 't'}")) for number, text in enumerate(NAMES)
    }
    taken = {word: sum(word in some for some in has.values()) for word in words}
    idf = {word: math.log(1 + (12 - (n or 1.2) + 0.5) / ((n or 1.2) + 0.5)) for word, n in taken.items()}
    del has["p4"]
    if where:
        has = {id_: some for id_, some in has.items() if int(id_[1:]) % 2}
    share = {id_: sum(idf[word] for word in words if word in some) / sum(idf.values()) for id_, some in has.items()}
    order = [id_ for id_ in share if share[id_] > 0]
    order.sort(
        key=lambda id_: (-round(share[id_], 6), -float(vectors[id_] @ query) if query is not None else int(id_[1:]))
    )
    return [(id_, share[id_]) for id_ in order]


@pytest.mark.parametrize("words", ["gatto", "gatti mare", "la neve", "un cane nero sul mare", "2019 gatto neve"])
@pytest.mark.parametrize("where", [None, Filter(source="s")])
def test_rows_are_ranked_by_their_words_then_by_look(captioned, words, where):
    opened, vectors = captioned
    assert len(opened.manifest.segments) == 3
    query = np.random.default_rng(len(words)).standard_normal(DIM).astype(np.float32)
    query /= np.linalg.norm(query)
    wanted = ITALIAN.query_words(words)
    for unit in (None, query):
        expected = ranked(vectors, wanted, unit, where)
        found = opened.store.matching(wanted, unit, 12, where)
        assert [one.match.row.id for one in found] == [id_ for id_, _ in expected]
        assert [one.share for one in found] == pytest.approx([share for _, share in expected], abs=1e-6)
        for k in (1, 2, 3):
            few = opened.store.matching(wanted, unit, k, where)
            assert [(one.match.row, one.share) for one in few] == [(one.match.row, one.share) for one in found[:k]]
    hits = opened.search(None, 12, where=where, words=words)
    assert [(hit.id, hit.score) for hit in hits] == [
        (id_, pytest.approx(share, abs=1e-6)) for id_, share in ranked(vectors, wanted, None, where)
    ]


def test_a_search_by_look_and_words(captioned):
    opened, vectors = captioned
    query = vectors["p1"]
    plain = opened.search(query, 11)
    both = opened.search(query, 11, words="gatti sulla neve")
    assert both[0].id == "p11"
    assert {hit.id: round(hit.score, 5) for hit in both} == {hit.id: round(hit.score, 5) for hit in plain}
    assert opened.search(query, 11, words="balena e") == plain, "words that no row has change nothing"
    pages = [opened.search(query, 4, skip=start, words="gatti sulla neve") for start in (0, 4, 8)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in both]


class Texts(FakeEncoder):
    """Every text has the vector of one picture."""

    def encode_text(self, texts):
        return np.stack([self.encode_images([noise(1)])[0]] * len(texts))


def test_words_of_a_text_are_those_of_the_query_unless_others_are_given(captioned):
    opened, _ = captioned
    encoder = Texts()

    def ids(**query):
        return [hit.id for hit in find(Query(**query), encoder, opened, 11, group=False)]

    looks = ids(texts=("gatti sulla neve",), words="")
    assert looks[0] != "p11"
    assert ids(texts=("gatti sulla neve",))[0] == "p11"
    assert ids(texts=("xyz",), words="gatti sulla neve") == ids(texts=("gatti sulla neve",))
    assert ids(texts=("gatti sulla neve", "gatti in montagna")) == looks, "wordings are compared by look only"
    assert [hit.id for hit in find(Query(words="la neve"), None, opened)] == ["p9", "p10", "p11"]
    for wrong in ({"words": " "}, {"words": "neve", "not_texts": ("x",)}):
        with pytest.raises(UsageError):
            Query(**wrong)


COMMON, SHORT = "words that every caption has", "single letters and numbers of more than 4 digits"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "nothing to look for; give some words"),
        (" \t ", "nothing to look for; give some words"),
        ("?! …", "?! …: no letter and no digit in it; give names, things, places, keywords or dates"),
        ("il di la", f"il di la: {COMMON} do not count; give names, things, places, keywords or dates"),
        ("una foto\n di", f"una foto di: {COMMON} do not count; give names, things, places, keywords or dates"),
        ("x 20190", f"x 20190: {SHORT} do not count; give names, things, places, keywords or dates"),
        ("il x", f"il x: {COMMON} and {SHORT} do not count; give names, things, places, keywords or dates"),
        ("di " * 99, f"{('di ' * 20)}: {COMMON} do not count; give names, things, places, keywords or dates"),
    ],
)
def test_words_of_which_none_counts_are_refused_with_the_reason(captioned, words, told):
    opened, _ = captioned
    for _ in range(2):  # a reader remembers the words that it has read
        with pytest.raises(UsageError) as error:
            opened.search(None, words=words)
        assert str(error.value) == told


def test_reasons_in_other_languages():
    assert reader("de").why_none("der die") == reader("es").why_none("el la").replace("el la", "der die")
    assert COMMON in reader("de").why_none("der die")


def test_an_older_index_has_no_words_until_it_is_updated(captioned, tmp_path):
    opened, _ = captioned
    before = opened.search(None, 12, words="gatto")
    folder = opened.folder
    made_older(folder)
    manifest = json.loads((folder / "index.json").read_text())
    for segment in manifest["segments"]:
        del segment["files"][WORDS_FILE]
        (folder / segment["name"] / WORDS_FILE).unlink()
    (folder / "index.json").write_text(json.dumps(manifest))
    older = Index.open(folder)
    with pytest.raises(UserError, match="this index has no words to search; run clip-italian index build again"):
        older.search(None, words="gatto")
    assert find(Query(("gatto",)), Texts(), older, 3)
    update.compact(folder)
    assert [hit.id for hit in Index.open(folder).search(None, 12, words="gatto")] == [hit.id for hit in before]
    assert verify(folder) == []


def test_another_language_writes_the_words_again(tmp_path, photos, model, encoder):
    noise(50).save(photos / "Häuser und Gärten.png")
    update.build(tmp_path / "idx", [photos], model)
    assert Index.open(tmp_path / "idx").info["language"] == "it"
    encoder.embedded = 0
    update.build(tmp_path / "idx", [photos], model, language="de")
    opened = Index.open(tmp_path / "idx")
    assert (encoder.embedded, opened.info["language"], opened.info["words"]) == (0, "de", True)
    assert [hit.id for hit in opened.search(None, words="Haus")] == ["Häuser und Gärten.png"]
    update.build(tmp_path / "idx", [photos], model)
    assert Index.open(tmp_path / "idx").info["language"] == "de"
    with pytest.raises(UsageError, match="unknown; available"):
        update.build(tmp_path / "idx", [photos], model, language="xx")


def test_words_that_are_damaged_are_said_in_one_line(captioned):
    opened, _ = captioned
    folder = opened.folder / opened.manifest.segments[0].name / WORDS_FILE
    folder.write_bytes(b"x" * folder.stat().st_size)
    with pytest.raises(UserError, match="its words are damaged"):
        Index.open(opened.folder).search(None, words="gatto")


def test_a_search_by_look_and_words_loads_neither_pandas_nor_compute(captioned):
    """pyarrow loads pandas by itself to convert moments and arrays, where it is installed."""
    opened, _ = captioned
    code = (
        "import sys, numpy as np; from clip_italian.search.index import Index\n"
        f"hits = Index.open({str(opened.folder)!r}).search(np.eye({DIM})[0], 5, words='2019 cane')\n"
        "assert len(hits) == 5 and all(hit.taken for hit in hits), hits\n"
        "print([name for name in ('pandas', 'pyarrow.compute', 'pyarrow.parquet') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_an_opened_index_finds_words_after_an_update_has_removed_its_files(captioned):
    opened, _ = captioned
    update.compact(opened.folder)
    assert not (opened.folder / opened.manifest.segments[0].name).exists()
    assert [hit.id for hit in opened.search(None, words="la neve")] == ["p9", "p10", "p11"]


def test_pages_fit_together_whatever_the_depth(captioned, monkeypatch):
    opened, vectors = captioned
    monkeypatch.setattr(index, "_DEPTH", 11)
    whole = [hit.id for hit in opened.search(vectors["p2"], 11, words="mare")]
    pages = [opened.search(vectors["p2"], 3, skip=start, words="mare") for start in range(0, 11, 3)]
    assert [hit.id for page in pages for hit in page] == whole
