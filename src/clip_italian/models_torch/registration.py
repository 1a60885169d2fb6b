"""Registers model classes with `transformers`: our own, and towers that it only loads as part of a joint model."""

from transformers import (
    AltCLIPVisionConfig,
    AltCLIPVisionModel,
    AutoConfig,
    AutoModel,
    MetaClip2TextConfig,
    MetaClip2TextModel,
    MetaClip2VisionConfig,
    MetaClip2VisionModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from clip_italian.models_torch.detailed_efficientnet import DetailedEfficientNetConfig, DetailedEfficientNetModel
from clip_italian.models_torch.landmark_efficientnet import LandmarkEfficientNetConfig, LandmarkEfficientNetModel
from clip_italian.models_torch.mean_pooled import (
    MeanPooledBertConfig,
    MeanPooledBertModel,
    MeanPooledXLMRobertaConfig,
    MeanPooledXLMRobertaModel,
)
from clip_italian.models_torch.towers import MlpDualEncoderConfig, MlpDualEncoderModel

_OWN = (
    (MeanPooledBertConfig, MeanPooledBertModel),
    (MeanPooledXLMRobertaConfig, MeanPooledXLMRobertaModel),
    (DetailedEfficientNetConfig, DetailedEfficientNetModel),
    (LandmarkEfficientNetConfig, LandmarkEfficientNetModel),
    (MlpDualEncoderConfig, MlpDualEncoderModel),
)
# Model types that transformers does not know without this package.
OWN_TYPES = frozenset(config.model_type for config, _ in _OWN)
_SINGLE_TOWERS = (
    (AltCLIPVisionConfig, AltCLIPVisionModel),
    (MetaClip2VisionConfig, MetaClip2VisionModel),
    (MetaClip2TextConfig, MetaClip2TextModel),
    (SiglipTextConfig, SiglipTextModel),
)


def register() -> None:
    """Register all classes; repeated calls have no effect."""
    for config, _ in _OWN:
        AutoConfig.register(config.model_type, config, exist_ok=True)
    for config, model in _OWN + _SINGLE_TOWERS:
        AutoModel.register(config, model, exist_ok=True)
