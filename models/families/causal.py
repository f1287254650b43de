"""Causal language models that read text alone: Qwen2 (Qwen2.5 and Qwen2.5-Math too), Qwen3, Llama 3.

A tokenizer stands where the other families have a processor, and rope positions count tokens.
"""

from __future__ import annotations

from models.families.family import Family

CAUSAL = Family(
    model_types=("qwen2", "qwen3", "llama"),
    processors=("PreTrainedTokenizerBase",),
    decoder_layers=frozenset({"Qwen2DecoderLayer", "Qwen3DecoderLayer", "LlamaDecoderLayer"}),
    auto_class="AutoModelForCausalLM",
)
