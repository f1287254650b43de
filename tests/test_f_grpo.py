"""F-GRPO by hand, and where it is GRPO."""

import pytest
import torch

from tests.scored import NAN, scored
from trainers.f_grpo import FGRPO

pytestmark = pytest.mark.methods


def batch(correct, generations=None):
    r = torch.tensor(correct, dtype=torch.float64)
    return scored(r, generations, advantages=(10 * r - 4).nan_to_num(0.0))  # +6 and -4: any numbers


@pytest.mark.parametrize(
    ("correct", "gamma", "expected"),
    [
        ([1, 0, 0, 0], 1.0, [4.5, -3, -3, -3]),
        ([1, 1, 1, 0], 1.0, [1.5, 1.5, 1.5, -1]),
        ([1, 1, 1, 0], 2.0, [0.375, 0.375, 0.375, -0.25]),
        ([1, 1, 1, 1], 1.0, [0, 0, 0, 0]),
        ([0, 0, 0, 0], 1.0, [-4, -4, -4, -4]),
        ([1, NAN, 0, NAN], 1.0, [3, 0, -2, 0]),
        ([NAN, NAN], 1.0, [0, 0]),
    ],
)
def test_weights_by_hand(correct, gamma, expected):
    assert FGRPO(focal_gamma=gamma).weights(batch(correct)).tolist() == pytest.approx(expected, abs=1e-12)


def test_with_gamma_zero_it_is_grpo():
    rows = batch([1, 0, NAN, 0, 1, 1, 1, 1, 0, 0, 0, 0], 4)
    assert torch.equal(FGRPO(focal_gamma=0.0).weights(rows), rows.advantages)


def test_its_line_has_the_mean_factor():
    assert FGRPO().line(batch([1, 0, 0, 0, 1, 1, NAN, NAN], 4)) == "F-GRPO: mean factor 0.500"  # 4 of 0.75, 2 of 0
