"""The class-name bridge: a model that nobody trained on pictures with captions.

A picture is the sum of the text embeddings of ImageNet's class names, each weighted by the probability that the vision
tower's classifier gives it; a text is its own embedding. What a trained model adds is measured against this.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.landmark_efficientnet import add_head
from clip_italian.train.start import embed, whitening

TEMPERATURE = 2.0  # of the classifier's softmax; what others give stands in docs/LOG.md


@torch.no_grad()
def bridge(encoder: DualEncoder, classifier: tuple[torch.Tensor, torch.Tensor], names: Sequence[str]) -> DualEncoder:
    """Turn `encoder`, whose vision tower is an EfficientNet without head, into a bridge; it is changed in place.

    `classifier` is weight (classes, features) and bias (classes,), `names` are what the classes are called. Names and
    texts are whitened by the spread of the names alone, since a sentence encoder gives any two texts much of the same.
    Embeddings are as long as the text tower's output.
    """
    model = encoder.model
    add_head(model, torch.zeros(0, classifier[0].shape[1]), classifier)
    model.vision_model.head.temperature.fill_(TEMPERATURE)
    found = embed(encoder, names)
    even = whitening(found)
    size = len(even)
    model.config.projection_dim = model.projection_dim = size
    model.visual_projection = nn.Linear(model.vision_embed_dim, size, bias=False)
    model.visual_projection.weight.zero_()  # nothing of what comes before the classes
    model.visual_projection.weight[:, -len(names) :] = normalize(found @ even.T, dim=1).T
    model.text_projection = nn.Linear(size, size, bias=False)
    model.text_projection.weight.copy_(even)
    return encoder
