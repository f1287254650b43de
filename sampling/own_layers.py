"""Decoding through the model's own layers, in steps as wide as the rows that are left."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch

from sampling.batch import Batch, Buffers, Request, Samples, Tape
from sampling.branches import Branches, Rows
from sampling.copied_prefix import CopiedPrefixCache
from sampling.settings import SamplingSettings
from sampling.shared_prefix import SharedPrefixCache, shared_prefix_attention
from sampling.sizes import MIN_ROWS
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
    """One `Samples` a request; on the CPU completions that agree so far are one row of a step."""
    device = requests[0].prompt.logits.device
    rows = max(sum(len(r.samples) for r in requests), MIN_ROWS)
    every = look_every or (LOOK_EVERY if device.type == "cuda" else 1)
    tape = Tape(rows, settings.max_new_tokens, entropies, Buffers(device))
    batch = Batch(requests, rows, settings, eos_ids, tape, every)
    prompts = [r.prompt for r in requests]
    cache_class = CopiedPrefixCache if copied else SharedPrefixCache
    step = (Branches if device.type == "cpu" and every == 1 else Rows)(
        batch, requests, partial(cache_class, [p.layers for p in prompts], limit=settings.max_new_tokens)
    )
    suppress = torch.tensor(list(suppress), dtype=torch.long, device=device)
    logits = torch.cat([p.logits for p in prompts])  # (B, V)
    with nullcontext() if copied else shared_prefix_attention(model):
        while True:
            chances = step.to_completions(weights(logits, settings, suppress))
            doubts = step.to_completions(entropy(logits, settings.temperature)) if entropies else None
            tokens, logprobs = choose(chances, tape.uniforms(len(chances)))
            tape.record(tokens, logprobs, doubts)
            batch.advance()
            batch.look()
            if batch.finished:
                return batch.samples()
            tokens = step.follow(tokens)
            step.cache.begin_step()
            logits = forward(model, tokens, step.positions, step.cache, prompts[0].axes)


def forward(
    model: torch.nn.Module, tokens: torch.Tensor, positions: torch.Tensor, cache: object, axes: int
) -> torch.Tensor:
    position_ids = positions[:, None] if axes == 1 else positions[None, :, None].expand(axes, -1, -1)
    past = getattr(cache, "for_model", cache)
    out = model(input_ids=tokens[:, None], position_ids=position_ids, cache=past, use_cache=True)
    return out.logits[:, -1]
