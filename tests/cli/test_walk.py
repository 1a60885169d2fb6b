"""The whole walk of docs/data.md by its commands: four sources, then every step to the card."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest

from clip_italian import pairs
from clip_italian.sources.wit import COLUMNS
from tests.fetch.web import Web, photo
from tests.sources.site import Site, html
from tests.translate.fake_deepl import KEY, FakeDeepL

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
WHO = ("Un gatto", "Una donna", "Il vecchio pescatore", "Un cane nero", "Una bambina", "Il falegname", "Un treno")
WHAT = ("dorme sul divano rosso", "guarda il mare dalla riva", "attraversa il ponte", "riposa nel giardino fiorito",
        "aspetta sotto la pioggia", "passa davanti alla chiesa")  # fmt: skip


def caption(number):
    return f"{WHO[number % 7]} {WHAT[number // 7 % 6]}"


def wit_file(web, numbers):
    rows = [COLUMNS]
    for number in numbers:
        values = dict.fromkeys(COLUMNS, "") | {
            "language": "it", "page_url": "https://it.wikipedia.org/wiki/P", "mime_type": "image/jpeg",
            "image_url": web.url(f"/good/{number}.jpg"), "caption_reference_description": caption(number),
        }  # fmt: skip
        rows.append(list(values.values()))
    rows[1][COLUMNS.index("caption_reference_description")] = "Anna Maria Mozzoni"
    raw = "\n".join(map("\t".join, rows)).encode()
    Path("wit_v1.train.all-00000-of-00010.tsv.gz").write_bytes(gzip.compress(raw))


def coco_file(numbers):
    folder = Path("coco/val2014")
    folder.mkdir(parents=True)
    found = []
    for number in numbers:
        photo(number).save(folder / f"COCO_val2014_{number:012d}.jpg")
        found += [{"image_id": str(number), "id": str(number), "caption": f"{caption(number)} {when}"}
                  for when in ("di sera", "al mattino")]  # fmt: skip
    raw = json.dumps({"images": [], "annotations": found}).encode()
    Path("captions_ita_testset_validated.json.gz").write_bytes(gzip.compress(raw))


def commands(page=DOCS, heading="The whole walk", left_out=("train",)):
    """The walk's commands but for some, its loops written out; its files are those in the current folder."""
    section = page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    walk = re.search(r"```\n(.*?)```", section, re.DOTALL)[1]
    walk = re.sub(r"#.*|export .*", "", walk)
    for loop in re.findall(r"for name in .*?done", walk, re.DOTALL):
        names, body = re.fullmatch(r"for name in ([^;]+); do(.*?);?\s*done", loop, re.DOTALL).groups()
        every = "\n".join(body.replace("$name", name).replace("; ", "\n") for name in names.split())
        walk = walk.replace(loop, every)
    for line in filter(None, map(str.strip, walk.splitlines())):
        program, *words = shlex.split(line)
        assert program == "clip-italian", line
        if words[0] not in left_out:
            found = [sorted(Path().glob(word)) if set("*?[") & set(word) else [word] for word in words]
            yield [str(word) for some in found for word in some]


@pytest.mark.slow
def test_the_walk(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPL_AUTH_KEY", KEY)
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(tmp_path / "cache"))
    pages = {f"/{number}": f"<figcaption>{caption(number)} (ANSA)</figcaption>" for number in range(24, 30)}
    with Web() as web, FakeDeepL() as deepl, Site({}) as site:
        deepl.answer = lambda text: caption(int(text.split()[-1]))
        for path, text in pages.items():
            site.answers[path] = html(f"<figure><img src={web.url(f'/good{path}.jpg')}>{text}</figure>")
        Path("urls.txt").write_text("\n".join(map(site.url, pages)))
        wit_file(web, range(12))
        lines = [f"photo number {number}\t{web.url(f'/good/{number}.jpg')}" for number in range(12, 24)]
        Path("Train_GCC-training.tsv").write_text("\n".join([*lines, f"photo number 40\t{web.url('/missing')}"]))
        coco_file(range(30, 36))
        more = {"ilpost": ["--rate", "100"], "--engine": ["--server-url", deepl.url], "fetch": ["--workers", "1"]}
        for words in commands():
            if words[:2] == ["rate", "score"]:
                for path, grade in zip(words[2:], "43", strict=True):
                    head, *rows = Path(path).read_text(encoding="utf-8-sig").splitlines()
                    Path(path).write_text("\n".join([head, *(row + grade for row in rows)]))
            options = [option for word, some in more.items() if word in words for option in some]
            code, out, err = run(*words, *options)
            assert code == 0, (words, out, err)
    found = pairs.read(tmp_path / "pairs.parquet")
    by_source = {source: sum(pair.source == source for pair in found) for source in {pair.source for pair in found}}
    assert by_source == {"wit": 11, "conceptual-captions": 12, "ilpost": 6, "mscoco-it": 6}
    assert all(pairs.image_path(pair, tmp_path / "pairs.parquet").is_file() for pair in found)
    assert {pair.split for pair in found if pair.source == "mscoco-it"} == {"test"}
    assert {pair.captions_original[0] for pair in found if pair.source == "conceptual-captions"} == {
        f"photo number {number}" for number in range(12, 24)
    }
    card = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "35 images" in card
    assert "712,890" in card
    rejects = [tuple(map(str.strip, line.split("|")[1:4])) for line in card.splitlines()]
    expected = {("wit-clean", "names", "1"), ("cc-shards", "http-404", "1")}
    assert expected <= set(rejects)
    assert (tmp_path / "card" / "samples.png").stat().st_size > 10_000
