"""Packing rows into micro-batches: every row once, within the budget, prompts whole, evenly filled."""

from hypothesis import given
from hypothesis import strategies as st

from update.packing import Row, balance, cost, pack, pack_padded, padded_cost, spread


def rows_of(prompts: list[int], prompt_tokens: int, lengths: list[int]) -> list[Row]:
    return [Row(i, g, prompt_tokens, n) for i, (g, n) in enumerate(zip(prompts, lengths, strict=True))]


TWO_PROMPTS = rows_of([0, 0, 1, 1], 10, [1, 2, 3, 4])


def test_a_prompt_counts_once_in_a_pass_and_once_a_row_in_a_padded_one():
    assert cost(TWO_PROMPTS) == 10 + 3 + 10 + 7
    assert padded_cost(TWO_PROMPTS) == 4 * (10 + 4)


def test_one_pass_where_everything_fits_and_whole_prompts_where_not():
    assert pack(TWO_PROMPTS, 4, 30) == [TWO_PROMPTS]
    assert pack(TWO_PROMPTS, 4, 29) == [TWO_PROMPTS[:2], TWO_PROMPTS[2:]]
    assert pack(TWO_PROMPTS, 4, 34) == [TWO_PROMPTS[:2], TWO_PROMPTS[2:]], "half the budget holds each of them"
    assert pack(TWO_PROMPTS, 1, 34) == [TWO_PROMPTS]


def test_a_prompt_too_large_for_the_budget_is_split_and_the_budget_grows_when_nothing_else_helps():
    assert [cost(part) for part in pack(TWO_PROMPTS, 4, 14)] == [13, 13, 14]
    assert [cost(part) for part in pack(TWO_PROMPTS, 2, 5)] == [13, 17]


def test_rows_shuffled_by_trl_come_together_again():
    shuffled = [TWO_PROMPTS[i] for i in (2, 0, 3, 1)]
    assert pack(shuffled, 4, 29) == [TWO_PROMPTS[:2], TWO_PROMPTS[2:]]


def test_padded_rows_of_similar_length_go_together():
    parts = pack_padded(rows_of([0, 0, 1, 1, 1], 5, [9, 1, 8, 2, 3]), 2)
    assert [[row.tokens for row in part] for part in parts] == [[1, 2], [3, 8], [9]]


def test_processes_even_out_their_tokens_by_whole_prompts():
    heavy = rows_of([0, 0, 1, 2], 10, [5, 5, 5, 5])  # prompts of 20, 15 and 15 tokens
    assert balance([(0, row) for row in heavy], 2, 8) == [(0, 0, 1)]  # 30 here, 20 there
    assert balance([(0, row) for row in heavy], 2, 1) == [(0, 1, 1)]  # room for one row only
    assert balance([(0, heavy[2]), (1, heavy[3])], 2, 8) == []
    assert balance([(0, heavy[0]), (0, heavy[1])], 2, 8) == [], "one prompt alone gains nothing by moving"


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30)), min_size=1, max_size=24).map(
    lambda pairs: [Row(i, g, 7 + 5 * g, n) for i, (g, n) in enumerate(pairs)]
)


@given(rows, st.integers(1, 8), st.integers(1, 200))
def test_every_row_is_packed_once_and_never_into_more_passes_than_there_are(rows, most, budget):
    parts = pack(rows, most, budget)
    assert len(parts) <= most and all(parts)
    assert sorted(row.index for part in parts for row in part) == list(range(len(rows)))
    if cost(rows) <= budget // 2:
        assert len(parts) == 1
    longest = max(row.prompt_tokens + row.tokens for row in rows)
    if -(-len(rows) // most) * longest <= budget:  # the plain path would fit, so the packed one must
        assert max(map(cost, parts)) <= budget


@given(rows, st.integers(1, 8))
def test_spreading_never_takes_more_passes_than_asked(rows, count):
    parts = spread(rows, count)
    assert 1 <= len(parts) <= count
    assert sorted(row.index for part in parts for row in part) == list(range(len(rows)))


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11), st.integers(1, 90)), max_size=60),
    st.integers(2, 8),
    st.integers(1, 20),
)
def test_moves_can_be_made_all_at_once(held, processes, room):
    """Every prompt moves at most once, from where it is; nobody ends above its room or above the heaviest before."""
    rows = [(process % processes, Row(i, prompt, 20, tokens)) for i, (process, prompt, tokens) in enumerate(held)]
    moves = balance(rows, processes, room)
    assert len({prompt for _, prompt, _ in moves}) == len(moves)
    before: list[list[Row]] = [[] for _ in range(processes)]
    for process, row in rows:
        before[process].append(row)
    after = [list(part) for part in before]
    for source, prompt, to in moves:
        piece = [row for row in before[source] if row.prompt == prompt]
        assert piece and source != to
        after[source] = [row for row in after[source] if row not in piece]
        after[to] += piece
    assert max(map(cost, after)) <= max(map(cost, before))
    assert all(len(now) <= max(room, len(then)) for now, then in zip(after, before, strict=True))
