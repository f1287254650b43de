"""Attention for many continuations of one prompt: the prompt's keys and values exist once.

Every row of the decode batch attends to its prompt's keys and values, shared by all rows of that prompt, and to its own
completion's, with one softmax over both. For the shared part the rows are folded into the query length, so it is one
matrix product per key-value head instead of one per row. Grouped queries need no expanded keys.

The cache hands itself to the attention function in place of keys and values; transformers builds no mask for an
attention it has no mask function for, and none is needed: the rows of a batch have equally long completions.

The same idea in the update: update/shared_prefix.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionInterface

from sampling.sizes import FIRST_ROOM

NAME = "shared_prefix"


class SharedPrefixCache:
    """Prompt K/V once per prompt and, per row, a preallocated completion cache that grows by doubling."""

    def __init__(self, prefixes: list[list[tuple[torch.Tensor, torch.Tensor]]], group: torch.Tensor, limit: int):
        """`prefixes[g][layer]` = (keys, values), each (1, H, P_g, D); `group` (N,) names each row's prompt; no
        completion is longer than `limit`."""
        keys = prefixes[0][0][0]
        self.rows, self.steps = len(group), 0
        self._layers, self._heads, self._width = len(prefixes[0]), keys.shape[1], keys.shape[-1]
        self._like = keys
        self._limit = limit
        self.suffix = self._allocate(min(FIRST_ROOM, limit))
        self.groups = _Groups(group, [p[0][0].shape[-2] for p in prefixes], keys)
        self.prefix = [
            tuple(_stack([p[layer][which] for p in prefixes], self.groups.longest) for which in (0, 1))
            for layer in range(self._layers)
        ]

    def _allocate(self, room: int) -> torch.Tensor:
        shape = (self._layers, 2, self.rows, self._heads, room, self._width)
        return torch.empty(shape, dtype=self._like.dtype, device=self._like.device)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.groups.longest + self.steps

    def begin_step(self) -> None:
        """Make room for one more token; called before the forward pass of a step."""
        if self.steps == self.suffix.shape[-2]:
            grown = self._allocate(min(2 * self.steps, self._limit))
            grown[..., : self.steps, :] = self.suffix
            self.suffix = grown
        self.steps += 1

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *args: object, **kwargs: object):
        own = self.suffix[layer_idx]
        own[0, :, :, self.steps - 1] = keys[:, :, 0]
        own[1, :, :, self.steps - 1] = values[:, :, 0]
        return self, self

    def move(self, gaps: torch.Tensor, tail: torch.Tensor, rows: int) -> None:
        """Keep `rows` rows: those of the tail that stay move into the gaps in front, the others are not copied."""
        if len(gaps):
            self.suffix[:, :, gaps, :, : self.steps] = self.suffix[:, :, tail, :, : self.steps]
        self.suffix, self.rows = self.suffix[:, :, :rows], rows
        group = self.groups.group
        group[gaps] = group[tail]
        self.groups = _Groups(group[:rows], self.groups.lengths, self._like)

    def select(self, rows: torch.Tensor) -> None:
        """Row `rows[i]` becomes row i; one may become several."""
        self.suffix, self.rows = self.suffix[:, :, rows], len(rows)
        self.groups = _Groups(self.groups.group[rows], self.groups.lengths, self._like)


def _stack(parts: list[torch.Tensor], longest: int) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[-2])) for part in parts])


class _Groups:
    """Which prompt each row belongs to, and the padded (prompt, slot) layout of the queries that follows from it."""

    def __init__(self, group: torch.Tensor, lengths: list[int], like: torch.Tensor):
        self.group, self.lengths, self.longest = group, lengths, max(lengths)
        self.bias = None
        if len(lengths) == 1:
            return
        counts = torch.bincount(group, minlength=len(lengths))
        order = group.argsort(stable=True)
        rank = torch.empty_like(group)
        rank[order] = torch.arange(len(group), device=group.device) - (counts.cumsum(0) - counts)[group[order]]
        self.most = int(counts.max())
        self.slot = group * self.most + rank
        if min(lengths) < self.longest:
            ends = torch.tensor(lengths, device=like.device)[:, None]
            outside = torch.arange(self.longest, device=like.device) >= ends
            self.bias = torch.zeros(outside.shape, device=like.device).masked_fill_(outside, -torch.inf)
            self.bias = self.bias[:, None, None, :]  # (B, 1, 1, P)

    def spread(self, query: torch.Tensor) -> torch.Tensor:
        """(N, H, g, D) -> (B, H, most * g, D)."""
        rows, heads, share, width = query.shape
        if len(self.lengths) > 1:
            slots = query.new_zeros(len(self.lengths) * self.most, heads, share, width)
            slots[self.slot] = query
            query, rows = slots, self.most
        return query.view(-1, rows, heads, share, width).transpose(1, 2).reshape(-1, heads, rows * share, width)

    def gather(self, out: torch.Tensor, share: int) -> torch.Tensor:
        """(B, H, most * g, D) -> (N, H, g, D)."""
        prompts, heads, rows, width = out.shape
        out = out.view(prompts, heads, rows // share, share, width).transpose(1, 2).flatten(0, 1)
        return out[self.slot] if len(self.lengths) > 1 else out


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,  # (N, H * g, 1, D)
    key: SharedPrefixCache,
    value: SharedPrefixCache,
    attention_mask: None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """One softmax over the shared prompt and the row's own completion, as a weighted mean of the two parts."""
    if torch.is_autocast_enabled(query.device.type):  # it would round the scores to half precision
        with torch.autocast(query.device.type, enabled=False):
            return attend(module, query, key, value, attention_mask, scaling)
    cache, layer = key, module.layer_idx
    (prompt_keys, prompt_values), groups = cache.prefix[layer], cache.groups
    rows, heads, _, width = query.shape
    share = heads // prompt_keys.shape[1]
    query = (query * scaling).reshape(rows, -1, share, width)  # (N, H, g, D)
    own_keys, own_values = cache.suffix[layer, :, :, :, : cache.steps].unbind(0)  # (N, H, S, D)

    shared = _partial(groups.spread(query), prompt_keys, prompt_values, groups.bias)
    own_out, own_peak, own_mass = _partial(query, own_keys, own_values)
    shared_out, shared_peak, shared_mass = (groups.gather(part, share) for part in shared)
    peak = torch.maximum(shared_peak, own_peak)
    shared_scale, own_scale = (shared_peak - peak).exp(), (own_peak - peak).exp()
    out = (shared_out * shared_scale + own_out * own_scale) / (shared_mass * shared_scale + own_mass * own_scale)
    return out.to(query.dtype).reshape(rows, 1, heads, width), None


