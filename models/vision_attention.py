"""Attention of a vision tower over all windows of all images in few calls.

Where a patch sees only its own image, or its own window of it, transformers runs window after window, and reads their
lengths from the device in every layer, unless flash attention is asked for. Here the
windows of one length are one batch, or all of them one call of PyTorch's variable-length attention where a GPU has it.
What depends on the images' sizes alone is computed on the CPU, once for a pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
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

    def undo() -> None:
        tower.config._attn_implementation = "sdpa"
        handle.remove()

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

        missing = {"scale", "window_size", "enable_gqa"} - set(signature(varlen_attn).parameters)
        if missing:
            raise TypeError(f"this PyTorch's has no {', '.join(sorted(missing))}")

        def kernel(*parts: object, **options: object) -> torch.Tensor:
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
    with torch.inference_mode(False), torch.enable_grad():
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
    return all(bool((one - other).float().norm() < 0.05 * other.float().norm()) for one, other in pairs)


AttentionInterface.register(NAME, attend)
