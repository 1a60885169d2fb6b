"""Published test sets: what to download, where to put it, and readers that make pairs."""

from collections.abc import Sequence

from clip_italian.evaluate.sets.base import EvaluationSet
from clip_italian.evaluate.sets.coco import mscoco_it, xtd10
from clip_italian.evaluate.sets.crossmodal import crossmodal
from clip_italian.evaluate.sets.flickr import flickr
from clip_italian.evaluate.sets.imagenet import imagenet
from clip_italian.evaluate.sets.imagenet import legacy_labels as legacy_labels
from clip_italian.languages import Language


def known(language: Language, labels: Sequence[str] | None = None) -> dict[str, EvaluationSet]:
    """All test sets by name, in a language; `labels` replace the language's own for ImageNet."""
    sets = [*mscoco_it(), xtd10(language.code), crossmodal(language.code), flickr()]
    if language.imagenet:
        sets.append(imagenet(language.imagenet, labels))
    return {test_set.name: test_set for test_set in sets}
