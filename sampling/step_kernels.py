"""What lies between the products and the attention of a decode step's layer, in three Triton kernels, on GPUs.

`decoder_layer.Plain` says the same in PyTorch's operations, which are some twenty kernels of 2 to 5 us each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from common.terminal import first_line

if TYPE_CHECKING:
    from sampling.decoder_layer import Places

try:
    import triton
    from triton import language as tl
except Exception as error:  # it comes with PyTorch for Linux alone, and fails to load in many ways
    triton, tl, _missing = None, None, error

logger = logging.getLogger(__name__)
_BLOCK = 1024  # gates that a program multiplies


def run_here(
    trial: Callable[[torch.dtype, torch.device], None], device: torch.device, dtype: torch.dtype
) -> str | None:
    """None where the kernels of `trial` run, else why they do not: "" where they were never meant to, off a GPU."""
    if device.type != "cuda" or dtype == torch.float64:
        return ""
    try:
        if triton is None:
            raise _missing
        if device.index not in (None, torch.cuda.current_device()):
            raise RuntimeError(f"the model is on {device}, which is not the process's own GPU")
        trial(dtype, device)  # Triton needs a C compiler, which not every machine has
    except Exception as error:  # in many ways, by driver and version
        return first_line(error)
    return None


@lru_cache(maxsize=8)
def usable(device: torch.device, dtype: torch.dtype) -> type[Kernels] | None:
    """The kernels, or None where they do not run; on a GPU that is said, and why."""
    why = run_here(_try, device, dtype)
    if why:
        logger.warning("decoding launches more kernels than it could, more slowly: %s", why)
    return Kernels if why is None else None


def _try(dtype: torch.dtype, device: torch.device) -> None:
    """Each kernel once, on a row of one head; whether they are right, `engine` asks of the whole step."""
    part, mass = torch.zeros(1, 3, 1, 16, dtype=dtype, device=device), torch.zeros(1, 4, 1, device=device)
    zero = torch.zeros(1, dtype=torch.long, device=device)
    sizes = {"splits": Kernels.splits, "width": 16, "block": 16}
    by_prompt = torch.zeros(1, Kernels.splits, 1, 16, dtype=dtype, device=device)
    _turn[(1, 3)](
        part, part, part, part.clone(), by_prompt, part.clone(), *[zero] * 3, 48, 48, 48, 16, 1, 1, 1, **sizes
    )
    _join[(1, 1)](
        by_prompt, mass, part, mass, part.clone(), zero, zero, *[64, 16, 16, 4, 1, 48, 16, 16, 4, 1, 1], **sizes
    )
    _gate[(1, 1)](part, 48, 24, block=_BLOCK)


class Kernels:
    """What `decoder_layer.Plain` does, in a kernel each."""

    # parts of a prompt's room (a multiple of 256, `sizes.prompt_room`) that attention takes apart: in one part, 64 rows
    # with two key-value heads and 640 places keep 16 of an H200's 132 processors busy for 30 us a layer; in four, 13 us
    splits = 4

    @staticmethod
    def turn(at: Places, own: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
        rows, heads, width = at.turned.shape
        kv = at.mixed.shape[1]
        assert at.by_prompt is not None
        _turn[(rows, heads)](
            at.fused, at.cosine, at.sine, at.turned, at.by_prompt, own, slot, at.of_row[0], at.of_row[2],
            at.fused.stride(0), at.cosine.stride(0), own.stride(0), own.stride(1),
            heads - 2 * kv, kv, at.by_prompt.shape[2],
            splits=Kernels.splits, width=width, block=triton.next_power_of_2(width),
        )  # fmt: skip
        return at.by_prompt

    @staticmethod
    def join(
        at: Places, prompt: tuple[torch.Tensor, torch.Tensor], completion: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        rows, kv, share, width = at.mixed.shape
        _join[(rows, kv * share)](
            *prompt, *completion, at.mixed, at.of_row[0], at.of_row[2],
            *prompt[0].stride()[:3], *prompt[1].stride()[:2], *completion[0].stride()[:3], *completion[1].stride()[:2],
            share, splits=Kernels.splits, width=width, block=triton.next_power_of_2(width),
        )  # fmt: skip

    @staticmethod
    def gate(at: Places) -> None:
        rows, both = at.wide.shape
        _gate[(rows, triton.cdiv(both // 2, _BLOCK))](at.wide, both, both // 2, block=_BLOCK)


if triton is not None:
    # an argument named after a tensor and one of its axes (`own_row`, `prompt_head`) is the stride of that axis

    @triton.jit
    def _turn(
        fused, cosine, sine, turned, by_prompt, own, slot, prompt_of_row, query_of_row,
        fused_row, cosine_row, own_row, own_head, queries, kv, most,
        splits: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        """A program for each row and head: rope on queries and keys, and everything to its place."""
        row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
        half: tl.constexpr = width // 2
        at = tl.arange(0, block)
        inside = at < width
        source = fused + row * fused_row + head * width
        part = tl.load(source + at, mask=inside).to(tl.float32)
        if head < queries + kv:
            other = tl.load(source + (at + half) % width, mask=inside).to(tl.float32)
            cos = tl.load(cosine + row * cosine_row + at % half, mask=inside).to(tl.float32)
            sin = tl.load(sine + row * half + at % half, mask=inside).to(tl.float32)
            part = part * cos + tl.where(at < half, -other, other) * sin
        if head < queries:
            share = queries // kv
            tl.store(turned + (row * (queries + 2 * kv) + head) * width + at, part, mask=inside)
            query = tl.load(query_of_row + row * share + head % share)
            first = (tl.load(prompt_of_row + row) * kv + head // share) * splits
            for split in tl.static_range(splits):
                tl.store(by_prompt + ((first + split) * most + query) * width + at, part, mask=inside)
        else:
            place = row * own_row + (head - queries) * own_head + tl.load(slot) * width
            tl.store(own + place + at, part, mask=inside)

    @triton.jit
    def _join(
        prompt, prompt_mass, own, own_mass, mixed, prompt_of_row, query_of_row,
        prompt_first, prompt_head, prompt_query, prompt_mass_first, prompt_mass_head,
        own_row, own_head, own_query, own_mass_row, own_mass_head, share,
        splits: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        """A program for each row and head: attention over the parts of the prompt and over the completion, each by its
        share of the mass."""
        row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
        kv, within = head // share, head % share
        at = tl.arange(0, block)
        inside = at < width
        query = tl.load(query_of_row + row * share + within)
        first = tl.load(prompt_of_row + row)
        masses = prompt_mass + first * prompt_mass_first + kv * splits * prompt_mass_head + query
        found = prompt + first * prompt_first + kv * splits * prompt_head + query * prompt_query
        ours = tl.load(own_mass + row * own_mass_row + kv * own_mass_head + within)
        most = ours
        for split in tl.static_range(splits):
            most = tl.maximum(most, tl.load(masses + split * prompt_mass_head))
        total = tl.exp(ours - most)
        part = tl.load(own + row * own_row + kv * own_head + within * own_query + at, mask=inside)
        mean = part.to(tl.float32) * total
        for split in tl.static_range(splits):
            weight = tl.exp(tl.load(masses + split * prompt_mass_head) - most)
            mean += tl.load(found + split * prompt_head + at, mask=inside).to(tl.float32) * weight
            total += weight
        place = (row * tl.num_programs(1) + head) * width
        tl.store(mixed + place + at, mean / total, mask=inside)

    @triton.jit
    def _gate(wide, row_length, inner, block: tl.constexpr):
        """silu(gate) * up, where the gate stood."""
        at = tl.program_id(1) * block + tl.arange(0, block)
        inside = at < inner
        gates = wide + tl.program_id(0).to(tl.int64) * row_length + at
        gate = tl.load(gates, mask=inside).to(tl.float32)
        up = tl.load(gates + inner, mask=inside).to(tl.float32)
        tl.store(gates, gate * tl.sigmoid(gate) * up, mask=inside)
