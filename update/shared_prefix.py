"""Many completions behind one copy of their prompt, in one row without padding.

A forward pass gets the tokens [prompt 1, its completions, prompt 2, its completions, ...] as a batch of one. Everything
but attention works token by token; attention lets a prompt see itself and a completion see its prompt and itself, with
the rope positions it would have in a row of its own. So log-probabilities and gradients are those of separate rows,
while a prompt and its image are computed once (compare tree attention; the idea of a shared prefix in training is that
of arXiv 2402.05099 for inference).

A segment is the prompt's last token and all tokens of the completion but the last: its outputs are the predictions of
the completion, without a shift. The prompt proper is therefore one token shorter.

The same idea while completions are drawn: sampling/shared_prefix.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from models.vision_attention import in_autocast, variable_length
from sampling.shared_prefix import language_attention, supports

NAME = "packed_shared_prefix"


@dataclass(frozen=True)
class Group:
    """One prompt and its completions within the row of tokens."""

    start: int  # first token of the prompt
    prompt: int  # P, tokens of the prompt without its last one
    lengths: tuple[int, ...]  # tokens of each of the n completions; the longest has C
    slots: torch.Tensor | None  # (n * C,) completion tokens laid out as n rows of C; None when no row is shorter
    filled: torch.Tensor | None  # (sum of lengths,) where each of them lies in that layout
    mask: torch.Tensor | object  # what (C,) queries may see of (P + C,) keys

    @property
    def tokens(self) -> int:
        return self.prompt + sum(self.lengths)


@dataclass(frozen=True)
class Segments:
    """The same row as sequences for variable-length attention: every prompt, and every completion behind its prompt."""

    ends_of_queries: torch.Tensor  # (S + 1,) int32
    ends_of_keys: torch.Tensor
    keys: torch.Tensor  # (sum of key lengths,) which token each key is of; a prompt's occur once for each completion
    longest_query: int
    longest_key: int


@dataclass(frozen=True)
class PackedRow:
    """A row of T packed tokens: its groups, and where the predictions of completion tokens come out."""

    groups: list[Group]
    scored: torch.Tensor  # (sum of all lengths,)

    @cached_property
    def segments(self) -> Segments:
        queries, keys = [], []
        for group in self.groups:
            prompt, at = torch.arange(group.start, group.start + group.prompt), group.start + group.prompt
            if group.prompt:
                queries.append(group.prompt)
                keys.append(prompt)
            for length in group.lengths:
                queries.append(length)
                keys.append(torch.cat([prompt, torch.arange(at, at + length)]))
                at += length
        device, lengths = self.scored.device, [len(part) for part in keys]
        ends = [torch.tensor([0, *part]).cumsum(0).to(device, torch.int32) for part in (queries, lengths)]
        return Segments(ends[0], ends[1], torch.cat(keys).to(device), max(queries), max(lengths))


def lay_out(prompts: Sequence[int], completions: Sequence[Sequence[int]], device: torch.device) -> PackedRow:
    """For every g, `prompts[g]` tokens (without the last one), then `completions[g]` tokens of each completion."""
    groups, scored, start = [], [], 0
    for prompt, lengths in zip(prompts, completions, strict=True):
        longest, slots, filled = max(lengths), None, None
        if min(lengths) < longest:
            column = torch.arange(longest)
            ends = torch.tensor(lengths)
            inside = column < ends[:, None]  # (n, C)
            first = (ends.cumsum(0) - ends)[:, None]
            slots = torch.where(inside, first + column, 0).flatten().to(device)  # a filler token, never read
            filled = inside.flatten().nonzero()[:, 0].to(device)
        mask = causal_lower_right(longest, prompt + longest)
        if device.type != "cuda":  # there the kernels know the shape of the mask; elsewhere it is built once
            mask = torch.ones(longest, prompt + longest, dtype=torch.bool, device=device).tril_(prompt)
        groups.append(Group(start, prompt, tuple(lengths), slots, filled, mask))
        scored.append(torch.arange(start + prompt, start + groups[-1].tokens))
        start += groups[-1].tokens
    return PackedRow(groups, torch.cat(scored).to(device))


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,  # (1, K, T, D)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed_row: PackedRow | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention over a packed row -> (1, T, H, D); without one, transformers' own for plain rows."""
    if packed_row is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    query, key, value = in_autocast(query, key, value)
    kernel = variable_length(query.device, query.dtype, query.shape[-1])
    if kernel is not None and not dropout:
        return _in_one_call(kernel, query, key, value, packed_row.segments, scaling), None
    share = query.shape[1] // key.shape[1]
    grouped = share > 1 and _has_flash(query)
    if share > 1 and not grouped:  # only the flash kernel reads each key for several heads
        key, value = key.repeat_interleave(share, dim=1), value.repeat_interleave(share, dim=1)
    options = {"dropout_p": dropout, "scale": scaling, "enable_gqa": grouped}
    outputs = [part for group in packed_row.groups for part in _of_group(group, query, key, value, options)]
    return torch.cat(outputs).unsqueeze(0), None


