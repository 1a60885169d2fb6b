"""Makes model classes known to `transformers`: our own, and single towers that it loads only inside joint models."""

from transformers import (
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
from clip_italian.models_torch.mean_pooled_bert import MeanPooledBertConfig, MeanPooledBertModel
from clip_italian.models_torch.mean_pooled_xlm_roberta import MeanPooledXLMRobertaConfig, MeanPooledXLMRobertaModel
from clip_italian.models_torch.projections import MlpDualEncoderConfig, MlpDualEncoderModel

_OWN = (
    (MeanPooledBertConfig, MeanPooledBertModel),
    (MeanPooledXLMRobertaConfig, MeanPooledXLMRobertaModel),
    (DetailedEfficientNetConfig, DetailedEfficientNetModel),
    (LandmarkEfficientNetConfig, LandmarkEfficientNetModel),
    (MlpDualEncoderConfig, MlpDualEncoderModel),
)
# What plain transformers does not know.
OWN_TYPES = frozenset(config.model_type for config, _ in _OWN)
_SINGLE_TOWERS = (
    (MetaClip2VisionConfig, MetaClip2VisionModel),
    (MetaClip2TextConfig, MetaClip2TextModel),
    (SiglipTextConfig, SiglipTextModel),
)


def register() -> None:
    """Register all of them; a second time changes nothing."""
    for config, _ in _OWN:
        AutoConfig.register(config.model_type, config, exist_ok=True)
    for config, model in _OWN + _SINGLE_TOWERS:
        AutoModel.register(config, model, exist_ok=True)
