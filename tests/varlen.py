"""Attention over packed sequences, one after another: what PyTorch's `varlen_attn` computes on a GPU."""

from __future__ import annotations

import torch


def reference(query, key, value, ends_q, ends_k, max_q, max_k, *, scale, window_size=(-1, -1), enable_gqa=False):
    """(T, H, D) queries; causal (window (-1, 0)) means that the last query sees the last key."""
    lengths = [(ends[1:] - ends[:-1]).tolist() for ends in (ends_q, ends_k)]
    assert (max_q, max_k) == tuple(map(max, lengths)) and (ends_q[-1], ends_k[-1]) == (len(query), len(key))
    share = query.shape[1] // key.shape[1]
    assert enable_gqa or share == 1
    outputs = []
    for q, k, v in zip(query.split(lengths[0]), key.split(lengths[1]), value.split(lengths[1]), strict=True):
        k, v = (part.repeat_interleave(share, 1) for part in (k, v))
        seen = torch.ones(len(q), len(k), dtype=torch.bool, device=q.device)
        if window_size == (-1, 0):
            seen = seen.tril(len(k) - len(q))
        parts = (part.transpose(0, 1) for part in (q, k, v))
        found = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen, scale=scale)
        outputs.append(found.transpose(0, 1))
    return torch.cat(outputs)
