"""Decoding in steps of fixed shape: on a GPU each shape is captured once as a CUDA graph and replayed.

A shape is (rows, room for their completions, prompts and room for them). Rows that have ended leave when the rest fits
into the next smaller number; the room doubles. Step, tokens, positions and random numbers are on the device, so a step
needs nothing of the host, and buffers stay where they are: the graphs of one rollout serve the next.

The nucleus is searched among the 1,024 largest weights. Where that was too few, which is noticed within ten steps, the
steps since are done again, and from then on with a full sort.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

import numpy as np
import torch

from sampling.batch import MIN_ROWS, Batch, Buffers, Request, Samples, Tape, first_line, on_device
from sampling.decoder_layer import Places, TextLayers
from sampling.settings import SamplingSettings
from sampling.token_sampling import choose, entropy, quick_weights, weights

logger = logging.getLogger(__name__)
_ROOM = 64  # completion tokens a row has room for at first
_KEPT_SHARE = 1 / 8  # of a GPU's memory; more than that is not kept from one call to the next
_MOST_GRAPHS = 128  # each takes megabytes that no allocator counts; prompts of many lengths and numbers make many
_decoders: WeakKeyDictionary[torch.nn.Module, StaticDecoder] = WeakKeyDictionary()


def decoder_of(model: torch.nn.Module) -> StaticDecoder:
    """The model's decoder, with the graphs captured before; a new one where weights have moved."""
    decoder = _decoders.get(model)
    if decoder is None or decoder.signature != signature(model):
        forget(model)
        decoder = _decoders[model] = StaticDecoder(model)
    return decoder


def forget(model: torch.nn.Module) -> None:
    """Give the buffers and graphs back."""
    _decoders.pop(model, None)


def held_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """What decoding keeps from one call to the next, and how much of it is in the graphs' own pool.

    The allocator counts that pool as reserved and not in use, but gives it to nobody else.
    """
    decoder = _decoders.get(model)
    return (decoder.kept_bytes, decoder.pool_bytes) if decoder else (0, 0)


def settle(model: torch.nn.Module) -> None:
    """Between two calls keep no weights that ZeRO-3 has gathered for one, nor much of a GPU's memory."""
    decoder = _decoders.get(model)
    if decoder is None:
        return
    gathered = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    on_gpu = decoder.device.type == "cuda"
    total = torch.cuda.get_device_properties(decoder.device).total_memory if on_gpu else math.inf
    if gathered or decoder.kept_bytes > _KEPT_SHARE * total:
        forget(model)


def signature(model: torch.nn.Module) -> tuple[object, ...]:
    """Where the weights are and which adapters act: what a captured graph depends on."""
    text = model.model.language_model
    modules = (text, model.get_output_embeddings())
    weights = [p for module in modules for name, p in module.named_parameters() if "lora_" not in name]
    adapters = [
        (tuple(module.active_adapters), module.disable_adapters, module.merged, tuple(module.scaling.items()))
        for module in text.modules()
        if hasattr(module, "lora_A")
    ]
    return (*(weight.data_ptr() for weight in weights), *adapters)


def sizes(rows: int) -> list[int]:
    """The numbers of rows that a batch of `rows` shrinks to: 8, 16, 24, 32, 48, 64, 96, ... and itself."""
    smaller = sorted({MIN_ROWS} | {size * 2**power for size in (16, 24) for power in range(20)})
    return [size for size in smaller if size < rows] + [rows]


