"""Many completions of one prompt, or of several, in one decode loop.

Each prompt, with its image, is computed once; its keys and values are kept once (`shared_prefix`); rows that have ended
leave the batch; every row's random stream depends only on (seed, problem, sample) (`streams`). A model whose attention
cannot be redirected decodes on copies of the prompt's cache instead (`copied_prefix`): same tokens, more memory.

Which rows share a batch changes the last bits of a matrix product, and so could change a token only where a uniform
number falls within those last bits of a boundary between two tokens. In float32 on the CPU even the bits agree as long
as the same prompts share it: the matrix products of a row do not depend on the number of rows once there are `MIN_ROWS`
of them, so smaller batches are filled up. In bfloat16 on an accelerator near ties may still flip between different
chunk sizes, and everywhere between different prompts beside it (they are padded to the longest).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from sampling.choice import choose, entropy, weights
from sampling.copied_prefix import CopiedPrefixCache
from sampling.prefill import Prompt, prefill_each
from sampling.settings import SamplingSettings
from sampling.shared_prefix import SharedPrefixCache, shared_prefix_attention, supports
from sampling.streams import BLOCK_STEPS, stream_key, uniforms

logger = logging.getLogger(__name__)
MIN_ROWS = 8
_DROP_SHARE = 8  # ended rows leave once they are an eighth of the batch


@dataclass
class Samples:
    """Completions of one prompt, in sample order. Token ids include the end token; log-probabilities are those of the
    sampling distribution (after temperature, top-k, top-p), entropies, where asked for, those of the model's at the
    temperature; truncated means no end token came in time."""

    token_ids: list[list[int]]
    logprobs: list[list[float]]
    truncated: list[bool]
    entropies: list[list[float]] | None = None

    @property
    def logprob_sums(self) -> list[float]:
        return [float(np.sum(row, dtype=np.float64)) for row in self.logprobs]


def sample(
    model: torch.nn.Module, prompt_inputs: Mapping[str, torch.Tensor], *, problem_id: str, **options: object
) -> Samples:
    """`n` completions of one prompt (batch of one, no padding); `options` as for `sample_each`."""
    return sample_each(model, [(problem_id, prompt_inputs)], **options)[0]


@torch.no_grad()
def sample_each(
    model: torch.nn.Module,
    prompts: Sequence[tuple[str, Mapping[str, torch.Tensor]]],
    *,
    n: int,
    settings: SamplingSettings,
    eos_ids: Sequence[int],
    suppress: Sequence[int] = (),
    first_sample: int = 0,
    chunk: int | None = None,
    on_chunk: Callable[[int], None] | None = None,
) -> list[Samples]:
    """`n` completions of every prompt, at most `chunk` rows at a time, which may belong to several prompts.

    `prompts`: (problem id, model inputs: a batch of one without padding). Samples are numbered from `first_sample`; the
    same numbers give the same samples however they are grouped, but for near ties (see above). Out of memory halves the
    chunk and tries what is left again; `on_chunk` is then told the chunk that worked. Inputs may be on another device.
    """
    left = [(which, range(first_sample, first_sample + n)) for which in range(len(prompts))]
    computed: dict[int, Prompt] = {}
    drawn: list[list[Samples]] = [[] for _ in prompts]
    wanted = chunk = min(chunk or n * len(prompts), n * len(prompts))
    options = {"settings": settings, "eos_ids": eos_ids, "suppress": suppress}
    with _evaluating(model):
        while left:
            part, rest = _first_rows(left, chunk)
            try:
                done = _decode_part(model, prompts, part, computed, **options)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if chunk == 1 or not computed or not is_out_of_memory(error):  # not computed: one prompt is too much
                    raise
                rows = sum(len(samples) for _, samples in part)
                chunk = -(-rows // 2)
                logger.warning("out of memory with %d completions at once; going on with %d", rows, chunk)
            else:
                for (which, _), samples in zip(part, done, strict=True):
                    drawn[which].append(samples)
                for which, _ in part:
                    if which not in dict(rest):
                        del computed[which]
                left = rest
                continue
            computed.clear()
            free_memory()
    if on_chunk is not None and chunk < wanted:
        on_chunk(chunk)
    return [_joined(parts) for parts in drawn]


def _decode_part(
    model: torch.nn.Module,
    prompts: Sequence[tuple[str, Mapping[str, torch.Tensor]]],
    part: Sequence[tuple[int, range]],
    computed: dict[int, Prompt],
    **options: object,
) -> list[Samples]:
    """The samples of a part; `computed` gains its prompts."""
    new = [which for which, _ in part if which not in computed]
    for place, prompt in prefill_each(model, [prompts[which][1] for which in new]):
        computed[new[place]] = prompt
    return decode(model, [Request(computed[which], prompts[which][0], taken) for which, taken in part], **options)


def _first_rows(wanted: list[tuple[int, range]], most: int) -> tuple[list[tuple[int, range]], list[tuple[int, range]]]:
    """(The first `most` samples of all that are wanted, the others); the samples of a prompt may be parted."""
    part: list[tuple[int, range]] = []
    for at, (which, samples) in enumerate(wanted):
        taken = samples[:most]
        part.append((which, taken))
        most -= len(taken)
        if most == 0:
            rest = samples[len(taken) :]
            return part, [*([(which, rest)] if rest else []), *wanted[at + 1 :]]
    return part, []


def _joined(parts: list[Samples]) -> Samples:
    return Samples(
        [row for part in parts for row in part.token_ids],
        [row for part in parts for row in part.logprobs],
        [row for part in parts for row in part.truncated],
    )


@dataclass(frozen=True)
class Request:
    """A computed prompt and the numbers of the completions wanted of it."""

    prompt: Prompt
    problem_id: str
    samples: range


class _Streams:
    """The next uniform number of every row, drawn 64 steps ahead."""

    def __init__(self, requests: Sequence[Request], fill: int, seed: int):
        self._parts = [(stream_key(seed, r.problem_id), r.samples.start, len(r.samples)) for r in requests]
        key, start, count = self._parts[-1]
        self._parts[-1] = (key, start, count + fill)

    def block(self, number: int) -> np.ndarray:
        return np.concatenate([uniforms(key, number, start, count) for key, start, count in self._parts])


@torch.no_grad()
def decode(
    model: torch.nn.Module,
    requests: Sequence[Request],
    *,
    settings: SamplingSettings,
    eos_ids: Sequence[int],
    suppress: Sequence[int] = (),
    copied: bool | None = None,
    entropies: bool = False,
) -> list[Samples]:
    """The completions of all requests, decoded together; one `Samples` a request."""
    model = base_model(model)
    copied = not can_share(model) if copied is None else copied
    if copied and len(requests) > 1:  # copied caches of unequal prompts do not fit into one batch
        options = {"settings": settings, "eos_ids": eos_ids, "suppress": suppress, "copied": True}
        options["entropies"] = entropies
        return [one for request in requests for one in decode(model, [request], **options)]
    device = requests[0].prompt.logits.device
    wanted = sum(len(r.samples) for r in requests)
    fill = max(0, MIN_ROWS - wanted)  # rows that only keep the batch at MIN_ROWS; nobody reads them
    group = [g for g, r in enumerate(requests) for _ in r.samples]
    group = torch.tensor(group + group[-1:] * fill, device=device)
    prompts = [r.prompt for r in requests]
    cache_class = CopiedPrefixCache if copied else SharedPrefixCache
    cache = cache_class([p.layers for p in prompts], group, settings.max_new_tokens)
    batch = _Batch(group, wanted, _Streams(requests, fill, settings.seed), settings, eos_ids, device, entropies)
    suppress = torch.tensor(list(suppress), dtype=torch.long, device=device)

    logits = torch.cat([p.logits for p in prompts])  # (B, V)
    chances = weights(logits, settings, suppress)[group]
    doubts = entropy(logits, settings.temperature)[group] if entropies else None
    positions = torch.tensor([p.next_position for p in prompts], device=device)[group]
    with nullcontext() if copied else shared_prefix_attention(model):
        while True:
            tokens = batch.take(*choose(chances, batch.uniforms()), doubts)
            if batch.finished:
                return batch.samples(requests)
            move = batch.drop()
            if move is not None:
                gaps, tail, rows = move
                cache.move(gaps, tail, rows)
                for tensor in (tokens, positions):
                    tensor[gaps] = tensor[tail]
                tokens, positions = tokens[:rows], positions[:rows]
            cache.begin_step()
            logits = _forward(model, tokens, positions, cache, prompts[0].axes)
            positions = positions + 1
            chances = weights(logits, settings, suppress)
            doubts = entropy(logits, settings.temperature) if entropies else None


def _forward(
    model: torch.nn.Module, tokens: torch.Tensor, positions: torch.Tensor, cache: object, axes: int
) -> torch.Tensor:
    position_ids = positions[:, None] if axes == 1 else positions[None, :, None].expand(axes, -1, -1)
    past = getattr(cache, "for_model", cache)
    out = model(input_ids=tokens[:, None], position_ids=position_ids, cache=past, use_cache=True)
    return out.logits[:, -1]


class _Batch:
    """What every row has produced so far, and which rows are still going."""

    def __init__(
        self,
        group: torch.Tensor,
        wanted: int,
        streams: _Streams,
        settings: SamplingSettings,
        eos_ids: Sequence[int],
        device: torch.device,
        entropies: bool,
    ):
        total = len(group)
        self.limit, self.device, self.step = settings.max_new_tokens, device, 0
        self.streams, self.eos = streams, torch.tensor(sorted(eos_ids), device=device)
        self.row = np.arange(total)  # row of the batch -> row of the result
        self.alive = np.arange(total) < wanted
        self.tokens = np.zeros((total, min(64, self.limit)), dtype=np.int64)
        self.logprobs = np.zeros((total, min(64, self.limit)), dtype=np.float32)
        self.entropies = np.zeros_like(self.logprobs) if entropies else None
        self.length = np.zeros(total, dtype=np.int64)
        self.truncated = np.zeros(total, dtype=bool)

    @property
    def finished(self) -> bool:
        return not self.alive.any()

    def uniforms(self) -> torch.Tensor:
        at = self.step % BLOCK_STEPS
        if at == 0:
            self._block = self.streams.block(self.step // BLOCK_STEPS)
        return torch.from_numpy(self._block[self.row, at]).to(self.device)

    def take(self, tokens: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor | None) -> torch.Tensor:
        """Record one step's tokens; returns them."""
        if self.step == self.tokens.shape[1]:
            grow = ((0, 0), (0, min(self.step, self.limit - self.step)))
            self.tokens, self.logprobs = np.pad(self.tokens, grow), np.pad(self.logprobs, grow)
            self.entropies = None if entropies is None else np.pad(self.entropies, grow)
        ended = torch.isin(tokens, self.eos).cpu().numpy()
        rows = self.row[self.alive]
        self.tokens[rows, self.step] = tokens.cpu().numpy()[self.alive]
        self.logprobs[rows, self.step] = logprobs.cpu().numpy()[self.alive]
        if entropies is not None:
            self.entropies[rows, self.step] = entropies.cpu().numpy()[self.alive]
        self.step += 1
        self.length[rows] = self.step
        if self.step == self.limit:
            self.truncated[rows] = ~ended[self.alive]
            self.alive[:] = False
        self.alive &= ~ended
        return tokens

    def drop(self) -> tuple[torch.Tensor, torch.Tensor, int] | None:
        """Which rows of the tail move into which gaps so that ended rows leave; None while too few have ended."""
        keep = max(int(self.alive.sum()), MIN_ROWS)
        if len(self.row) - keep < max(1, len(self.row) // _DROP_SHARE):
            return None
        tail = keep + np.flatnonzero(self.alive[keep:])
        gaps = np.flatnonzero(~self.alive[:keep])[: len(tail)]
        for values in (self.row, self.alive):
            values[gaps] = values[tail]
        self.row, self.alive = self.row[:keep], self.alive[:keep]
        return *(torch.from_numpy(part).to(self.device) for part in (gaps, tail)), keep

    def samples(self, requests: Sequence[Request]) -> list[Samples]:
        out, start = [], 0
        for request in requests:
            rows = range(start, start + len(request.samples))
            start = rows.stop
            out.append(
                Samples(
                    [self.tokens[r, : self.length[r]].tolist() for r in rows],
                    [self.logprobs[r, : self.length[r]].tolist() for r in rows],
                    self.truncated[rows.start : rows.stop].tolist(),
                    None if self.entropies is None else [self.entropies[r, : self.length[r]].tolist() for r in rows],
                )
            )
        return out


def on(device: torch.device, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def base_model(model: torch.nn.Module) -> torch.nn.Module:
    """The transformers model inside a PEFT wrapper: adapters act inside its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


_told: set[str] = set()


def can_share(model: torch.nn.Module) -> bool:
    shared = supports(model)
    name = type(model).__name__
    if not shared and name not in _told:
        _told.add(name)
        logger.warning("%s: shared-prefix attention is not available; decoding on copies of the prompt's cache", name)
    return shared


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text


def free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _evaluating:
    """Evaluation mode (no dropout) inside, the former mode afterwards."""

    def __init__(self, model: torch.nn.Module):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.training
        self.model.eval()

    def __exit__(self, *exc: object) -> None:
        self.model.train(self.before)
