"""The rows of one call of `static_step`: their buffers in their present shape, and the step over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sampling.batch import Batch, Request, on_device
from sampling.decoder_layer import BEHIND, Places, Plain
from sampling.settings import SamplingSettings
from sampling.sizes import FIXED_ROOM, prompt_room
from sampling.token_sampling import choose, entropy, quick_weights, weights

if TYPE_CHECKING:
    from sampling.static_step import StaticDecoder


class Run:
    """One call's rows: its buffers in their present shape, and the step over them."""

    own: torch.Tensor  # (rows, layers, 2 * key-value heads, room, width)
    places: Places

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
        self.room, self.sorts = FIXED_ROOM, False
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
        self.prompt_bias = self._buffer("prompt bias", len(self.prompts), layers.kv, self.longest).fill_(BEHIND)
        for number, prompt in enumerate(self.prompts):
            length = prompt.layers[0][0].shape[-2]
            self.prompt_bias[number, :, :length] = 0
            self.prompt[number, ..., length:, :] = 0  # whatever stood there, times a chance of 0
            for layer, both in enumerate(prompt.layers):
                for which, part in enumerate(both):
                    self.prompt[number, layer, which, :, :length] = part[0]

    def _own(self, steps: int) -> None:
        """Room for the keys and values of completions; those of the first `steps` are kept."""
        layers = self.layers
        kept = self.own[: self.rows, ..., :steps, :].clone() if steps else None
        for name in ("own", "places"):  # let go of the smaller ones before the larger are made
            vars(self).pop(name, None)
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
        queries = self.most * share
        index = self._indices(share)
        cosine = self._buffer("cosine", rows, heads, layers.width)
        cosine.fill_(1)
        parts, by_prompt = layers.kv * layers.small.splits, None
        if layers.small is not Plain:
            by_prompt = self._buffer("by prompt", len(self.prompts), parts, queries, layers.width)
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
            prompt_bias=self.prompt_bias.view(len(self.prompts), parts, 1, -1).expand(-1, -1, queries, -1),
            by_prompt=by_prompt,
            of_row=(index["prompt of row"], index["head"], index["query of row"]),
            of_slot=(index["row of slot"], index["head"], index["query of slot"]),
        )

    def _indices(self, share: int) -> dict[str, torch.Tensor]:
        """Which slot of which prompt each row stands in, and which row in each slot."""
        layers, place = self.layers, self.batch.row
        prompt, slot = self.batch.prompt[place], self.slot[place]
        standing = np.zeros((len(self.prompts), self.most), dtype=np.int64)  # nobody asks what the empty slots find
        standing[prompt, slot] = np.arange(self.rows)
        within = np.arange(share)
        indices = {
            "prompt of row": prompt[:, None, None],
            "query of row": slot[:, None, None] * share + within,
            "row of slot": standing.repeat(share, axis=1)[:, None],
            "query of slot": np.tile(within, self.most)[None, None],
            "head": np.arange(layers.kv)[None, :, None],
        }
        index = {}
        for name, values in indices.items():
            new = on_device(layers.device, np.ascontiguousarray(values))
            index[name] = self._buffer(name, *values.shape, dtype=torch.long).copy_(new, non_blocking=True)
        return index

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
