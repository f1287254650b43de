"""One forward pass over a prompt and its image: all that its completions need to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import DynamicCache


@dataclass(frozen=True)
class Prompt:
    layers: list[tuple[torch.Tensor, torch.Tensor]]  # keys and values, each (1, H, P, D)
    logits: torch.Tensor  # (1, V), at the prompt's last token
    next_position: int  # rope position of the first completion token, equal on all axes
    axes: int  # axes of the rope positions: 3 (time, height, width) or 1


def prefill(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> Prompt:
    """`inputs` is the processor's output for one prompt: a batch of one without padding."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    inputs = dict(inputs)
    length = inputs["input_ids"].shape[1]
    mask = inputs.pop("attention_mask", None)
    assert inputs["input_ids"].shape[0] == 1, "one prompt at a time"
    assert mask is None or bool(mask.all()), "a single prompt needs no padding"
    if "image_grid_thw" in inputs and "mm_token_type_ids" not in inputs:
        raise ValueError("the prompt has an image but no mm_token_type_ids: its rope positions would be silently wrong")

    inner = model.model
    saved = getattr(inner, "rope_deltas", None)
    multimodal = hasattr(inner, "rope_deltas")
    if multimodal:
        inner.rope_deltas = None  # hidden state of the previous prompt; a text-only prompt would leave it standing
    try:
        cache = DynamicCache(config=model.config.get_text_config())
        out = model(**inputs, cache=cache, use_cache=True, logits_to_keep=1)
        delta = getattr(inner, "rope_deltas", None)
        delta = 0 if delta is None else int(delta)
    finally:
        if multimodal:
            inner.rope_deltas = saved
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return Prompt(layers, out.logits[:, -1], length + delta, 3 if multimodal else 1)
