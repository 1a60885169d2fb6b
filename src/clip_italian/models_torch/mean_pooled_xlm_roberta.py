"""An XLM-RoBERTa whose sentence vector is the masked mean of its last hidden states.

open_clip's XLM-R towers pool this way, and so do most sentence encoders of that family; the stock
class would add a pooler with random weights instead.
"""

from transformers import XLMRobertaConfig, XLMRobertaModel

from clip_italian.models_torch.mean_pooled_bert import MeanPooling


class MeanPooledXLMRobertaConfig(XLMRobertaConfig):
    """Configuration of `MeanPooledXLMRobertaModel`: the same fields as XLM-RoBERTa's."""

    model_type = "mean_pooled_xlm_roberta"


class MeanPooledXLMRobertaModel(MeanPooling, XLMRobertaModel):
    """XLM-RoBERTa without a pooling layer; `pooler_output` (batch, hidden) is the masked mean."""

    config_class = MeanPooledXLMRobertaConfig
