"""A BERT whose sentence vector is the masked mean of its last hidden states.

The E5 family pools this way. A stock `BertModel` either lacks `pooler_output` or adds a
pooler with random weights; this subclass computes it, so that the model takes the place of
any other text tower in `VisionTextDualEncoderModel`.
"""

from typing import Any

import torch
from transformers import BertConfig, BertModel, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions


class MeanPooling:
    """Comes before a BERT-like class: no pooling layer, and `pooler_output` (batch, hidden) is the masked mean."""

    def __init__(self, config: PreTrainedConfig, add_pooling_layer: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer)  # type: ignore[call-arg]

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions | tuple[Any, ...]:
        """Encode token ids (batch, length); positions where the mask is 0 do not count."""
        stock: Any = super()
        outputs = stock.forward(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        outputs.pooler_output = masked_mean(outputs.last_hidden_state, attention_mask)
        return outputs.to_tuple() if return_dict is False else outputs


class MeanPooledBertConfig(BertConfig):
    """Configuration of `MeanPooledBertModel`: the same fields as BERT's."""

    model_type = "mean_pooled_bert"


class MeanPooledBertModel(MeanPooling, BertModel):
    """BERT without a pooling layer; `pooler_output` (batch, hidden) is the masked mean."""

    config_class = MeanPooledBertConfig


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of `hidden` (batch, length, size) over the positions where `mask` (batch, length) is 1."""
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
