"""An XLM-RoBERTa whose sentence vector is the masked mean of its last hidden states.

open_clip's XLM-R towers pool this way, and so do most sentence encoders of that family; the stock
class would add a pooler with random weights instead.
"""

from typing import Any

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from clip_italian.model.mean_pooled_bert import masked_mean


class MeanPooledXLMRobertaConfig(XLMRobertaConfig):
    """Configuration of `MeanPooledXLMRobertaModel`: the same fields as XLM-RoBERTa's."""

    model_type = "mean_pooled_xlm_roberta"


class MeanPooledXLMRobertaModel(XLMRobertaModel):
    """XLM-RoBERTa without a pooling layer; `pooler_output` (batch, hidden) is the masked mean."""

    config_class = MeanPooledXLMRobertaConfig

    def __init__(self, config: MeanPooledXLMRobertaConfig, add_pooling_layer: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer)

    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions | tuple[Any, ...]:
        """Encode token ids (batch, length); positions where the mask is 0 do not count."""
        outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        outputs.pooler_output = masked_mean(outputs.last_hidden_state, attention_mask)
        return outputs.to_tuple() if return_dict is False else outputs
