"""How much memory rollouts take on each device, and what decoding keeps between them: the half of `update.memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampling.sizes import BLOCK_STEPS, FIRST_ROOM, FIXED_ROOM, KEPT_SHARE, MIN_ROWS, PASS_TOKENS, prompt_room
from update.layer_memory import in_full

if TYPE_CHECKING:
    from update.memory import Counts, Shape, Work

CHOICE_BYTES = 5 * 4  # for a vocabulary entry and row while a token is chosen: five float32 numbers


def rollout(shape: Shape, counts: Counts, work: Work) -> float:
    """Keys and values of the whole rollout batch, the logits of one step, and copies of weights for rollouts alone.

    In steps of fixed shape: a prompt's keys and values as computed, `fixed_buffers`, and a copy of the completions'
    while their room doubles. The engine without them: a prompt's keys and values once (twice with several prompts: as
    computed, and stacked), every completion's in room that doubles, old and new side by side while it grows. Otherwise
    prompt and completion for every row. On a GPU prompts are computed `PASS_TOKENS` at a time: gate, up, activation and
    product of an MLP, and its input. The choice of a token holds `CHOICE_BYTES` a vocabulary entry and row. Merged
    adapters: a second copy of the weights they sit on, in float32 only. ZeRO-3: all weights are gathered for
    generation. After it TRL holds the pixels of every row twice, while it shuffles them.
    """
    rows, prompts = work.rows * work.updates, work.prompts_in_rollout
    of_token = 2 * shape.layers * shape.key_value * work.weight_bytes
    fixed = decodes_fixed(counts, work)
    if fixed:
        last = last_room(work)
        cached = prompts * work.prompt + (last // 2 * padded_rows(work) if last > FIXED_ROOM else 0)
    elif work.engine:
        cached = (2 if prompts > 1 else 1) * prompts * work.prompt + max(rows, MIN_ROWS) * room(work.completion)
    else:
        cached = rows * (work.prompt + work.completion)
    merges = work.rank and work.engine and work.weight_bytes == 4 and not (fixed or work.base_4bit)
    merged = 4 * counts.adapted if merges else 0
    gathered = work.weight_bytes * counts.total if work.zero == 3 else 0
    decoding: float = of_token * cached + merged + gathered
    decoding += fixed_buffers(shape, work) if fixed else rows * shape.vocabulary * CHOICE_BYTES
    prefill, before, full = 0.0, kept(shape, counts, work), in_full(shape, work)
    if work.engine and work.on_gpu:
        together = min(prompts, max(1, PASS_TOKENS // work.prompt)) * work.prompt
        prefill = (
            of_token * prompts * work.prompt + together * (4 * shape.inner + 4 * shape.hidden) * work.compute_bytes
        )
    return max(decoding + full, prefill + full + merged + gathered + before, 2 * rows * work.image_bytes + before)


def decodes_fixed(counts: Counts, work: Work) -> bool:
    """Whether rollouts take the fixed step, which wants weights in the type of the arithmetic."""
    return counts.fixed_steps and work.engine and work.on_gpu and work.weight_bytes == work.compute_bytes


def fixed_buffers(shape: Shape, work: Work) -> float:
    """What the fixed step has on the device while it decodes, and keeps for the next rollout if that is not too much.

    Prompts' keys and values side by side, padded; completions' in the room they have at the end; q, k and v of all
    layers, once more, with the adapters' inner values beside them; what a layer writes (q, k, v, the same turned,
    cosines, the queries four times by prompt, attention's output, gate and up) once for all layers; tokens,
    log-probabilities, entropies (16 bytes) and `BLOCK_STEPS` random numbers a row; in the graphs' pool what the choice
    of a token holds.
    """
    rows, inputs = padded_rows(work), shape.query + 2 * shape.key_value
    cached = work.prompts_in_rollout * prompt_room(work.prompt) + rows * last_room(work)
    numbers = 2 * shape.layers * shape.key_value * cached
    numbers += shape.layers * (inputs + 3 * work.rank) * shape.hidden
    numbers += rows * (3 * inputs + 3 * work.rank + 5 * shape.query + 2 * shape.inner)
    tape = rows * (16 * work.completion + 8 * BLOCK_STEPS)
    return numbers * work.weight_bytes + tape + rows * shape.vocabulary * CHOICE_BYTES


def kept(shape: Shape, counts: Counts, work: Work) -> float:
    """What decoding keeps while the update runs.

    Nothing that exceeds its share of the card, nor under ZeRO-3; and a trainer that plans its passes takes it back
    where it is in their way (update/pass_room.py), so a card that is just large enough need not hold it.
    """
    if not decodes_fixed(counts, work) or work.zero == 3 or (work.plans and work.least):
        return 0.0
    found = fixed_buffers(shape, work)
    return found if found <= KEPT_SHARE * work.card else 0.0


def padded_rows(work: Work) -> int:
    return -(-work.rows * work.updates // MIN_ROWS) * MIN_ROWS


def last_room(work: Work) -> int:
    """Completion tokens that a row of the fixed step has room for at the end: a power of two."""
    return max(FIXED_ROOM, 1 << (work.completion - 1).bit_length())


def room(limit: int) -> int:
    """Completion tokens that a row has room for at the widest moment: the old room and the new one while it grows."""
    size = widest = min(FIRST_ROOM, limit)
    while size < limit:
        size, old = min(2 * size, limit), size
        widest = size + old
    return widest
