"""A vision tower on a GPU: attention over all windows of all images in few calls, and products of even widths.

Where a patch sees only its own image, or its own window of it, transformers runs window after window, and reads their
lengths from the device in every layer, unless flash attention is asked for. Here the
windows of one length are one batch, or all of them one call of PyTorch's variable-length attention where a GPU has it.
What depends on the images' sizes alone is computed on the CPU, once for a pass.

The MLPs of Qwen2.5-VL's tower are 3,420 wide, and half-precision products are fast where rows are multiples of 16
bytes: with four columns of zeros more, a prefill of eight images takes an H200 155 ms instead of 176.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from inspect import signature

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface

from common.terminal import first_line
from models.families import family_of_model
from models.windows import Windows

logger = logging.getLogger(__name__)
NAME = "flash_windows"  # transformers hands whole sequences, with their boundaries, to names that hold "flash"


def enable(model: torch.nn.Module) -> Callable[[], None]:
    """Makes the vision tower of a model batch its windows, and returns what undoes it.

    A model without a tower, whose tower has no windows, or asks for another attention than `sdpa`, stays as it is.
    """
    family = family_of_model(model)
    if family is None or family.tower is None or family.tower_inputs is None:
        return lambda: None
    tower = getattr(model.model, family.tower)
    if tower.config._attn_implementation != "sdpa":
        return lambda: None
    tower.config._attn_implementation = NAME
    handle = tower.register_forward_pre_hook(family.tower_inputs, with_kwargs=True)
    uneven = [mlp for mlp in tower.modules() if _is_uneven(mlp)]
    for mlp in uneven:
        mlp.forward = partial(_widened, mlp)

    def undo() -> None:
        tower.config._attn_implementation = "sdpa"
        handle.remove()
        for mlp in uneven:
            del mlp.forward

    return undo


@contextmanager
def windows_together(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the vision tower batches its windows; the model is left as it was."""
    undo = enable(model)
    try:
        yield
    finally:
        undo()


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    windows: dict[int, Windows],
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention within every window -> (1, T, H, D)."""
    query, key, value = in_autocast(query, key, value)
    parting = windows[len(cu_seq_lens_q)]
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]  # (T, H, D)
    kernel = variable_length(query.device, query.dtype, query.shape[-1])
    if kernel is not None:
        ends, longest = parting.boundaries, parting.longest
        return kernel(*(part.contiguous() for part in parts), ends, ends, longest, longest, scale=scaling)[None], None
    if parting.order is not None:
        parts = [part[parting.order] for part in parts]
    outputs, start = [], 0
    for count, length in parting.batches:
        rows = slice(start, start + count * length)
        batch = (part[rows].unflatten(0, (count, length)).transpose(1, 2) for part in parts)  # (n, H, L, D)
        found = torch.nn.functional.scaled_dot_product_attention(*batch, dropout_p=dropout, scale=scaling)
        outputs.append(found.transpose(1, 2).flatten(0, 1))
        start = rows.stop
    together = outputs[0] if parting.back is None else torch.cat(outputs)[parting.back]
    return together[None], None


_MULTIPLE = 8  # numbers of 2 bytes in 16


def _is_uneven(mlp: torch.nn.Module) -> bool:
    """A gated MLP of plain layers, as wide as half-precision products are slow for."""
    layers = [getattr(mlp, f"{name}_proj", None) for name in ("gate", "up", "down")]
    return all(type(one) is torch.nn.Linear for one in layers) and mlp.gate_proj.out_features % _MULTIPLE != 0


def _widened(mlp: torch.nn.Module, hidden_state: torch.Tensor) -> torch.Tensor:
    """The MLP with zeros in columns more, on a GPU in half precision; as it is elsewhere, and for sharded weights."""
    low = in_autocast(hidden_state)[0].dtype in (torch.float16, torch.bfloat16)
    if not (hidden_state.is_cuda and low and _is_whole(mlp)):
        return type(mlp).forward(mlp, hidden_state)
    return widened(mlp, hidden_state)


def _is_whole(mlp: torch.nn.Module) -> bool:
    """Whether its weights are plain tensors here. DeepSpeed gathers a weight that is read as an attribute."""
    weights = [getattr(mlp, f"{name}_proj")._parameters.get("weight") for name in ("gate", "up", "down")]
    return all(type(one) is torch.nn.Parameter and not hasattr(one, "ds_id") and one.dim() == 2 for one in weights)


def widened(mlp: torch.nn.Module, hidden_state: torch.Tensor) -> torch.Tensor:
    """What a gated MLP gives, computed a few columns wider."""
    gate, up, down = mlp.gate_proj, mlp.up_proj, mlp.down_proj
    pad, more = torch.nn.functional.pad, -gate.out_features % _MULTIPLE
    inner = [
        torch.nn.functional.linear(
            hidden_state,
            pad(layer.weight, (0, 0, 0, more)),
            None if layer.bias is None else pad(layer.bias, (0, more)),
        )
        for layer in (gate, up)
    ]
    return torch.nn.functional.linear(mlp.act_fn(inner[0]) * inner[1], pad(down.weight, (0, more)), down.bias)


def in_autocast(*parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Under autocast, in its type: attention kernels are not on its list."""
    kind = parts[0].device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return parts
    return tuple(part.to(torch.get_autocast_dtype(kind)) for part in parts)


