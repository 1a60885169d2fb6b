"""The checks of single rows, of their captions and their picture, as a stage over record batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from clip_italian import languages, pairs
from clip_italian.clean import captions
from clip_italian.clean.language_id import foreign, identifier
from clip_italian.clean.names import tagger
from clip_italian.clean.pictures import PictureFacts, check
from clip_italian.clean.recipe import CleanRecipe
from clip_italian.files.names import as_stored
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject

LANGUAGE_DOUBT = "language-doubt"  # recorded; the caption stays


@dataclass(frozen=True)
class Clean:
    """The recipe's filters except duplicates; relative picture paths start at `folder`."""

    recipe: CleanRecipe
    folder: Path

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        """Kept rows (captions normalised) and rejects, one per rejected caption or picture."""
        found = list(pairs.from_batch(batch))
        footnotes = languages.get(self.recipe.language).footnote_words
        texts = [captions.normalise(caption, footnotes) for pair in found for caption in pair.captions]
        reasons = self._judge(texts)
        kept: list[Pair] = []
        rejects: list[Reject] = []
        start = 0
        for pair in found:
            rows = slice(start, start := start + len(pair.captions))
            keep, why = _choose(pair, texts[rows], reasons[rows])
            rejects += why
            checked = self._check_picture(keep) if keep else None
            if isinstance(checked, Reject):
                rejects.append(checked)
            elif checked:
                kept.append(checked)
        return pairs.to_batch(kept), rejects

    def _judge(self, texts: Sequence[str]) -> list[captions.Failure | None]:
        """The reason to reject each caption, or None; cheap checks run first, so that the others see fewer."""
        reasons = [next(filter(None, (check(text) for check in self._checks)), None) for text in texts]
        # Languages first: the lexicon knows few words of another language and takes the rest for names.
        for judge in (self._languages, self._names):
            rows = [row for row, reason in enumerate(reasons) if _stays(reason)]
            for row, reason in zip(rows, judge([texts[row] for row in rows]), strict=True):
                reasons[row] = reason or reasons[row]
        return reasons

    @cached_property
    def _checks(self) -> list[captions.Check]:
        settings = self.recipe.captions
        if settings is None:
            return [captions.length(1, 1_000_000)]
        return [
            captions.length(settings.min_words, settings.max_words),
            captions.no_damage, captions.no_url, captions.no_file_name, captions.no_markup,
            captions.letters(settings.min_letters),
        ]  # fmt: skip

    def _names(self, texts: Sequence[str]) -> list[captions.Failure | None]:
        settings = self.recipe.names
        if settings is None:
            return [None] * len(texts)
        shares = tagger(settings.backend, languages.get(self.recipe.language), settings.pipeline)(texts)
        return [("names", f"{share:.2f}") if share >= settings.share else None for share in shares]

    def _languages(self, texts: Sequence[str]) -> list[captions.Failure | None]:
        settings = self.recipe.language_check
        if settings is None:
            return [None] * len(texts)
        if settings.backend == "py3langid":
            return [
                doubt
                and (
                    LANGUAGE_DOUBT if captions.words(text) <= settings.short and not doubt.clear else "language",
                    f"{doubt.language} {doubt.probability:.2f}",
                )
                for text, doubt in zip(texts, foreign(texts, languages.get(self.recipe.language)), strict=True)
            ]
        guesses = identifier(settings.backend)(texts)
        return [
            None
            if guess.language == self.recipe.language
            else (
                LANGUAGE_DOUBT if captions.words(text) <= settings.short else "language",
                f"{guess.language} {guess.probability:.2f}",
            )
            for text, guess in zip(texts, guesses, strict=True)
        ]

    def _check_picture(self, pair: Pair) -> Pair | Reject:
        """The pair with its picture's hash, or a reject; unchanged if the picture is a URL."""
        if self.recipe.pictures is None or "://" in pair.image:
            return pair
        found = check(as_stored(self.folder / pair.image), self.recipe.pictures)
        if isinstance(found, PictureFacts):
            return replace(pair, phash=found.phash)
        reason, detail = found
        return Reject(pair.id, reason, pair.image, detail)


def _stays(reason: captions.Failure | None) -> bool:
    return reason is None or reason[0] == LANGUAGE_DOUBT


def _choose(
    pair: Pair, texts: Sequence[str], reasons: Sequence[captions.Failure | None]
) -> tuple[Pair | None, list[Reject]]:
    """The pair with the captions that pass, or None if none does, and the rejects."""
    if not any(reasons) and tuple(texts) == pair.captions and texts:
        return pair, []  # most of them
    rejects = [
        Reject(pair.id, reason[0], text, reason[1])
        for text, reason in zip(texts, reasons, strict=True)
        if reason is not None
    ]
    stay = [row for row, reason in enumerate(reasons) if _stays(reason)]
    return keep_captions(replace(pair, captions=tuple(texts)), stay), rejects


def keep_captions(pair: Pair, rows: Sequence[int]) -> Pair | None:
    """The pair with only some of its captions and their originals, or None if `rows` is empty."""
    if not rows:
        return None
    original = pair.captions_original
    if original and len(original) == len(pair.captions):
        original = tuple(original[row] for row in rows)
    return replace(pair, captions=tuple(pair.captions[row] for row in rows), captions_original=original)