def _partial(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unnormalised attention over one part of the keys, with the peak and the mass needed to join the parts."""
    scores = _scores(query, keys)
    if bias is not None:
        scores = scores.add_(bias)
    peak = scores.amax(-1, keepdim=True)
    chances = scores.sub_(peak).exp_()
    return (chances.to(values.dtype) @ values).to(chances.dtype), peak, chances.sum(-1, keepdim=True)


def _scores(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Query times key in float32, whatever the model's type: bfloat16 scores would blur the softmax."""
    keys = keys.transpose(-1, -2)
    if query.dtype in (torch.float32, torch.float64):
        return query @ keys
    if query.is_cuda:
        out = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1), out_dtype=torch.float32)
        return out.unflatten(0, query.shape[:2])
    return query.float() @ keys.float()


@contextmanager
def shared_prefix_attention(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the language model's attention reads a `SharedPrefixCache`; the vision tower keeps its own."""
    configs = {id(m.config): m.config for m in model.modules() if language_attention(m)}.values()
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def language_attention(module: torch.nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("layer_idx", "k_proj", "num_key_value_groups", "config"))


def supports(model: torch.nn.Module) -> bool:
    """Full attention in every language layer, all of it dispatched through transformers' AttentionInterface."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    attentions = sum(language_attention(module) for module in model.modules())
    redirected = bool(getattr(model, "_supports_attention_backend", False))
    return kinds == {"full_attention"} and attentions == text.num_hidden_layers and redirected


AttentionInterface.register(NAME, attend)
