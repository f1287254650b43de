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

import torch

from common.terminal import first_line
from sampling.batch import Batch, Buffers, Request, Samples, Tape
from sampling.decoder_layer import TextLayers
from sampling.known_layers import text_of
from sampling.settings import SamplingSettings
from sampling.sizes import KEPT_SHARE, MIN_ROWS
from sampling.static_run import Run

logger = logging.getLogger(__name__)
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
    if gathered or decoder.kept_bytes > KEPT_SHARE * total:
        forget(model)


def signature(model: torch.nn.Module) -> tuple[object, ...]:
    """Where the weights are and which adapters act: what a captured graph depends on."""
    text = text_of(model)
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
        run = Run(self, batch, requests, settings, suppress)
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
        run = Run(self, Batch([request], MIN_ROWS, settings, [-1], tape, 1), [request], settings, suppress)
        run.first_token()
        for _ in range(2):
            run.step()
        return tape.tokens[:, :3].clone(), run.logits()

    def step(self, run: Run) -> None:
        """One more token of every row: replayed where it was captured, captured the second time it is needed."""
        key = (self.buffers.moves, *run.shape)
        if not self.captures or key not in self.graphs:
            self.graphs.setdefault(key, None)
            run.step()
            return
        if self.graphs[key] is None:
            self.graphs = {k: graph for k, graph in self.graphs.items() if k[0] == self.buffers.moves}
            captured = [k for k, graph in self.graphs.items() if graph is not None]
            if len(captured) >= _MOST_GRAPHS:
                del self.graphs[captured[0]]
            if not any(self.graphs.values()):
                self._pool, self.pool_bytes = None, 0  # a pool that has lost its last graph takes no other
            self.graphs[key] = self._captured(run.step)
        graph = self.graphs[key]
        (run.step if graph is None else graph.replay)()

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
