"""A reward of one's own: short completions, asked for more and more in the first half of the run.

python main.py --mode grpo --reward accuracy format=0.2 examples/reward.py:concise=0.1
"""

from rewards.completions import text_of

FREE, MOST = 60, 120  # words


def concise(completions: list, *, trainer_state, **columns) -> list[float | None]:
    """1 for up to 60 words, falling to 0 at 120, and counted less while the run is young; None for an empty one.

    `columns` are TRL's others (prompts, completion_ids, image, problem_id, log_metric, log_extra) and what the question
    of each completion says (question, answers, kind, chart_type, table, reasoning, ...).
    """
    grown = min(1.0, 2 * trainer_state.global_step / max(1, trainer_state.max_steps))
    counts = [len(text_of(completion).split()) for completion in completions]
    return [1 - grown * (1 - min(1.0, max(0.0, (MOST - n) / (MOST - FREE)))) if n else None for n in counts]
