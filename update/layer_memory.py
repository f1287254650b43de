"""What one layer and the head take of memory in an update: the formulas below `update.memory`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from update.packing import Row, cost, padded_cost

if TYPE_CHECKING:
    from update.memory import Shape, Work

HEAD_TOKENS, HEAD_WORDS = 4096, 32768  # TRL's fused head: tokens and vocabulary entries of one tile of logits


def tokens_of(rows: Sequence[Row], work: Work) -> int:
    return cost(rows) if work.packed else padded_cost(rows)


def layer(shape: Shape, work: Work, rows: Sequence[Row]) -> float:
    """Bytes that one layer of the language model keeps for its backward pass.

    For each token: the inputs of both norms in float32; what the projections read (under autocast a low-precision copy
    for each of five, else one for each norm; with trained norms their normalised inputs as well); rotated queries, the
    attention's output and what o_proj reads; keys and values; gate, up, activation and product of the MLP; the seven
    adapters' inner values. For packed completions also their queries and, per completion, keys and values of prompt
    and completion side by side. On a CPU keys and values are expanded to all heads, and each layer keeps its mask.
    Fused layers keep the norms' inputs and outputs in the type of the weights, and no activation of the gate.
    """
    compute, tokens = work.compute_bytes, tokens_of(rows, work)
    fused = work.fused and work.packed and compute == work.weight_bytes
    casts = not fused and compute < 4 and (work.rank or work.weight_bytes == 4)
    key_value = shape.key_value if work.on_gpu else shape.query
    norms = 2 * shape.hidden * (compute if fused else 4) + (0 if work.rank else 2 * shape.hidden * work.weight_bytes)
    values = (5 if casts else 2) * shape.hidden + 3 * shape.query + 2 * key_value + 7 * work.rank
    values += (3 if fused else 4) * shape.inner
    own = 0
    if work.packed:
        own = sum(row.tokens * shape.query + 2 * (row.prompt_tokens + row.tokens) * key_value for row in rows)
        if not work.on_gpu:
            own += len({row.prompt for row in rows}) * work.completion * (work.prompt + work.completion)
    return tokens * (norms + values * compute) + own * compute


def vision_layer(shape: Shape, work: Work) -> float:
    """Bytes that one block of the vision tower keeps for each patch: as in the language model, without adapters."""
    compute, hidden, inner = work.compute_bytes, shape.vision_hidden, shape.vision_inner
    frozen = 2 * hidden * 4 + (4 * hidden + 3 * inner) * compute
    return frozen + (0 if work.rank else 2 * hidden * work.weight_bytes + (4 * hidden + inner) * compute)


def head(shape: Shape, work: Work, tokens: int, scored: int) -> float:
    """TRL's fused head: a tile of logits at a time, the float32 gradient of its input, and of its weight if trained.

    Packed or on a GPU, only completion tokens are scored. A GPU changes a tile in place; on a CPU there are eight
    float32 tiles at the widest moment of the backward pass.
    """
    known, words = scored if work.on_gpu or work.packed else tokens, min(shape.vocabulary, HEAD_WORDS)
    # the buffer is HEAD_WORDS wide even where the vocabulary is smaller
    tiles = min(known, HEAD_TOKENS) * (HEAD_WORDS * work.compute_bytes + (0 if work.on_gpu else 8 * words * 4))
    cast = words * shape.hidden * 4 if work.compute_bytes < work.weight_bytes else 0
    trained = 0 if work.rank else shape.vocabulary * shape.hidden * 4
    return tiles + cast + trained + known * shape.hidden * (4 + work.weight_bytes)


def in_full(shape: Shape, work: Work) -> float:
    """The largest matrix in 4 bits, written out in the type of the arithmetic while it is multiplied with."""
    return shape.hidden * shape.inner * work.compute_bytes if work.base_4bit else 0
