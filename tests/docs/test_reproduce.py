"""The walk of docs/reproduce.md by its commands, on a thousandth of the paper's data, to both of the paper's tables."""

import gzip
import json
from pathlib import Path

import pytest

from clip_italian import pairs
from clip_italian.config import load_recipe
from clip_italian.models.load import load_torch
from clip_italian.pipeline.rejects import read_rejects
from clip_italian.sources.wit import COLUMNS
from clip_italian.stats import card
from tests.cli.conftest import run as run
from tests.cli.test_walk import commands
from tests.conftest import save_tiny_model
from tests.evaluate import paper_sets
from tests.fetch.web import Web, photo
from tests.models_torch import sentence_models
from tests.sources.site import Site, html
from tests.translate.fake_deepl import KEY, FakeDeepL

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
PART = 1000  # of this many pairs, one is here
# fmt: off
WHO = ("Un gatto nero", "Una donna anziana", "Il vecchio pescatore", "Un cane bianco", "Una bambina", "Il falegname",
       "Un treno rosso", "Una maestra", "Il postino", "Un cavallo", "Una coppia di turisti", "Il giardiniere")
WHAT = ("dorme", "guarda il mare", "attraversa il ponte", "riposa", "aspetta sotto la pioggia", "passa lentamente",
        "corre", "legge un giornale", "mangia una mela", "canta una canzone", "cammina", "gioca con la palla")
WHERE = ("nel giardino della villa", "davanti alla chiesa", "vicino alla stazione", "lungo la spiaggia",
         "sulla strada di montagna", "in mezzo alla piazza", "accanto alla finestra", "dietro il mercato",
         "tra gli alberi del bosco", "sopra la collina")
# fmt: on


def caption(number):
    """An Italian sentence; 1,440 numbers give others."""
    return f"{WHO[number % 12]} {WHAT[number // 12 % 12]} {WHERE[number // 144]}"


def numbers():
    """Numbers of the pictures of each source, a thousandth of those in the paper's Table 1."""
    start, found = 0, {}
    for source, count in card.PAPER.items():
        found[source] = range(start, start := start + round(count / PART))
    return found


def write_sources(mine, web, site):
    """Files of all four sources as they are published, in the current folder; pages of Il Post on `site`."""
    rows = [list(COLUMNS)]
    for number in mine["wit"]:
        values = dict.fromkeys(COLUMNS, "") | {
            "language": "it", "page_url": "https://it.wikipedia.org/wiki/P", "mime_type": "image/jpeg",
            "image_url": web.url(f"/good/{number}.jpg"), "caption_reference_description": caption(number),
        }  # fmt: skip
        rows.append(list(values.values()))
    half = len(rows) // 2
    for place, some in enumerate((rows[:half], [rows[0], *rows[half:]])):
        packed = gzip.compress("\n".join(map("\t".join, some)).encode())
        Path(f"wit_v1.train.all-0000{place}-of-00010.tsv.gz").write_bytes(packed)

    Path("coco/train2014").mkdir()
    annotations = []
    for number in mine["mscoco-it"]:
        photo(number, (120, 90)).save(f"coco/train2014/COCO_train2014_{number + 1000:012d}.jpg")
        for when in ("di sera", "al mattino"):
            text = f"{caption(number)} {when}"
            annotations.append({"image_id": number + 1000, "id": len(annotations), "caption": text})
    raw = json.dumps({"images": [], "annotations": annotations}).encode()
    Path("captions_ita_trainingset_train2014.json.gz").write_bytes(gzip.compress(raw))

    lines = [f"photo number {number}\t{web.url(f'/good/{number}.jpg')}" for number in mine["conceptual-captions"]]
    Path("Train_GCC-training.tsv").write_text("\n".join(lines))

    for number in mine["ilpost"]:
        picture = web.url(f"/good/{number}.jpg")
        text = f"<figcaption>{caption(number)} (ANSA)</figcaption>"
        site.answers[f"/{number}"] = html(f"<figure><img src={picture}>{text}</figure>")
    Path("urls.txt").write_text("\n".join(site.url(f"/{number}") for number in mine["ilpost"]))


@pytest.mark.slow
def test_a_thousandth_of_the_data_becomes_a_model_with_both_tables(run, tmp_path, monkeypatch):
    pytest.importorskip("langdetect")
    pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPL_AUTH_KEY", KEY)
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(tmp_path / "cache"))
    tiny = save_tiny_model(tmp_path)
    mclip = f"sentence-transformers:{sentence_models.texts(tmp_path / 't')},{sentence_models.pictures(tmp_path / 'p')}"
    paper_sets.coco(tmp_path / "coco")
    paper_sets.imagenet(tmp_path / "imagenet")
    mine = numbers()
    assert {name: len(some) for name, some in mine.items()} == {
        "wit": 526, "mscoco-it": 116, "conceptual-captions": 713, "ilpost": 29,
    }  # fmt: skip
    stages = [f"stage.{n}.{key}" for n in (0, 1) for key in ("epochs=2", "evaluate_every=1", "patience=2", "views=1")]
    small = [f"model.vision={tiny}", f"model.text={tiny}", "data.copies=false", "data.workers=0", "device=cpu", *stages]
    with Web() as web, FakeDeepL() as deepl, Site({}) as site:
        write_sources(mine, web, site)
        deepl.answer = lambda text: caption(int(text.split()[-1]))
        more = {
            "ilpost": ["--rate", "1000"], "--engine": ["--server-url", deepl.url], "split": ["--no-copies"],
            "fetch": ["--per-host", "32", "--workers", "1"], "train": small,
            "evaluate": ["--partial", "--mclip", mclip],
        }  # fmt: skip
        for words in commands(PAGE, "The walk", left_out=()):
            options = [option for word, some in more.items() if word in words for option in some]
            code, out, err = run(*words, *options)
            assert code == (1 if words[0] == "evaluate" else 0), (words, out, err)  # a part of the sets cannot pass

    found = pairs.read(tmp_path / "pairs.parquet")
    counts = {source: sum(pair.source == source for pair in found) for source in mine}
    rejects = [reject for path in Path().glob("*.rejects.jsonl") for reject in read_rejects(path)]
    assert {reject.reason for reject in rejects} <= {"language"}  # langdetect is wrong at times
    lost = sum(map(len, mine.values())) - len(found)
    assert lost == len({reject.id for reject in rejects}) < 0.02 * len(found)
    assert all(0 <= len(some) - counts[source] <= 0.02 * len(some) for source, some in mine.items())
    assert {pair.split for pair in found if pair.source == "mscoco-it"} == {"train"}
    held_out = sum(pair.split == "val" for pair in found) / sum(pair.source != "mscoco-it" for pair in found)
    assert held_out == pytest.approx(0.05, abs=0.02)
    assert "525,950" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")

    history = [json.loads(line) for line in (tmp_path / "runs/paper/history.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in history if row["step"]][-1] == "unfrozen"
    facts = json.loads((tmp_path / "runs/paper/model/clip_italian.json").read_text())
    assert facts["recipe"]["augmentation"] == load_recipe("paper").augmentation.model_dump(mode="json")
    assert load_torch(str(tmp_path / "runs/paper/model")).dim == 512

    table = (tmp_path / "runs/paper/tables/report.md").read_text(encoding="utf-8")
    assert "the paper's Table 3" in table and "the paper's Table 4" in table
    result = json.loads((tmp_path / "runs/paper/tables/retrieval-CLIP-Italian.json").read_text())
    assert result["model"]["source"] == "runs/paper/model"
    assert 0 < result["text_to_image"]["MRR@10"] <= 1