def prompt_room(longest: int) -> int:
    """256, 512, 768, 1024, then in quarters of a power of two."""
    step = max(256, 2 ** (longest - 1).bit_length() // 8)
    return -(-longest // step) * step


class StaticDecoder:
    """Decodes for one model that `decoder_layer.refusal` has nothing against, in evaluation mode, without autocast."""

    def __init__(self, model: torch.nn.Module):
        self.signature = signature(model)
        self.layers = TextLayers(model)
        self.embedding, self.head = model.get_input_embeddings(), model.get_output_embeddings()
        self.device = self.layers.device
        self.buffers = Buffers(self.device)
        self.graphs: dict[tuple[object, ...], torch.cuda.CUDAGraph | None] = {}
        self.captures = self.device.type == "cuda"
        self._pool, self.pool_bytes = None, 0
        self.checked = False  # `engine` has compared it with the model's own layers

    @property
    def kept_bytes(self) -> int:
        return self.buffers.nbytes + self.layers.copied_bytes + self.pool_bytes

    def decode(
        self,
        requests: Sequence[Request],
        settings: SamplingSettings,
        eos_ids: Sequence[int],
        suppress: torch.Tensor,
        entropies: bool,
        every: int,
    ) -> list[Samples]:
        """One `Samples` a request."""
        self.layers.refresh()
        rows = sum(len(r.samples) for r in requests)
        rows = -(-rows // MIN_ROWS) * MIN_ROWS
        tape = Tape(rows, settings.max_new_tokens, entropies, self.buffers)
        batch = Batch(requests, rows, settings, eos_ids, tape, every)
        run = _Run(self, batch, requests, settings, suppress)
        run.first_token()
        shrinks_to = sizes(rows)
        while True:
            if batch.look():
                run.again()
            if batch.finished:
                return batch.samples()
            move = batch.drop(shrinks_to)
            if move is not None:
                run.move(*move)
            if batch.step > run.room:
                run.grow()
            self.step(run)
            batch.advance()

    def trial(
        self, request: Request, settings: SamplingSettings, suppress: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """First tokens (`MIN_ROWS`, 3) of as many completions, and the logits (`MIN_ROWS`, V) that follow them."""
        self.layers.refresh()
        request = Request(request.prompt, request.problem_id, range(MIN_ROWS))
        tape = Tape(MIN_ROWS, 4, False, self.buffers)
        run = _Run(self, Batch([request], MIN_ROWS, settings, [-1], tape, 1), [request], settings, suppress)
        run.first_token()
        for _ in range(2):
            run.step()
        return tape.tokens[:, :3].clone(), run.logits()

    def step(self, run: _Run) -> None:
        """One more token of every row: replayed where it was captured, captured the second time it is needed."""
        key = (self.buffers.moves, *run.shape)
        if not self.captures or key not in self.graphs:
            self.graphs.setdefault(key, None)
            return run.step()
        if self.graphs[key] is None:
            self.graphs = {k: graph for k, graph in self.graphs.items() if k[0] == self.buffers.moves}
            captured = [k for k, graph in self.graphs.items() if graph is not None]
            if len(captured) >= _MOST_GRAPHS:
                del self.graphs[captured[0]]
            if not any(self.graphs.values()):
                self._pool, self.pool_bytes = None, 0  # a pool that has lost its last graph takes no other
            self.graphs[key] = self._captured(run.step)
        graph = self.graphs[key]
        return run.step() if graph is None else graph.replay()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        stream = None
        try:
            stream = torch.cuda.current_stream(self.device)
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved(self.device)
            graph = torch.cuda.CUDAGraph()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                step()
            self.pool_bytes += max(0, torch.cuda.memory_reserved(self.device) - before)
        except Exception as error:  # in many ways, by driver and version
            self.captures = False
            self._leave_capture(stream)
            logger.warning("decoding goes on without CUDA graphs, more slowly: %s", first_line(error))
            return None
        return graph

    def _leave_capture(self, stream: torch.cuda.Stream | None) -> None:
        """Some releases stay on the capture's stream, and with an allocator that waits for its end, where it fails."""
        if stream is None:
            return
        torch.cuda.set_stream(stream)
        with suppress(Exception):  # it has ended, as it should
            torch._C._cuda_endAllocateToPool(stream.device_index, self._pool)


class _Run:
    """One call's rows: its buffers in their present shape, and the step over them."""

    def __init__(
        self,
        decoder: StaticDecoder,
        batch: Batch,
        requests: Sequence[Request],
        settings: SamplingSettings,
        suppress: torch.Tensor,
    ):
        self.decoder, self.batch, self.tape, self.settings = decoder, batch, batch.tape, settings
        self.layers, self.buffers = decoder.layers, decoder.buffers
        self.suppress = self._buffer("suppress", len(suppress), dtype=torch.long).copy_(suppress)
        self.prompts = [request.prompt for request in requests]
        self.all_rows = self.rows = len(batch.row)
        self.room, self.sorts = _ROOM, False
        counts = np.bincount(batch.prompt)
        self.most = int(counts.max())
        self.slot = np.concatenate([np.arange(count) for count in counts])  # of each place on the tape at its prompt
        self.longest = prompt_room(max(p.layers[0][0].shape[-2] for p in self.prompts))
        self._read_prompts()
        self._own(0)
        base = on_device(self.layers.device, np.array([p.next_position for p in self.prompts], dtype=np.float32))
        group = on_device(self.layers.device, batch.prompt)
        self.base = self._buffer("base", self.all_rows, dtype=torch.float32).copy_(base[group])
        self.token = self._buffer("token", self.all_rows, dtype=torch.long)
        self.group = group
        self._places()

    def _buffer(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return self.buffers.get(name, *shape, dtype=dtype or self.layers.dtype)

    @property
    def shape(self) -> tuple[object, ...]:
        """All that a captured step cannot change."""
        s = self.settings
        prompts = (len(self.prompts), self.longest, self.most)
        chosen = (s.temperature, s.top_p, s.top_k, len(self.suppress), self.tape.tokens.shape, self.sorts)
        return (self.rows, self.room, *prompts, *chosen, self.tape.entropies is not None)

    def _read_prompts(self) -> None:
        layers = self.layers
        shape = (len(self.prompts), len(layers.layers), 2, layers.kv, self.longest, layers.width)
        self.prompt = self._buffer("prompt", *shape)
        self.prompt_bias = self._buffer("prompt bias", len(self.prompts), self.longest).fill_(-torch.inf)
        for number, prompt in enumerate(self.prompts):
            length = prompt.layers[0][0].shape[-2]
            self.prompt_bias[number, :length] = 0
            self.prompt[number, ..., length:, :] = 0  # whatever stood there, times a chance of 0
            for layer, both in enumerate(prompt.layers):
                for which, part in enumerate(both):
                    self.prompt[number, layer, which, :, :length] = part[0]

    def _own(self, steps: int) -> None:
        """Room for the keys and values of completions; those of the first `steps` are kept."""
        layers = self.layers
        kept = self.own[: self.rows, ..., :steps, :].clone() if steps else None
        self.own = self.places = None  # let go of the smaller ones before the larger are made
        shape = (self.rows, len(layers.layers), 2 * layers.kv, self.room, layers.width)
        self.own = self._buffer("own", *shape).zero_()
        if kept is not None:
            self.own[..., :steps, :] = kept
        self.own_bias = self._buffer("own bias", self.room).fill_(-torch.inf)
        self.own_bias[:steps] = 0

    def _places(self) -> None:
        """What `Places` says of the present rows; called again after they have changed."""
        layers, rows = self.layers, self.rows
        heads, share = layers.queries + 2 * layers.kv, layers.queries // layers.kv
        device, queries = layers.device, self.most * share
        place = self.batch.row
        prompt, slot = self.batch.prompt[place], self.slot[place]
        standing = np.zeros((len(self.prompts), self.most), dtype=np.int64)  # nobody asks what the empty slots find
        standing[prompt, slot] = np.arange(rows)
        within = np.arange(share)
        indices = {
            "prompt of row": prompt[:, None, None],
            "query of row": slot[:, None, None] * share + within,
            "row of slot": standing.repeat(share, axis=1)[:, None],
            "query of slot": np.tile(within, self.most)[None, None],
            "head": np.arange(layers.kv)[None, :, None],
        }
        index = {
            name: self._buffer(name, *values.shape, dtype=torch.long).copy_(
                on_device(device, np.ascontiguousarray(values)), non_blocking=True
            )
            for name, values in indices.items()
        }
        cosine = self._buffer("cosine", rows, heads, layers.width)
        cosine.fill_(1)
        self.places = Places(
            fused=self._buffer("fused", rows, heads * layers.width + layers.rank),
            turned=self._buffer("turned", rows, heads, layers.width),
            mixed=self._buffer("mixed", rows, layers.kv, share, layers.width),
            share=self._buffer("share", rows, layers.kv, share, 1),
            wide=self._buffer("wide", rows, 2 * layers.inner),
            cosine=cosine,
            sine=self._buffer("sine", rows, 1, layers.width // 2),
            own=self.own[:rows],
            own_bias=self.own_bias.expand(rows, layers.kv, share, -1),
            prompt=self.prompt,
            prompt_bias=self.prompt_bias[:, None, None].expand(-1, layers.kv, queries, -1),
            of_row=(index["prompt of row"], index["head"], index["query of row"]),
            of_slot=(index["row of slot"], index["head"], index["query of slot"]),
        )

    def first_token(self) -> None:
        """From the prompts' own predictions."""
        logits = torch.cat([p.logits for p in self.prompts])
        chances = weights(logits, self.settings, self.suppress)[self.group]
        doubts = None
        if self.tape.entropies is not None:
            doubts = entropy(logits, self.settings.temperature)[self.group]
        self._choose(chances, doubts)
        self.batch.advance()

    def _choose(self, chances: torch.Tensor, doubts: torch.Tensor | None) -> None:
        tokens, logprobs = choose(chances, self.tape.uniforms(self.rows))
        self.tape.record(tokens, logprobs, doubts)
        self.token[: self.rows].copy_(tokens)

    def logits(self) -> torch.Tensor:
        """(N, V) in float32, after the last tokens, whose keys and values are written down."""
        slot = self.tape.step - 1
        self.own_bias.index_fill_(0, slot, 0.0)
        self.layers.turn(self.base[: self.rows] + slot, self.places)
        hidden = self.decoder.embedding(self.token[: self.rows])
        hidden = self.layers.forward(hidden, slot, self.places)
        return self.decoder.head(hidden[:, None])[:, -1].float()

    def step(self) -> None:
        """Reads and writes buffers only, and asks the device for nothing: a step that can be captured."""
        tape, settings, logits = self.tape, self.settings, self.logits()
        doubts = None if tape.entropies is None else entropy(logits, settings.temperature)
        if self.sorts:
            chances = weights(logits, settings, self.suppress)
        else:
            chances, short = quick_weights(logits, settings, self.suppress)
            tape.short.logical_or_(short)
        self._choose(chances, doubts)

    def again(self) -> None:
        """Back to the batch's step, and from now on with a full sort."""
        self.sorts = True
        step = self.batch.step
        self.token[: self.rows] = self.tape.tokens[self.tape.row[: self.rows], step - 1]
        self.own_bias[step - 1 :] = -torch.inf

    def move(self, gaps: torch.Tensor, tail: torch.Tensor, rows: int) -> None:
        """Keep `rows` rows: those of the tail that stay move into the gaps in front."""
        for part in (self.token, self.base):
            part[gaps] = part[tail]
        for layer in range(self.own.shape[1]):
            self.own[gaps, layer] = self.own[tail, layer]
        self.rows = rows
        self._places()

    def grow(self) -> None:
        """Twice the room."""
        steps, self.room = self.room, 2 * self.room
        self._own(steps)
        self._places()
