"""Reports from result files: what is grouped, named, bold, compared and published."""

import json
import re

import numpy as np
import pytest

from clip_italian.errors import UserError
from clip_italian.evaluate import bootstrap, ranks, report, results, retrieval, zeroshot
from clip_italian.evaluate.bootstrap import Resampling

FEW = Resampling(100)


def facts(name, kind, fingerprint="f0"):
    return {
        "format": 1, "kind": kind, "name": name, "model": {"weights_sha256": "w", "dim": 4},
        "data": {"source": "set_1.jsonl", "splits": ["test"], "fingerprint": fingerprint, "left_out": []},
        "bootstrap": FEW.facts(), "versions": {"torch": "2"}, "overlap": {"checked": True, "pictures": 0},
        "ties": ranks.TIE_RULE,
    }  # fmt: skip


def retrieval_result(name, noise, seed=0, pictures=30, captions="all"):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(pictures, 8))
    texts = np.repeat(images, 2, 0) + noise * np.random.default_rng(9).normal(size=(2 * pictures, 8))
    data = retrieval.RetrievalSet(
        ("",) * (2 * pictures),
        tuple((row // 2,) for row in range(2 * pictures)),
        tuple((2 * row, 2 * row + 1) for row in range(pictures)),
    )
    found = retrieval.rank(images, texts, data)
    figures = ranks.rounded(retrieval.figures(found, data, FEW))
    return facts(name, "retrieval") | figures | {"captions": captions} | results.retrieval_ranks(found, data)


def zeroshot_result(name, found, labels=20, **more):
    found = np.array(found)
    figures = zeroshot.summary(found, labels) | {
        "intervals": bootstrap.intervals(zeroshot.by_picture(found), None, bootstrap.own(len(found)), FEW)
    }
    mistakes = [{"class": "a|b_c", "taken_for": "50% <i>", "count": 2, "share": 0.5}]
    rest = {"prompts": ["una foto di {}"], "ranks": {"zeroshot": found.tolist()}, "confusions": mistakes}
    return facts(name, "zeroshot") | ranks.rounded(figures) | rest | more


@pytest.fixture
def compare(tmp_path):
    def run(*made):
        files = []
        for number, result in enumerate(made):
            file = tmp_path / f"r{number}.json"
            results.write(file, result)
            files.append((file, results.read(file)))
        return report.compare(files, FEW)

    return run


def test_the_papers_table_3(compare):
    good, bad = retrieval_result("runs/good_1", 0.5), retrieval_result("bad", 5)
    (part,) = compare(good, bad)
    table = part.tables[0]
    assert table.columns == ("runs/good_1", "bad", "CLIP-Italian, published", "mCLIP, published")
    assert [name for name, _ in table.rows] == ["MRR@1", "MRR@5", "MRR@10"]
    for name, cells in table.rows:
        assert cells[0].value == good["text_to_image"][name]
        assert list(cells[0].interval) == good["text_to_image"]["intervals"][name]
        assert (cells[0].best, cells[1].best, cells[2].best) == (True, False, False)
    assert [cells[2].value for _, cells in table.rows] == [0.3797, 0.5039, 0.5204]
    assert [cells[3].value for _, cells in table.rows] == [0.2874, 0.3957, 0.4129]
    assert "60 captions as queries, 30 pictures in the gallery" in table.caption
    assert "other pictures than these" in part.notes[0]
    ranks_row = dict(part.tables[1].rows)["median_rank"]
    assert [cell.best for cell in ranks_row] == [True, False]  # less is better


def test_the_papers_table_4(compare):
    (part,) = compare(zeroshot_result("a", [1, 1, 2, 7]), zeroshot_result("b", [1, 3, 2, 30]))
    text = report.markdown([part], "T", ["p.png"])
    assert "| Accuracy@1 | **50.00** [0.00, 100.00] | 25.00 [0.00, 75.00] | 22.11 | 20.15 |" in text
    assert "| Accuracy@100 | **100.00** [100.00, 100.00] | **100.00** [100.00, 100.00] | 81.08 | 67.11 |" in text
    assert "Prompts: una foto di {}" in text


def test_published_figures_say_when_the_counts_are_the_same(compare, monkeypatch):
    table = report.PublishedTable(report.PUBLISHED_RETRIEVAL.models, "x", queries=60, gallery=30)
    monkeypatch.setattr(report, "PUBLISHED_RETRIEVAL", table)
    (part,) = compare(retrieval_result("a", 1))
    assert "as many pictures and texts as here" in part.notes[0]
    (part,) = compare(retrieval_result("a", 1, captions="distinct"))
    assert "other pictures than these" in part.notes[0]


def test_differences_are_paired_with_the_first(compare):
    first, second = retrieval_result("a", 1.0), retrieval_result("b", 2.0)
    (part,) = compare(first, second)
    table = part.differences[0]
    assert table.caption == "Text to image: difference from a"
    for name, (cell,) in table.rows:
        expected = second["text_to_image"][name] - first["text_to_image"][name]
        assert cell.value == pytest.approx(expected, abs=2e-4), name
        assert cell.interval[0] <= cell.value <= cell.interval[1]
    again = part.to_json()["differences"][table.caption]["b"]
    assert again["MRR@10"]["difference"] == dict(table.rows)["MRR@10"][0].value
    (alone,) = compare(first)
    assert alone.differences == ()


def test_folds_have_tables_of_their_own(compare):
    folded = retrieval_result("a", 1.0) | {"galleries": {"text_to_image": [14, 16], "image_to_text": [28, 32]}}
    parts = compare(folded, retrieval_result("b", 1.0), folded | {"name": "c"})
    assert [list(part.models) for part in parts] == [["a", "c"], ["b"]]
    assert (
        "60 captions as queries, each in its fold's gallery of 14 to 16 pictures (2 folds)"
        in parts[0].tables[0].caption
    )
    assert "30 pictures as queries, each in its fold's gallery of 28 to 32 captions" in parts[0].tables[2].caption
    assert "30 pictures in the gallery" in parts[1].tables[0].caption


def test_only_the_same_queries_stand_in_one_table(compare):
    parts = compare(
        retrieval_result("a", 1), zeroshot_result("a", [1, 2]), retrieval_result("b", 1, pictures=20),
        retrieval_result("c", 1, captions="distinct"), retrieval_result("d", 2),
        zeroshot_result("e", [1, 3, 4]), facts_changed(retrieval_result("f", 1)),
    )  # fmt: skip
    assert [list(part.models) for part in parts] == [["a", "d"], ["a"], ["b"], ["c"], ["e"], ["f"]]


def facts_changed(result):
    return result | {"data": result["data"] | {"fingerprint": "other"}}


def test_models_of_one_name_get_their_files(compare):
    (part,) = compare(retrieval_result("m", 1), retrieval_result("m", 2))
    assert list(part.models) == ["m (r0)", "m (r1)"]


def test_training_pictures_and_other_labels_are_said(compare):
    seen = retrieval_result("seen", 1) | {"overlap": {"checked": True, "pictures": 3}}
    dark = retrieval_result("dark", 1) | {"overlap": {"checked": False}}
    (part,) = compare(seen, dark)
    assert "Trained on some of these pictures: seen." in part.notes
    assert "No list of training pictures, which may include these: dark." in part.notes
    (part,) = compare(zeroshot_result("a", [1], names={"x": ["a"]}), zeroshot_result("b", [1], names={"x": ["b"]}))
    assert "The models were given different labels for the same classes." in part.notes


def test_files_for_papers_and_people(compare, tmp_path):
    parts = compare(
        retrieval_result("a_1 & co", 1), retrieval_result("<b>", 3), zeroshot_result("z", [1, 2, 30]),
    )  # fmt: skip
    written = report.write(parts, "Prova", tmp_path / "out")
    assert sorted(written) == sorted(path.name for path in (tmp_path / "out").iterdir())
    tex = (tmp_path / "out" / "report.tex").read_text()
    assert r"a\_1 \& co & <b> & CLIP-Italian, published" in tex
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 6  # 3 and 2 differences, 1
    for block in re.findall(r"\\toprule.*?\\bottomrule", tex, re.S):
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1
        assert not re.search(r"(?<!\\)[%_#]", block)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert page.count("<svg") == 3
    assert "prefers-color-scheme: dark" in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert r"| a\|b_c | 50% &lt;i> | 2 | 50% |" in text
    assert (tmp_path / "out" / "plot-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_is_the_same_each_time(compare, tmp_path):
    parts = compare(retrieval_result("a", 1), retrieval_result("b", 3))
    for name in ("one", "two"):
        report.write(parts, "Prova", tmp_path / name)
    for file in ("report.html", "report.md", "report.tex", "plot-1.svg"):
        assert (tmp_path / "one" / file).read_text() == (tmp_path / "two" / file).read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-20], "no JSON"),
        (lambda text: "[]", "no result file"),
        (lambda text: text.replace('"format": 1', '"format": 2'), r"no result file \(format"),
        (lambda text: text.replace('"name"', '"title"'), r"no result file \(name"),
        (lambda text: json.dumps(json.loads(text) | {"ranks": {"zeroshot": [1]}}), "not those of a retrieval result"),
        (lambda text: json.dumps(json.loads(text) | {"ranks": {"text_to_image": ["x"]}}), "no result file"),
    ],
)
def test_files_that_are_no_results(tmp_path, change, words):
    file = tmp_path / "r.json"
    results.write(file, retrieval_result("a", 1, pictures=3))
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=words):
        results.read(file)


def test_missing_and_repeated_files(tmp_path, compare):
    with pytest.raises(UserError, match="cannot read the result"):
        results.read(tmp_path / "none.json")
    results.write(tmp_path / "r.json", retrieval_result("a", 1, pictures=3))
    read = results.read(tmp_path / "r.json")
    with pytest.raises(UserError, match="given twice"):
        report.compare([(tmp_path / "r.json", read), (tmp_path / "x" / ".." / "r.json", read)], FEW)
