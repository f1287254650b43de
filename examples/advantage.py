"""An advantage of one's own: right answers that were unlikely count more (arXiv 2506.02355), then GRPO.

python main.py --mode own-advantage --advantage examples/advantage.py:unlikely --num-generations 8
"""

from torch import Tensor

from trainers.method import ScoredBatch

LESS_FOR_LIKELY = 0.25


def unlikely(batch: ScoredBatch) -> Tensor:
    """r' = r (1 - 0.25 rank / G), rank 0 the least likely of a prompt; then r' less its mean, over its deviation.

    `correct` is nan where a completion could not be scored: `group_sum` leaves those out, and their weight must be 0.
    """
    same_prompt = batch.prompt[:, None] == batch.prompt
    less_likely = same_prompt & batch.scorable & (batch.mean_logp < batch.mean_logp[:, None])  # (B, B)
    size = batch.group_sum(batch.scorable)
    reward = batch.correct * (1 - LESS_FOR_LIKELY * less_likely.sum(1) / size)
    mean = batch.group_sum(reward) / size
    deviation = (batch.group_sum((reward - mean) ** 2) / (size - 1).clamp(min=1)).sqrt()
    return ((reward - mean) / (deviation + 1e-4)).where(batch.scorable, 0.0)
