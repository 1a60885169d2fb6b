"""Published test sets: what to download, where to put it, and reading them as pairs."""

from collections.abc import Sequence

from clip_italian.evaluate.sets.base import EvaluationSet
from clip_italian.evaluate.sets.coco import mscoco_it, xtd10
from clip_italian.evaluate.sets.crossmodal import crossmodal
from clip_italian.evaluate.sets.flickr import flickr
from clip_italian.evaluate.sets.imagenet import imagenet
from clip_italian.evaluate.sets.imagenet import legacy_labels as legacy_labels
from clip_italian.languages import Language


def known(language: Language, labels: Sequence[str] | None = None) -> dict[str, EvaluationSet]:
    """All test sets by name, in a language; `labels` take the place of the language's own for ImageNet."""
    found = [*mscoco_it(), xtd10(language.code), crossmodal(language.code), flickr()]
    if language.imagenet:
        found.append(imagenet(language.imagenet, labels))
    return {test_set.name: test_set for test_set in found}
