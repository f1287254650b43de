"""DS-GRPO by hand, and where it is GRPO."""

import pytest
import torch

from tests.scored import NAN, scored
from trainers.ds_grpo import DSGRPO

pytestmark = pytest.mark.methods


def batch(correct, logps):
    """With GRPO's weights of r alone, as TRL computes them."""
    r = torch.tensor(correct, dtype=torch.float64)
    known = r[~r.isnan()]
    grpo = ((r - known.mean()) / (known.std() + 1e-4)).nan_to_num(0.0)
    return scored(r, mean_logp=torch.tensor(logps, dtype=torch.float64), advantages=grpo)


@pytest.mark.parametrize(
    ("correct", "logps", "expected"),
    [
        ([1, 0, 0, 0], [-2, -1, -0.4, -4], [1.4997 + 0.1, -0.4999 - 0.05, -0.4999 - 0.02, -0.4999 - 0.2]),
        ([0, 0], [-1, -3], [-0.05, -0.15]),
        ([1, 1], [-1, -3], [0.05, 0.15]),
        ([1, NAN, 0], [-2, -1, -1], [0.7070 + 0.1, 0, -0.7070 - 0.05]),
    ],
)
def test_weights_by_hand(correct, logps, expected):
    assert DSGRPO().weights(batch(correct, logps)).tolist() == pytest.approx(expected, abs=1e-4)


def test_without_smoothing_it_is_grpo():
    rows = batch([1, 0, NAN, 0, 1], [-1, -2, -3, -4, -5])
    assert torch.equal(DSGRPO(smooth_correct=0.0, smooth_wrong=0.0).weights(rows), rows.advantages)


def test_the_rarer_completion_gains_or_loses_more():
    rows = batch([1, 1, 0, 0], [-1, -3, -1, -3])
    first, second, third, fourth = DSGRPO().weights(rows).tolist()
    assert second > first > 0 > third > fourth
