"""Rotary positions and gated activations of an update's layers, forward and backward, in a Triton kernel each.

transformers' own take some ten kernels a layer for the former, five for the latter, and keep more in between.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

from sampling.step_kernels import run_here, tl, triton

logger = logging.getLogger(__name__)
_BLOCK = 1024  # gates that a program multiplies


@lru_cache(maxsize=8)
def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels run; on a GPU where they do not, that is said, and why."""
    why = run_here(_try, device, dtype)
    if why:
        logger.warning("an update launches more kernels than it could, more slowly: %s", why)
    return why is None


def _try(dtype: torch.dtype, device: torch.device) -> None:
    """Each kernel once."""
    part = torch.zeros(1, 1, 1, 16, dtype=dtype, device=device)
    for back in (False, True):
        _turned(part, part[0], part[0], back=back)
    _gate_forward[(1,)](part, part, part, 16, block=_BLOCK)
    _gate_backward[(1,)](part, part, part, part, part, 16, block=_BLOCK)


def may_run() -> bool:
    """Whether the kernels run on this process's GPU; of a GPU that is not here it is taken for granted."""
    return not torch.cuda.is_available() or usable(torch.device("cuda", torch.cuda.current_device()), torch.float32)


class Gated(torch.autograd.Function):
    """silu(gate) * up, computed in float32; the backward pass keeps no more than the two."""

    @staticmethod
    def forward(ctx, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        _gate_forward[(triton.cdiv(gate.numel(), _BLOCK),)](gate, up, out, gate.numel(), block=_BLOCK)
        return out

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        grid = (triton.cdiv(gate.numel(), _BLOCK),)
        _gate_backward[grid](gradient.contiguous(), gate, up, of_gate, of_up, gate.numel(), block=_BLOCK)
        return of_gate, of_up


class Turned(torch.autograd.Function):
    """Queries or keys (B, H, T, D) with their rotary positions, whose cosines and sines are (B or 1, T, D)."""

    @staticmethod
    def forward(ctx, part: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(part, cosine, sine, back=False)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _turned(gradient, *ctx.saved_tensors, back=True), None, None


def rotary(
    query: torch.Tensor, key: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers' `apply_rotary_pos_emb` gives."""
    return Turned.apply(query, cosine, sine), Turned.apply(key, cosine, sine)


def _turned(part: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, *, back: bool) -> torch.Tensor:
    rows, heads, tokens, width = part.shape
    part = part if part.stride(3) == 1 else part.contiguous()
    cosine, sine = (angle.contiguous().expand(rows, -1, -1) for angle in (cosine, sine))
    out = torch.empty(rows, tokens, heads, width, dtype=part.dtype, device=part.device)  # as attention wants it
    _turn[(tokens, rows)](
        part, cosine, sine, out, *(part.stride(axis) for axis in (0, 2, 1)), cosine.stride(0), sine.stride(0), heads,
        back=back, width=width, most=triton.next_power_of_2(heads), block=triton.next_power_of_2(width),
    )  # fmt: skip
    return out.transpose(1, 2)


if triton is not None:

    @triton.jit
    def _turn(
        part, cosine, sine, out, part_row, part_token, part_head, cosine_row, sine_row, heads,
        back: tl.constexpr, width: tl.constexpr, most: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        """A program for each token of each row. A gradient goes through the transposed rotation.

        An argument named after a tensor and one of its axes is the stride of that axis.
        """
        token, row = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
        half: tl.constexpr = width // 2
        head = tl.arange(0, most)[:, None]
        at = tl.arange(0, block)[None, :]
        across = at < width
        inside = (head < heads) & across
        other = (at + half) % width
        source = part + row * part_row + token * part_token + head * part_head
        here = tl.load(source + at, mask=inside).to(tl.float32)
        there = tl.load(source + other, mask=inside).to(tl.float32)
        cos = tl.load(cosine + row * cosine_row + token * width + at, mask=across).to(tl.float32)
        sines = sine + row * sine_row + token * width
        if back:
            part_of_other = tl.where(at < half, there, -there) * tl.load(sines + other, mask=across).to(tl.float32)
        else:
            part_of_other = tl.where(at < half, -there, there) * tl.load(sines + at, mask=across).to(tl.float32)
        place = out + ((row * tl.num_programs(0) + token) * heads + head) * width
        tl.store(place + at, here * cos + part_of_other, mask=inside)

    @triton.jit
    def _gate_forward(gate, up, out, numbers, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = at < numbers
        wide = tl.load(gate + at, mask=inside).to(tl.float32)
        tl.store(out + at, wide * tl.sigmoid(wide) * tl.load(up + at, mask=inside).to(tl.float32), mask=inside)

    @triton.jit
    def _gate_backward(gradient, gate, up, of_gate, of_up, numbers, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = at < numbers
        wide = tl.load(gate + at, mask=inside).to(tl.float32)
        slope = tl.load(gradient + at, mask=inside).to(tl.float32)
        share = tl.sigmoid(wide)
        by_gate = slope * tl.load(up + at, mask=inside).to(tl.float32) * share * (1 + wide * (1 - share))
        tl.store(of_gate + at, by_gate, mask=inside)
        tl.store(of_up + at, slope * wide * share, mask=inside)