def _of_group(
    group: Group, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: dict
) -> Iterator[torch.Tensor]:
    """Attention of a group's prompt (P, H, D), if it has tokens, then of its completions (sum of lengths, H, D)."""
    of_prompt = slice(group.start, group.start + group.prompt)
    own = slice(of_prompt.stop, group.start + group.tokens)
    if group.prompt:
        parts = (part[:, :, of_prompt] for part in (query, key, value))
        yield _sdpa(*parts, is_causal=True, **options)[0].transpose(0, 1)
    rows = len(group.lengths)
    queries, keys, values = (_rows(part[0, :, own], rows, group.slots) for part in (query, key, value))
    keys, values = (
        torch.cat([part[:, :, of_prompt].expand(rows, -1, -1, -1), one], dim=2)
        for part, one in ((key, keys), (value, values))
    )
    found = _sdpa(queries, keys, values, attn_mask=group.mask, **options)  # (n, H, C, D)
    found = found.transpose(1, 2).flatten(0, 1)
    yield found if group.filled is None else found[group.filled]


def _in_one_call(
    kernel: Callable, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row: Segments, scaling: float | None
) -> torch.Tensor:
    """(1, T, H, D) of all prompts and completions: the last query of each sequence sees its last key."""
    queries = query[0].transpose(0, 1).contiguous()
    keys, values = (_Gathered.apply(part[0].transpose(0, 1), row.keys) for part in (key, value))
    ends, longest = (row.ends_of_queries, row.ends_of_keys), (row.longest_query, row.longest_key)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return kernel(queries, keys, values, *ends, *longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)[None]


class _Gathered(torch.autograd.Function):
    """Rows of a tensor, some of them several times; their gradients are added up in float32."""

    @staticmethod
    def forward(ctx, part: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows)
        ctx.like = part.shape, part.dtype
        return part.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (rows,), (shape, dtype) = ctx.saved_tensors, ctx.like
        wide = torch.promote_types(dtype, torch.float32)
        return gradient.new_zeros(shape, dtype=wide).index_add_(0, rows, gradient.to(wide)).to(dtype), None


def _has_flash(query: torch.Tensor) -> bool:
    half = query.dtype in (torch.float16, torch.bfloat16)
    return query.is_cuda and half and torch.cuda.get_device_capability(query.device) >= (8, 0)


_sdpa = torch.nn.functional.scaled_dot_product_attention


def _rows(part: torch.Tensor, rows: int, slots: torch.Tensor | None) -> torch.Tensor:
    """(H, S, D) tokens of the completions -> (n, H, C, D)."""
    part = part if slots is None else part[:, slots]
    return part.unflatten(1, (rows, -1)).transpose(0, 1)


def enable(model: torch.nn.Module) -> bool:
    """Makes the language model understand a `packed_row`; False, and nothing changed, where it cannot.

    Plain rows still go to the attention they went to. It stays enabled: with gradient checkpointing, layers run again
    in the backward pass. Of packed tokens, only the scored ones leave the model for the head.
    """
    text = model.config.get_text_config()
    if not supports(model) or text._attn_implementation not in ("sdpa", NAME):
        return False
    if text._attn_implementation != NAME:
        for module in model.modules():
            if language_attention(module):
                module.config._attn_implementation = NAME
        model.model.register_forward_hook(_only_scored, with_kwargs=True)
    return True


def _only_scored(module, args, kwargs, output):
    if kwargs.get("packed_row") is not None:
        output.last_hidden_state = output.last_hidden_state[:, kwargs["packed_row"].scored]
    return output


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
