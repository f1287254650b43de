"""Which completions an update computes, and how they are spread over its forward passes.

An optimiser step has a fixed number of micro-batches. The rows that can move the weights are packed into as few of them
as a token budget allows, evenly; the others stay empty and are skipped. Pure functions on lists, no tensors.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One completion: its place in the window, its prompt, and the tokens of both."""

    index: int
    prompt: int  # rows with the same number have the same prompt
    prompt_tokens: int
    tokens: int


def cost(rows: Sequence[Row]) -> int:
    """Tokens of a forward pass over these rows: every prompt once."""
    return sum(row.tokens for row in rows) + sum({row.prompt: row.prompt_tokens for row in rows}.values())


def padded_cost(rows: Sequence[Row]) -> int:
    """Tokens of a forward pass in which every row is a row of its own, as long as the longest."""
    return len(rows) * (max(row.prompt_tokens for row in rows) + max(row.tokens for row in rows))


def pack(rows: Sequence[Row], most: int, budget: int) -> list[list[Row]]:
    """Rows in at most `most` micro-batches of at most `budget` tokens each where that is possible, evenly filled.

    The budget is what a plain micro-batch would hold. Whole prompts in half of it come first, which halves the memory;
    then whole prompts; then prompts split over passes, each of which computes the prompt again. When `most`
    micro-batches of the budget cannot hold the rows, it grows to the smallest that can.
    """
    if not rows:
        return []
    groups, single = _pieces(rows)
    for pieces, limit in ((groups, budget // 2), (groups, budget), (single, budget)):
        count = len(_fill(pieces, limit))
        if count <= most and max(map(cost, pieces)) <= limit:
            return _evenly(pieces, count)
    return _evenly(single, most)


def pack_fewest(rows: Sequence[Row], most: int, budget: int, fits: Callable[[Sequence[Row]], bool]) -> list[list[Row]]:
    """Rows in as few micro-batches of at most `budget` tokens as there can be if each of them is to fit.

    Where they do not, the budget shrinks, as long as `most` micro-batches can hold the rows.
    """
    if not rows:
        return []
    groups, single = _pieces(rows)
    while True:
        for pieces in (groups, single):
            packed = _evenly(pieces, len(_fill(pieces, budget)))
            if len(packed) <= most and max(map(cost, packed)) <= budget:
                break
        else:
            return _evenly(single, most)
        if all(map(fits, packed)) or len(packed) == most:
            return packed
        budget = max(map(cost, packed)) * 3 // 4


def _pieces(rows: Sequence[Row]) -> tuple[list[list[Row]], list[list[Row]]]:
    """The rows by prompt, and each by itself, both in order of prompt."""
    rows = sorted(rows, key=lambda row: (row.prompt, row.index))
    groups: list[list[Row]] = []
    for row in rows:
        if groups and groups[-1][0].prompt == row.prompt:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups, [[row] for row in rows]


def spread(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Rows in at most `count` micro-batches, evenly; prompts stay whole where there are enough of them."""
    if not rows:
        return []
    return pack(rows, count, -(-cost(rows) // count) + max(row.prompt_tokens + row.tokens for row in rows))


def balance(rows: Sequence[tuple[int, Row]], processes: int, room: int) -> list[tuple[int, int, int]]:
    """Moves (from process, prompt, to process) that even out the tokens of the processes' rows (process, row).

    Whole prompts go from the process with most to the one with least, each once at most, as long as that lightens the
    heaviest by a twentieth; no process gets more than `room` rows.
    """
    held: list[dict[int, list[Row]]] = [{} for _ in range(processes)]
    for process, row in rows:
        held[process].setdefault(row.prompt, []).append(row)
    loads = [sum(map(cost, prompts.values())) for prompts in held]
    moves: list[tuple[int, int, int]] = []
    moved: set[int] = set()
    while True:
        heavy, light = loads.index(max(loads)), loads.index(min(loads))
        free = room - sum(map(len, held[light].values()))
        pieces = [
            (max(loads[heavy] - cost(piece), loads[light] + cost(piece)), prompt)
            for prompt, piece in held[heavy].items()
            if len(piece) <= free and prompt not in held[light] and prompt not in moved
        ]
        if not pieces or min(pieces)[0] > 0.95 * loads[heavy]:
            return moves
        prompt = min(pieces)[1]
        piece = held[heavy].pop(prompt)
        held[light][prompt] = piece
        loads[heavy], loads[light] = loads[heavy] - cost(piece), loads[light] + cost(piece)
        moves.append((heavy, prompt, light))
        moved.add(prompt)


def pack_padded(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """Rows of similar length together, `size` to a micro-batch, for models that cannot share a prompt."""
    rows = sorted(rows, key=lambda row: (row.tokens, row.prompt_tokens, row.index))
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def _fill(pieces: Sequence[list[Row]], budget: int) -> list[list[Row]]:
    """Pieces in order of prompt, a new micro-batch whenever the next piece does not fit."""
    out: list[list[Row]] = []
    room = 0
    for piece in pieces:
        own = sum(row.tokens for row in piece)
        known = bool(out) and out[-1][-1].prompt == piece[0].prompt
        if out and own + (0 if known else piece[0].prompt_tokens) <= room:
            room -= own + (0 if known else piece[0].prompt_tokens)
            out[-1].extend(piece)
        else:
            out.append(list(piece))
            room = budget - own - piece[0].prompt_tokens
    return out


def _evenly(pieces: Sequence[list[Row]], count: int) -> list[list[Row]]:
    """The partition into at most `count` runs of pieces whose largest run is smallest."""
    least, most = max(map(cost, pieces)), sum(map(cost, pieces))
    budget = least + bisect_left(range(least, most), True, key=lambda budget: len(_fill(pieces, budget)) <= count)
    return _fill(pieces, budget)
