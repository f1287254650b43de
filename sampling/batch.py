"""The rows that are decoded together: what each has produced, kept on the device, and which of them still go on.

The host asks which rows have ended only now and then (`Batch.look`), and on an accelerator does not wait for the
answer: it comes a few steps later, while the device is busy with the next ones. Until then an ended row goes on; what
it produces after its end is cut off.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sampling.prefill import Prompt
from sampling.random_streams import stream_key, uniforms
from sampling.settings import SamplingSettings
from sampling.sizes import BLOCK_STEPS, MIN_ROWS

DROP_SHARE = 8  # ended rows leave once they are an eighth of the batch
_LAG = 2  # steps that an accelerator has to do while the host waits for news of ended rows


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
    def lengths(self) -> list[int]:
        """Tokens."""
        return [len(row) for row in self.token_ids]

    @property
    def logprob_sums(self) -> list[float]:
        return [float(np.sum(row, dtype=np.float64)) for row in self.logprobs]


@dataclass(frozen=True)
class Request:
    """A computed prompt and the numbers of the completions wanted of it."""

    prompt: Prompt
    problem_id: str
    samples: range


class Buffers:
    """Named tensors on a device that stay where they are from one use to the next, as captured graphs need.

    A larger one than before moves; then `moves` grows, and what was captured is worth nothing.
    """

    def __init__(self, device: torch.device):
        self.device, self.moves = device, 0
        self._flat: dict[str, torch.Tensor] = {}

    def get(self, name: str, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """The first elements of the buffer, in this shape; their values are what they last were."""
        size = math.prod(shape)
        if name not in self._flat or self._flat[name].numel() < size or self._flat[name].dtype != dtype:
            self._flat.pop(name, None)  # before the larger one is made
            self._flat[name] = torch.zeros(size, dtype=dtype, device=self.device)
            self.moves += 1
        return self._flat[name][:size].view(shape)

    @property
    def nbytes(self) -> int:
        return sum(flat.nbytes for flat in self._flat.values())


class Tape:
    """On the device: the random numbers of all rows and all that they have produced. Nothing here waits for it.

    A row of the batch may move (`row` names its place on the tape); its place on the tape never changes.
    """

    def __init__(self, rows: int, limit: int, entropies: bool, buffers: Buffers):
        self.tokens = buffers.get("tokens", rows, limit, dtype=torch.long)
        self.logprobs = buffers.get("logprobs", rows, limit, dtype=torch.float32)
        self.entropies = buffers.get("entropies", rows, limit, dtype=torch.float32) if entropies else None
        self.uniform = buffers.get("uniform", rows, BLOCK_STEPS, dtype=torch.float64)
        self.row = buffers.get("row", rows, dtype=torch.long)
        self.step = buffers.get("step", 1, dtype=torch.long)  # tokens that every row has
        self.short = buffers.get("short", 1, dtype=torch.bool)  # a nucleus was too wide for the quick search

    def uniforms(self, rows: int) -> torch.Tensor:
        """The numbers (rows,) of this step for the first `rows` rows of the batch."""
        return self.uniform[self.row[:rows], self.step % BLOCK_STEPS]

    def record(self, tokens: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor | None) -> None:
        """Write down one step, (rows,) each."""
        at = (self.row[: len(tokens)], self.step)
        self.tokens.index_put_(at, tokens)
        self.logprobs.index_put_(at, logprobs)
        if self.entropies is not None:
            self.entropies.index_put_(at, entropies)
        self.step += 1


class Batch:
    """The host's side of a tape: the step, the rows that still go on, the random numbers of the next 64 steps."""

    def __init__(
        self,
        requests: Sequence[Request],
        rows: int,
        settings: SamplingSettings,
        eos_ids: Sequence[int],
        tape: Tape,
        every: int,
    ):
        """`rows` in all: those beyond the wanted ones only fill the batch, and nobody reads them. Rows are looked at
        `every` so many steps."""
        self.requests, self.settings, self.tape, self.every = requests, settings, tape, every
        self.device = tape.step.device
        wanted = sum(len(r.samples) for r in requests)
        self.eos = torch.tensor(sorted(eos_ids), device=self.device)
        self.alive = np.arange(rows) < wanted  # by place on the tape
        self.row = np.arange(rows)  # row of the batch -> place on the tape
        fill = rows - wanted
        self.prompt = np.repeat(np.arange(len(requests)), [len(r.samples) for r in requests])  # by place on the tape
        self.prompt = np.concatenate([self.prompt, np.full(fill, len(requests) - 1)])
        self._streams = [(stream_key(settings.seed, r.problem_id), r.samples.start, len(r.samples)) for r in requests]
        key, start, count = self._streams[-1]
        self._streams[-1] = (key, start, count + fill)
        self.limit = settings.max_new_tokens
        self._looked = 0  # steps whose ends and nuclei are known
        self._asked: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None
        torch.arange(rows, out=tape.row)
        tape.short.zero_()
        self._go_to(0)

    def _go_to(self, step: int) -> None:
        self.step = step
        self.tape.step.fill_(step)
        self._load(step // BLOCK_STEPS)

    def _load(self, block: int) -> None:
        numbers = np.concatenate([uniforms(key, block, start, count) for key, start, count in self._streams])
        self.tape.uniform[: len(numbers)].copy_(on_device(self.device, numbers), non_blocking=True)

    def advance(self) -> None:
        """One more token of every row is on the tape."""
        self.step += 1
        if self.step % BLOCK_STEPS == 0 and self.step < self.limit:
            self._load(self.step // BLOCK_STEPS)

    def look(self) -> bool:
        """Ask for news of ended rows when it is time, take in what has come; whether a step's nucleus was too wide.

        Then the steps since the last look are to be done again: the batch is back at the first of them.
        """
        at_limit = self.step == self.limit
        if self._asked is None and (at_limit or self.step - self._looked >= self.every):
            ends = (self.tape.tokens[: len(self.alive), self._looked : self.step, None] == self.eos).flatten(1).any(1)
            news = torch.cat([ends, self.tape.short])
            event = None
            if news.is_cuda:
                news = torch.empty(news.shape, dtype=news.dtype, pin_memory=True).copy_(news, non_blocking=True)
                event = torch.cuda.Event()
                event.record()
            self._asked = (self.step, news, event)
        if self._asked is None:
            return False
        asked, news, event = self._asked
        if self.every > 1 and self.step < min(asked + _LAG, self.limit):
            return False
        if event is not None:
            event.synchronize()
        self._asked = None
        *ended, short = news.tolist()
        if short:
            self.tape.short.zero_()
            self._go_to(max(self._looked, 1))  # the first token comes from the prompt
            return True
        self._looked = asked
        self.alive &= ~np.array(ended)
        if at_limit and asked < self.step:
            return self.look()
        return False

    @property
    def finished(self) -> bool:
        return self._looked == self.limit or not self.alive.any()

    def drop(self, sizes: Sequence[int] | None = None) -> tuple[torch.Tensor, torch.Tensor, int] | None:
        """Which rows of the tail move into which gaps so that ended rows leave; None while too few have ended.

        With `sizes` the batch shrinks to the least of them that holds all rows that go on.
        """
        going = self.alive[self.row]
        keep = max(int(going.sum()), MIN_ROWS)
        if sizes is not None:
            keep = min((size for size in sizes if size >= keep), default=len(going))
        if keep >= len(going) or (sizes is None and len(going) - keep < max(1, len(going) // DROP_SHARE)):
            return None
        tail = keep + np.flatnonzero(going[keep:])
        gaps = np.flatnonzero(~going[:keep])[: len(tail)]
        self.row[gaps] = self.row[tail]
        self.row = self.row[:keep]
        gaps, tail = (on_device(self.device, part) for part in (gaps, tail))
        self.tape.row[gaps] = self.tape.row[tail]
        return gaps, tail, keep

    def leave(self) -> np.ndarray:
        """Ended rows leave at once, and the others move up: the places in the batch of those that go on."""
        going = np.flatnonzero(self.alive[self.row])
        self.row = self.row[going]
        self.tape.row[: len(going)] = torch.from_numpy(self.row)
        return going

    def samples(self) -> list[Samples]:
        """One `Samples` a request."""
        steps = self.step
        tape = [part for part in (self.tape.tokens, self.tape.logprobs, self.tape.entropies) if part is not None]
        parts = [part[: len(self.alive), :steps].cpu().numpy() for part in tape]
        tokens = parts[0]
        ends = np.isin(tokens, self.eos.cpu().numpy())
        ended = np.asarray(ends.any(1))
        length = np.where(ended, ends.argmax(1) + 1, steps)
        out, start = [], 0
        for request in self.requests:
            rows = range(start, start + len(request.samples))
            start = rows.stop
            drawn, logprobs, *entropies = ([part[r, : length[r]].tolist() for r in rows] for part in parts)
            out.append(Samples(drawn, logprobs, (~ended[rows.start : rows.stop]).tolist(), *entropies))
        return out


def on_device(device: torch.device, values: np.ndarray) -> torch.Tensor:
    """The values on the device, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
