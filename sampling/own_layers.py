"""Decoding through the model's own layers, in steps as wide as the rows that are left."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch

from sampling.batch import MIN_ROWS, Batch, Buffers, Request, Samples, Tape
from sampling.copied_prefix import CopiedPrefixCache
from sampling.settings import SamplingSettings
from sampling.shared_prefix import SharedPrefixCache, shared_prefix_attention
from sampling.token_sampling import choose, entropy, weights

LOOK_EVERY = 8  # steps between two looks for ended rows on a GPU; on the CPU looking is free


def decode(
    model: torch.nn.Module,
    requests: Sequence[Request],
    settings: SamplingSettings,
    eos_ids: Sequence[int],
    suppress: Sequence[int],
    entropies: bool,
    copied: bool,
    look_every: int | None,
) -> list[Samples]:
    """One `Samples` a request. (Longer than functions should be: one loop, whose parts share all of their state.)"""
    device = requests[0].prompt.logits.device
    rows = max(sum(len(r.samples) for r in requests), MIN_ROWS)
    tape = Tape(rows, settings.max_new_tokens, entropies, Buffers(device))
    batch = Batch(requests, rows, settings, eos_ids, tape, look_every or (LOOK_EVERY if device.type == "cuda" else 1))
    group = torch.from_numpy(batch.prompt).to(device)
    prompts = [r.prompt for r in requests]
    cache_class = CopiedPrefixCache if copied else SharedPrefixCache
    cache = cache_class([p.layers for p in prompts], group, settings.max_new_tokens)
    suppress = torch.tensor(list(suppress), dtype=torch.long, device=device)

    logits = torch.cat([p.logits for p in prompts])  # (B, V)
    chances = weights(logits, settings, suppress)[group]
    doubts = entropy(logits, settings.temperature)[group] if entropies else None
    positions = torch.tensor([p.next_position for p in prompts], device=device)[group]
    with nullcontext() if copied else shared_prefix_attention(model):
        while True:
            tokens, logprobs = choose(chances, tape.uniforms(len(chances)))
            tape.record(tokens, logprobs, doubts)
            batch.advance()
            batch.look()
            if batch.finished:
                return batch.samples()
            move = batch.drop()
            if move is not None:
                gaps, tail, rows = move
                cache.move(gaps, tail, rows)
                for tensor in (tokens, positions):
                    tensor[gaps] = tensor[tail]
                tokens, positions = tokens[:rows], positions[:rows]
            cache.begin_step()
            logits = forward(model, tokens, positions, cache, prompts[0].axes)
            positions = positions + 1
            chances = weights(logits, settings, suppress)
            doubts = entropy(logits, settings.temperature) if entropies else None


def forward(
    model: torch.nn.Module, tokens: torch.Tensor, positions: torch.Tensor, cache: object, axes: int
) -> torch.Tensor:
    position_ids = positions[:, None] if axes == 1 else positions[None, :, None].expand(axes, -1, -1)
    past = getattr(cache, "for_model", cache)
    out = model(input_ids=tokens[:, None], position_ids=position_ids, cache=past, use_cache=True)
    return out.logits[:, -1]
