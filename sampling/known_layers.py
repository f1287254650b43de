"""The modules of a model's text layers: which there are, and whether `decoder_layer` can compute them."""

import re
from collections.abc import Iterator

import torch
from torch import nn

from models.families import FAMILIES
from models.four_bit import is_quantised
from sampling.shared_prefix import supports

_WITHOUT_BIAS = ("gate_proj", "up_proj", "down_proj")  # in every published model of the known families
_ADAPTER = re.compile(r"\blora_[AB]\.")  # in the name of a parameter
_CHANGING_ROPE = {"dynamic", "longrope"}  # frequencies that depend on the length


def text_of(model: nn.Module) -> nn.Module:
    """The part of a model that holds its text layers: inside a model that reads images one part of several."""
    return getattr(model.model, "language_model", model.model)


def knows(model: nn.Module) -> bool:
    """Whether the model is of a family whose layers `decoder_layer` computes."""
    family = FAMILIES.get(getattr(getattr(model, "config", None), "model_type", ""))
    layers = getattr(text_of(model), "layers", None) if family and hasattr(model, "model") else None
    if family is None or layers is None:
        return False
    return {type(layer).__name__ for layer in layers} <= family.decoder_layers and supports(model)


def refusal(model: nn.Module) -> str | None:
    """Why `decoder_layer` cannot stand in for the model's own layers; None when it can."""
    if not knows(model):
        return f"{type(model).__name__} is not a family it knows"
    text = text_of(model)
    config = model.config.get_text_config()
    if config.hidden_act != "silu" or config.rope_parameters["rope_type"] in _CHANGING_ROPE:
        return "its activation or rotary positions are unusual"
    dtype, device = text.norm.weight.dtype, text.norm.weight.device
    used = [*text.layers, text.norm, text.embed_tokens, model.get_output_embeddings()]
    quantised = {part.weight for module in used for part in module.modules() if is_quantised(part)}
    named = (pair for module in used for pair in module.named_parameters())
    parameters = {p for name, p in named if not _ADAPTER.search(name)} - quantised
    if any(getattr(p, "ds_shape", p.shape) != p.shape for p in parameters):  # ZeRO-3, and not gathered just now
        return "its weights are shared out between processes"
    if any((p.dtype, p.device) != (dtype, device) for p in parameters) or not dtype.is_floating_point:
        return "its weights are of several types or on several devices"
    if torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) != dtype:
        return f"its weights are in {dtype}, its arithmetic is not"
    for module in text.layers.modules():
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return "something is hooked into its layers"
    for layer in text.layers:
        for name, module in projections(layer):
            if name in _WITHOUT_BIAS and base_layer(module).bias is not None:
                return f"{name} has a bias"
            if not is_plain(module):
                return f"{name} is not a plain linear layer or has an adapter of another kind than plain LoRA"
    return None


def projections(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        yield name, getattr(layer.self_attn, name)
    for name in ("gate_proj", "up_proj", "down_proj"):
        yield name, getattr(layer.mlp, name)


def is_plain(module: nn.Module) -> bool:
    base = base_layer(module)
    if type(base) is not nn.Linear and not is_quantised(base):
        return False
    if base is module:
        return True
    from peft.tuners import lora

    return type(module) is (lora.Linear4bit if is_quantised(base) else lora.Linear) and not (
        module.lora_variant or module.fan_in_fan_out or any(module.lora_bias.values())
    )


def base_layer(module: nn.Module) -> nn.Linear:
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def acting_adapters(module: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    """(A (r, in), B (out, r), scaling) of the adapters that act and are not part of the weight already."""
    if not hasattr(module, "lora_A") or module.disable_adapters or module.merged:
        return []
    names = [name for name in module.active_adapters if name in module.lora_A]
    return [(module.lora_A[n].weight, module.lora_B[n].weight, module.scaling[n]) for n in names]
