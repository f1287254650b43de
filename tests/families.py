"""Tiny random models of each family, with the family's own configuration, model and processor classes.

The tokenizer is the embedded one, so a vocabulary is 500 tokens and a model is made in milliseconds.
"""

from __future__ import annotations

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from models.registry import PLAIN_TEMPLATE, TINY_FOLDER

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl")
TEXT_FAMILIES = ("qwen2", "qwen3", "llama")
_CAUSAL = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def family_processor(family: str) -> ProcessorMixin:
    """The family's processor over the embedded tokenizer; Qwen3-VL cuts patches of 16 pixels, the others of 14."""
    if family == "internvl":
        return internvl_processor()
    tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left")
    template = (TINY_FOLDER / "chat_template.jinja").read_text()
    processor_class, video_class, patch = {
        "qwen2_vl": (Qwen2VLProcessor, Qwen2VLVideoProcessor, 14),
        "qwen2_5_vl": (Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, 14),
        "qwen3_vl": (Qwen3VLProcessor, Qwen3VLVideoProcessor, 16),
    }[family]
    return processor_class(
        image_processor=Qwen2VLImageProcessor(patch_size=patch, merge_size=2, temporal_patch_size=2),
        tokenizer=tokenizer,
        video_processor=video_class(patch_size=patch, merge_size=2, temporal_patch_size=2),
        chat_template=template,
    )


def internvl_processor() -> InternVLProcessor:
    """Tiles of 56 x 56 pixels, 16 patches and 4 tokens each."""
    words = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
    words = {f"{name}_token": word for name, word in words.items()}
    template = (TINY_FOLDER / "chat_template.jinja").read_text()
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size={"height": 56, "width": 56}, max_patches=4),
        tokenizer=AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left", extra_special_tokens=words),
        video_processor=InternVLVideoProcessor(size={"height": 56, "width": 56}),
        image_seq_length=4,
        chat_template=template.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n"),
    )


def internvl_config(tokenizer, text: dict, layers: int, hidden: int) -> InternVLConfig:
    vision = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 2 * hidden}
    vision |= {"num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    text |= {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    image = {"image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), "image_seq_length": 4}
    return InternVLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **image)


def text_settings(tokenizer, layers: int, hidden: int) -> dict:
    """What configurations of text layers have in common."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 8,
        "num_key_value_heads": hidden // 16,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def family_config(family: str, tokenizer, *, layers: int = 2, hidden: int = 32):
    """A configuration of the family: head dimension 8, `layers` layers in text and vision."""
    text = text_settings(tokenizer, layers, hidden)
    if family == "internvl":
        return internvl_config(tokenizer, text, layers, hidden)
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{marker}|>")
        for name, marker in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    if family == "qwen2_vl":
        vision = {"depth": layers, "embed_dim": hidden, "hidden_size": hidden, "num_heads": 2, "mlp_ratio": 2}
        return Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    vision = {
        "depth": layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_heads": 2,
        "out_hidden_size": hidden,
    }
    if family == "qwen2_5_vl":
        vision |= {"fullatt_block_indexes": [layers - 1], "window_size": 56}
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    assert family == "qwen3_vl", family
    text["head_dim"] = 8
    text["rope_parameters"]["mrope_interleaved"] = True
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


def make_family(
    family: str, *, layers: int = 2, hidden: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A random model of the family and its processor. Weights are large enough for the logits to differ clearly."""
    processor = family_processor(family)
    torch.manual_seed(seed)
    model_class = {
        "qwen2_vl": Qwen2VLForConditionalGeneration,
        "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
        "qwen3_vl": Qwen3VLForConditionalGeneration,
        "internvl": InternVLForConditionalGeneration,
    }[family]
    model = model_class(family_config(family, processor.tokenizer, layers=layers, hidden=hidden))
    return spread(model).to(dtype).eval(), processor


def spread(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.1)
    return model


def text_tokenizer(family: str) -> PreTrainedTokenizerBase:
    """The embedded tokenizer; Llama's begins every text with a token of its own, and has no template here."""
    if family != "llama":
        return AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left")
    begin = "<|begin_of_text|>"
    tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER, padding_side="left", bos_token=begin)
    ids = [(begin, tokenizer.convert_tokens_to_ids(begin))]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin} $A", special_tokens=ids)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def make_text_family(
    family: str, *, layers: int = 2, hidden: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random causal language model and its tokenizer, as `make_family`; Llama's rope is that of Llama 3."""
    tokenizer = text_tokenizer(family)
    config_class, model_class = _CAUSAL[family]
    settings = text_settings(tokenizer, layers, hidden)
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    if family == "llama":
        rope |= {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope |= {"original_max_position_embeddings": 128}
    if family == "qwen3":
        settings["head_dim"] = 8
    torch.manual_seed(seed)
    model = model_class(config_class(**{**settings, "rope_parameters": rope}))
    return spread(model).to(dtype).eval(), tokenizer
