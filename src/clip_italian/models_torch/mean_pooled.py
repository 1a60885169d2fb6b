"""BERT and XLM-RoBERTa with masked mean pooling: `pooler_output` is the mean of the last hidden states.

The E5 family, open_clip's XLM-R towers and most sentence encoders pool this way. The stock classes either lack
`pooler_output` or add a pooler with random weights; with these subclasses such a model works as a text tower of
`VisionTextDualEncoderModel`.
"""

from typing import Any

import torch
from transformers import BertConfig, BertModel, PreTrainedConfig, XLMRobertaConfig, XLMRobertaModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions


class MeanPooling:
    """Mixin, listed before a BERT-like class: no pooling layer, masked mean as `pooler_output` (batch, hidden)."""

    def __init__(self, config: PreTrainedConfig, add_pooling_layer: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer)  # type: ignore[call-arg]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions | tuple[Any, ...]:
        """Encode token ids (batch, length); masked positions are excluded from the mean."""
        stock: Any = super()
        outputs = stock.forward(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        outputs.pooler_output = masked_mean(outputs.last_hidden_state, attention_mask)
        return outputs.to_tuple() if return_dict is False else outputs


class MeanPooledBertConfig(BertConfig):
    """Configuration of `MeanPooledBertModel`, with the same fields as BERT's."""

    model_type = "mean_pooled_bert"


class MeanPooledBertModel(MeanPooling, BertModel):
    """BERT with masked mean pooling."""

    config_class = MeanPooledBertConfig


class MeanPooledXLMRobertaConfig(XLMRobertaConfig):
    """Configuration of `MeanPooledXLMRobertaModel`, with the same fields as XLM-RoBERTa's."""

    model_type = "mean_pooled_xlm_roberta"


class MeanPooledXLMRobertaModel(MeanPooling, XLMRobertaModel):
    """XLM-RoBERTa with masked mean pooling."""

    config_class = MeanPooledXLMRobertaConfig


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of `hidden` (batch, length, size) over the positions where `mask` (batch, length) is 1."""
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
