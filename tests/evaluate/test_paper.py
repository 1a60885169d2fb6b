"""The paper's tables from results, the sets they need, and what is missing."""

import shutil
from functools import partial

import pytest

from clip_italian import languages, privacy
from clip_italian.errors import UserError
from clip_italian.evaluate import paper
from clip_italian.evaluate.report import PUBLISHED_RETRIEVAL, PUBLISHED_ZEROSHOT
from tests.evaluate import paper_sets

ITALIAN = languages.get("it")


def retrieval(name, queries=8486, gallery=1696, **figures):
    ranks = {"text_to_image": [1] * queries, "image_to_text": [1] * gallery}
    return {"kind": "retrieval", "name": name, "ranks": ranks, "text_to_image": figures}


def zeroshot(name, pictures=50_000, **figures):
    return {"kind": "zeroshot", "name": name, "labels": 1000, "ranks": {"zeroshot": [1] * pictures}} | figures


def published(table, name, shift=0.0):
    return {figure: round(value + shift, 4) for figure, value in table.models[name].items()}


@pytest.mark.parametrize(
    ("shift", "passes"), [(0.0, True), (0.01, True), (-0.01, True), (0.0101, False), (-0.02, False)]
)
def test_a_hundredth_is_the_limit(shift, passes):
    both = [retrieval(name, **published(PUBLISHED_RETRIEVAL, name, shift)) for name in ("CLIP-Italian", "mCLIP")]
    table = paper.check_retrieval(both, PUBLISHED_RETRIEVAL)
    assert [(check.model, check.figure) for check in table.checks] == [
        (model, f"MRR@{k}") for model in ("CLIP-Italian", "mCLIP") for k in (1, 5, 10)
    ]
    assert {check.difference for check in table.checks} == {shift}
    assert table.passed is passes
    both = [zeroshot(name, **published(PUBLISHED_ZEROSHOT, name, shift)) for name in ("CLIP-Italian", "mCLIP")]
    table = paper.check_zeroshot(both, PUBLISHED_ZEROSHOT)
    assert len(table.checks) == 8
    assert table.passed is passes
    assert table.to_json()["figures"][0]["published"] == 0.2211


def test_one_figure_beyond_it_fails_the_table_and_a_part_of_a_set_cannot_pass():
    good = published(PUBLISHED_RETRIEVAL, "CLIP-Italian")
    one_off = [retrieval("CLIP-Italian", **good | {"MRR@5": good["MRR@5"] + 0.02})]
    table = paper.check_retrieval(one_off, PUBLISHED_RETRIEVAL)
    assert [check.passed for check in table.checks] == [True, False, True]
    assert table.whole and not table.passed
    table = paper.check_retrieval([retrieval("CLIP-Italian", queries=8485, **good)], PUBLISHED_RETRIEVAL)
    assert all(check.passed for check in table.checks)
    assert not table.whole and not table.passed


def test_labels_of_the_project_are_read_as_they_are(tmp_path):
    folder = paper_sets.imagenet(tmp_path / "imagenet")
    table = folder / "imagenet_labels_IT.tsv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("cerchio cerchio cerchio", "a eft")  # what DeepL had left in English
    table.write_text("\n".join(lines))
    data = paper.classification_set(folder, None, ITALIAN, tmp_path, partial=True)
    assert (len(data.classes), len(data.paths)) == (1000, 6)
    assert data.names[data.classes.index("n01440764")] == ("a eft",)
    assert sorted({data.classes[number] for number in data.right}) == sorted(paper_sets.WORDNETS)


def test_what_is_missing_says_where_it_is_and_its_licence(tmp_path):
    coco, imagenet = paper_sets.coco(tmp_path / "coco"), paper_sets.imagenet(tmp_path / "imagenet")
    (tmp_path / "empty").mkdir()
    missing = {
        "no such folder; get captions_ita_devset_unvalidated.json.gz": lambda: paper.retrieval_set(
            tmp_path / "no", False
        ),
        "no captions_ita_devset_unvalidated.json.gz in it": lambda: paper.retrieval_set(tmp_path / "empty", False),
        "4 pictures of mscoco-it-dev-unvalidated, published are 1,696": lambda: paper.retrieval_set(coco, False),
    }
    for words, call in missing.items():
        with pytest.raises(UserError) as caught:
            call()
        text = str(caught.value)
        assert words in text and "\n" not in text
        assert "https://github.com/crux82/mscoco-it" in text and "val2014.zip" in text
        assert "(CC BY-SA 4.0)" in text and "Flickr licences" in text
    read = partial(paper.classification_set, language=ITALIAN, room=tmp_path)
    for words, folder in {"no such folder": tmp_path / "no", "6 pictures, published are 50,000": imagenet}.items():
        with pytest.raises(UserError, match=words) as caught:
            read(folder, None, partial=False)
        assert "https://image-net.org (research and education only" in str(caught.value)
    with pytest.raises(UserError, match=r"labels.*get https://raw.*imagenet_labels_IT.tsv \(no licence stated\)"):
        read(imagenet, tmp_path / "none.tsv", partial=True)
    with pytest.raises(UserError, match=r"; CLIP-Italian is at https://huggingface.co/.* \(GPL-3.0\)$"):
        paper.load_models([str(tmp_path / "empty"), "mclip"], ITALIAN, "cpu")


def test_a_table_of_labels_with_gaps_is_refused(tmp_path):
    folder = paper_sets.imagenet(tmp_path / "imagenet")
    table = folder / "imagenet_labels_IT.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(UserError, match="a class without a label, or twice"):
        paper.classification_set(folder, None, ITALIAN, tmp_path, partial=True)


@pytest.fixture
def web(tmp_path):
    """The tiny set on a server: its address and its folder."""
    with paper_sets.served(tmp_path / "web") as address:
        yield address, tmp_path / "web"


def test_fetching_gets_what_is_missing_and_no_more(web, tmp_path):
    address, served = web
    folder = tmp_path / "coco"
    captions = f"{address}/captions_ita_devset_unvalidated.json.gz"
    assert paper.fetch_coco(folder, captions, address) == 5  # and four pictures
    assert len(paper.retrieval_set(folder, True).pairs) == 4
    for picture in (served / "val2014").iterdir():
        assert (folder / "val2014" / picture.name).read_bytes() == picture.read_bytes()
    (folder / "val2014/COCO_val2014_000000000042.jpg").unlink()
    assert paper.fetch_coco(folder, captions, address) == 1
    assert paper.fetch_coco(folder, captions, address) == 0
    file = paper.fetch_labels(folder, f"{address}/imagenet_labels_IT.tsv")
    assert file.read_bytes() == (served / "imagenet_labels_IT.tsv").read_bytes()


def test_what_cannot_be_fetched_is_one_line_and_the_rest_stays(web, tmp_path, monkeypatch):
    address, served = web
    shutil.copy(served / "captions_ita_devset_unvalidated.json", tmp_path)
    (served / "val2014/COCO_val2014_000000000042.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 4 files could not be downloaded, first .*42.jpg: http-404; run"):
        paper.fetch_coco(tmp_path, address, address)
    assert len(list((tmp_path / "val2014").iterdir())) == 3
    monkeypatch.setenv(privacy.OFFLINE, "1")
    with pytest.raises(UserError, match=f"needs the network, which {privacy.OFFLINE}=1 forbids"):
        paper.fetch_coco(tmp_path)