@lru_cache(maxsize=16)
def variable_length(device: torch.device, dtype: torch.dtype, width: int) -> Callable | None:
    """PyTorch's attention over packed sequences, or None where it is not there or not right.

    It needs a GPU of compute capability 8 and half precision. The flash kernel alone is asked for: it takes keys that
    outnumber queries, and needs no plan for every new size. Tried once on a few numbers, forward and backward, since
    releases differ in what they take.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type != "cuda" or not half or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn

        known = set(signature(varlen_attn).parameters)
        if missing := {"scale", "window_size"} - known:
            raise TypeError(f"this PyTorch's has no {', '.join(sorted(missing))}")

        def kernel(*parts: object, **options: object) -> torch.Tensor:
            if "enable_gqa" not in known:  # of PyTorch 2.11: it takes grouped heads unasked
                options.pop("enable_gqa", None)
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return varlen_attn(*parts, **options)

        if not _agrees(kernel, device, dtype, width):
            raise RuntimeError("it does not give what plain attention gives")
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        reason = first_line(error)
        logger.warning("variable-length attention does not work here (%s); sequences are batched by length", reason)
        return None
    return kernel


def _agrees(kernel: Callable, device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether the kernel gives SDPA's output and gradients for two causal sequences of grouped heads, the second of
    which has three keys more than queries."""
    queries, keys = ((0, 5), (5, 13)), ((0, 5), (5, 16))
    ends = [
        torch.tensor([0, *(stop for _, stop in part)], dtype=torch.int32, device=device) for part in (queries, keys)
    ]
    random, scale = torch.Generator(device).manual_seed(0), width**-0.5
    seen = [torch.ones(n, n + more, dtype=torch.bool, device=device).tril(more) for n, more in ((5, 0), (8, 3))]
    # asked for inside a checkpointed layer, it must not be counted among the tensors that the layer keeps
    own_hooks = torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept)
    with torch.inference_mode(False), torch.enable_grad(), own_hooks:
        parts = [
            torch.randn(tokens, heads, width, generator=random, device=device, dtype=dtype).requires_grad_()
            for tokens, heads in ((13, 4), (16, 2), (16, 2))
        ]
        packed = kernel(
            *parts, *(part.to(device) for part in ends), 8, 11, scale=scale, window_size=(-1, 0), enable_gqa=True
        )
        apart = []
        for rows, of_keys, mask in zip(queries, keys, seen, strict=True):
            query, *others = (
                part[slice(*which)].transpose(0, 1)[None]
                for part, which in zip(parts, (rows, of_keys, of_keys), strict=True)
            )
            key, value = (part.repeat_interleave(2, 1) for part in others)
            found = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
            apart.append(found[0].transpose(0, 1))
        apart = torch.cat(apart)
        gradients = (torch.autograd.grad(out.sum(), parts) for out in (packed, apart))
        pairs = [(packed, apart), *zip(*gradients, strict=True)]
    with torch.no_grad():
        return all(bool((one - other).float().norm() < 0.05 * other.float().norm()) for one, other in pairs)


AttentionInterface.register(NAME, attend)
