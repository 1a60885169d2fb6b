"""How right the filters of captions are: names against descriptions, and Italian against other languages.

    python benchmarks/caption_filters.py ../shared/mscoco-it/*.json.gz ../shared/flickr8k-it/captions.jsonl \
        --ud ../shared/ud-italian/*.gz --spacy ../shared/spacy-it-pos

The files hold real captions (MSCOCO-IT's JSON or pairs files), which are all descriptions in Italian: what a filter
rejects of them is lost. Pairs files with `captions_original` give English captions, which should go. Prints Markdown.
"""

import argparse
import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import spacy
from clean_speed import real_captions

from clip_italian import languages, pairs
from clip_italian.clean.captions import words
from clip_italian.clean.language_id import foreign, identifier
from clip_italian.clean.names import Casing, Lexicon, Tagger, tagger

LABELLED = Path(__file__).parents[1] / "tests" / "data" / "name_captions.tsv"
CASINGS: dict[str, Callable[[str], str]] = {
    "normal": str, "lower": str.lower, "caps": str.upper, "title": str.title,
}  # fmt: skip
SHARE = 0.8


def labelled(tag: Tagger) -> list[str]:
    """Right ones of each kind and casing of the labelled list."""
    with LABELLED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    right = [
        (s >= SHARE) == (r["label"] == "name") for s, r in zip(tag([r["caption"] for r in rows]), rows, strict=True)
    ]
    cells = [f"{sum(right) / len(right):.3f}"]
    for label in ("name", "description"):
        for casing in CASINGS:
            some = [ok for ok, row in zip(right, rows, strict=True) if (row["label"], row["casing"]) == (label, casing)]
            cells.append(f"{sum(some)} of {len(some)}")
    return cells


def sentences(files: Sequence[Path]) -> Iterator[list[tuple[str, bool]]]:
    """Words of treebank sentences (CoNLL-U), each with whether it is a proper noun; no punctuation."""
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            sentence: list[tuple[str, bool]] = []
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if len(fields) == 10 and fields[0].isdigit() and fields[3] != "PUNCT":
                    sentence.append((fields[1], fields[3] == "PROPN"))
                elif not line.strip() and sentence:
                    yield sentence
                    sentence = []


def treebank(proper: Callable[[list[str]], Sequence[bool]], files: Sequence[Path]) -> list[str]:
    """Precision, recall and F1 of proper nouns, word by word."""
    both = found = gold = 0
    for sentence in sentences(files):
        guess = proper([word for word, _ in sentence])
        both += sum(one and two for one, (_, two) in zip(guess, sentence, strict=True))
        found += sum(guess)
        gold += sum(two for _, two in sentence)
    precision, recall = both / found, both / gold
    return [f"{value:.3f}" for value in (precision, recall, 2 * precision * recall / (precision + recall))]


def spacy_proper(pipeline: str) -> Callable[[list[str]], list[bool]]:
    """The pipeline's tags on given words."""
    loaded = spacy.load(pipeline, exclude=["parser", "ner", "lemmatizer", "senter"])
    return lambda some: [token.pos_ == "PROPN" for token in loaded(spacy.tokens.Doc(loaded.vocab, words=some))]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Markdown."""
    print("\n| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def names(real: Sequence[str], ud: Sequence[Path], pipeline: str | None) -> None:
    """The tables about names."""
    italian = languages.get("it")
    lexicon = tagger("lexicon", italian)
    assert isinstance(lexicon, Lexicon)
    backends: list[tuple[Tagger, Callable[[list[str]], Sequence[bool]]]] = [
        (lexicon, lambda some: lexicon.proper(some, Casing.NORMAL))
    ]
    if pipeline:
        backends.append((tagger("spacy", italian, pipeline), spacy_proper(pipeline)))
    kinds = [f"{label}s, {casing}" for label in ("name", "description") for casing in CASINGS]
    table(["labelled list", "right", *kinds], [[tag.name, *labelled(tag)] for tag, _ in backends])
    lost = [
        [tag.name, *(str(sum(s >= SHARE for s in tag([change(text) for text in real]))) for change in CASINGS.values())]
        for tag, _ in backends
    ]
    table([f"taken for names, of {len(real):,} real captions", *CASINGS], lost)
    if ud:
        scores = [[tag.name, *treebank(proper, ud)] for tag, proper in backends]
        table(["proper nouns of UD_Italian-ParTUT", "precision", "recall", "F1"], scores)


def identified(real: Sequence[str], english: Sequence[str]) -> None:
    """The table about languages; langdetect on every fifth caption, since it is slow."""
    rows = []
    italian = languages.get("it")
    for name, step in (("py3langid", 1), ("py3langid and words", 1), ("langdetect", 5)):
        cells = [name]
        for texts in ([t for t in real if words(t) > 3], [t for t in real if words(t) <= 3], list(english)):
            some = texts[::step]
            if name == "py3langid and words":
                right = sum(doubt is None for doubt in foreign(some, italian))
            else:
                backend: Literal["py3langid", "langdetect"] = "langdetect" if name == "langdetect" else "py3langid"
                right = sum(found.language == "it" for found in identifier(backend)(some))
            cells.append(f"{right:,} of {len(some):,}" + (f" ({right / len(some):.4f})" if some else ""))
        rows.append(cells)
    table(["taken for Italian", "Italian, four words or more", "Italian, up to three words", "English"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--ud", type=Path, nargs="*", default=[], help="CoNLL-U files, gzipped")
    parser.add_argument("--spacy", help="spaCy pipeline to measure too")
    options = parser.parse_args()
    real = sorted(set(real_captions(options.files)))
    own = [path for path in options.files if not path.name.endswith(".json.gz")]
    english = sorted({text for path in own for pair in pairs.read(path) for text in pair.captions_original or ()})
    names(real, options.ud, options.spacy)
    identified(real, english)


if __name__ == "__main__":
    main()
