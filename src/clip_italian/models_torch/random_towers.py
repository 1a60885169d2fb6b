"""Towers with random weights, for trying a recipe's speed, memory and first steps without any download.

The paper's two towers are known by name; of other names the configuration is read, but no weights.
"""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    BertConfig,
    BertTokenizer,
    CLIPVisionConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian import languages
from clip_italian.models_torch.single_towers import explained, is_joint

# ViT-B/32 as OpenAI published it: these are also the configuration class's defaults, written out so that they stay.
_VIT_B_32 = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
# BERT-base. The XXL models have rows for 32,102 pieces, 1,000 more than their vocabulary (their model card).
_BERT_BASE_XXL = {
    "vocab_size": 32102, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
_VISION = {"openai/clip-vit-base-patch32": CLIPVisionConfig(**_VIT_B_32)}
_TEXT = {f"dbmdz/bert-base-italian-xxl-{casing}": BertConfig(**_BERT_BASE_XXL) for casing in ("cased", "uncased")}


def random_vision(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A random vision tower shaped like `name`, with its preprocessing; draws from torch's generator."""
    if name in _VISION:
        return AutoModel.from_config(_VISION[name]).eval(), CLIPImageProcessorPil()
    with explained(name):
        config = AutoConfig.from_pretrained(name)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        return AutoModel.from_config(config.vision_config if is_joint(config) else config).eval(), processor


def random_text(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random text tower shaped like `name`, with its tokenizer; draws from torch's generator.

    The paper's towers get a word-piece tokenizer made here, whose texts are longer in tokens than the real one's.
    """
    if name in _TEXT:
        return AutoModel.from_config(_TEXT[name]).eval(), word_pieces(cased=name.endswith("-cased"))
    with explained(name):
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        return AutoModel.from_config(config.text_config if is_joint(config) else config).eval(), tokenizer


def word_pieces(cased: bool) -> BertTokenizer:
    """A small word-piece tokenizer: words of class names in the default language, and single characters."""
    characters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x180)) if chr(code).isprintable()]
    names = (one.label for one in languages.get(languages.DEFAULT).imagenet)
    words = {word for name in names for word in name.split() if word.isalpha() and len(word) > 1}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *characters, *(f"##{character}" for character in characters), *sorted(words)]
    return BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, do_lower_case=not cased, strip_accents=False
    )
