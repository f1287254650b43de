"""A base model in 4 bits under LoRA: bitsandbytes' NF4, its scales in 8 bits (arXiv 2305.14314).

Quantised are the projections of the language model alone, while the full weights are read. The vision tower, where a
chart is read, keeps its precision, and so do embeddings, head, norms and adapters. A 7B model takes 7 GB so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from models.families import family_of

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    Factor: TypeAlias = "torch.Tensor | Callable[[torch.Tensor], torch.Tensor]"

LEAST = (0, 50)  # version of bitsandbytes
BLOCK = 64  # weights of a row that share a scale
HEAD = r"(.*\.)?lm_head"
# bytes of a weight: half of one, of each block a scale of 1, of 256 scales one of 4
WEIGHT_BYTES = 1 / 2 + (1 + 4 / 256) / BLOCK


def check_package() -> None:
    """ValueError where bitsandbytes is not installed, or an old one is."""
    try:
        found = version("bitsandbytes") if find_spec("bitsandbytes") else None
    except PackageNotFoundError:
        found = None
    if found is None or tuple(map(int, re.findall(r"\d+", found)[:2])) < LEAST:
        least, state = ".".join(map(str, LEAST)), "which is not installed" if found is None else f"this is {found}"
        raise ValueError(
            f"--base-4bit needs the package bitsandbytes, {least} or later, {state}: pip install "
            f"'bitsandbytes>={least}'"
        )


def check_shape(name: str, config: PreTrainedConfig) -> None:
    """ValueError for a model whose rows are no whole blocks: of those, bitsandbytes' CPU kernels make other numbers."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
    uneven = [size for size in (text.hidden_size, text.intermediate_size, width) if size % BLOCK]
    if uneven:
        raise ValueError(f"--base-4bit: the layers of {name} are {uneven[0]} wide, which is no multiple of {BLOCK}")


def check_not_quantised(name: str, config: PreTrainedConfig) -> None:
    """ValueError for a model whose weights are stored quantised: they can be neither trained nor merged into."""
    stored = getattr(config, "quantization_config", None)
    if stored:
        kind = stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", "")
        raise ValueError(
            f"model {name}: its weights are stored quantised ({getattr(kind, 'value', kind)}); name the model it was "
            "made from, and give --base-4bit to load that in 4 bits"
        )


def loading(config: PreTrainedConfig, dtype: torch.dtype | str, device: str | None) -> dict[str, Any]:
    """What `from_pretrained` is told. `device`: where the model is to be, by default the process's GPU or the CPU."""
    import torch
    from transformers import BitsAndBytesConfig

    if device is None:
        device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=config.dtype if dtype == "auto" else dtype,
        llm_int8_skip_modules=[family_of(config).vision_modules, HEAD],
    )
    return {"quantization_config": quantised, "device_map": {"": device}}


def same_arithmetic(model: PreTrainedModel) -> PreTrainedModel:
    """`model`, whose layers compute alike in training and sampling.

    Where a CPU has bfloat16 products, bitsandbytes takes those for sampling, whatever the type it was told.
    """
    for module in model.modules():
        if is_quantised(module):
            module.support_avx512bf16_for_cpu = False
    return model


def is_quantised(module: nn.Module) -> bool:
    """Whether it is a 4-bit layer of bitsandbytes itself, not an adapter around one."""
    return getattr(module._parameters.get("weight"), "quant_state", None) is not None


def full_weight(layer: nn.Linear) -> torch.Tensor:
    """(out, in) the weight in the type of the arithmetic: the layer's own, or a copy of what 4 bits stand for."""
    if not is_quantised(layer):
        return layer.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)


def factor(layer: nn.Linear) -> Factor:
    """What inputs are multiplied with: the weight as (in, out), or a function of the inputs for one in 4 bits."""
    if not is_quantised(layer):
        return layer.weight.t()
    from bitsandbytes import matmul_4bit

    return partial(matmul_4bit, B=layer.weight, quant_state=layer.weight.quant_state)


def keep_adapters(model: PreTrainedModel, given: dict[str, torch.Tensor]) -> None:
    """Trained weights in float32 again, which TRL has rounded to bfloat16; those of `given` as they were before.

    In bfloat16 most updates of a small learning rate are rounded away, and a T4 cannot scale its gradients.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = given.get(name, parameter.data.float())


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name -> values of the weights that are trained."""
    return {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
