"""AsymRE by hand, and the methods at the ends of its baseline."""

import pytest
import torch

from settings.arguments import parse_args
from tests.scored import NAN, scored
from trainers.asymre import AsymRE
from trainers.nsr import NSR
from trainers.psr import PSR

pytestmark = pytest.mark.methods


def weights(correct, shift=-0.1):
    return AsymRE(baseline_shift=shift).weights(scored(torch.tensor(correct, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("correct", "shift", "expected"),
    [
        ([1, 0, 0, 0], -0.1, [0.85, -0.15, -0.15, -0.15]),
        ([1, 1, *[0] * 6], -0.1, [0.85, 0.85, *[-0.15] * 6]),
        ([0, 0], -0.1, [0.1, 0.1]),  # everything that was drawn becomes likelier
        ([1, 1], -0.1, [0.1, 0.1]),
        ([1, 1], 0.2, [-0.2, -0.2]),
        ([1, NAN, 0], 0.0, [0.5, 0, -0.5]),
        ([NAN, NAN], -0.1, [0, 0]),
    ],
)
def test_weights_by_hand(correct, shift, expected):
    assert weights(correct, shift).tolist() == pytest.approx(expected, abs=1e-12)


def test_without_a_shift_it_is_rloo_up_to_scale():
    r = torch.tensor([1.0, 0, 0, 1, 0], dtype=torch.float64)
    rloo = r - (r.sum() - r) / 4  # less the mean of the others
    assert torch.allclose(weights(r.tolist(), 0.0), rloo * 4 / 5, rtol=0, atol=1e-15)


def test_a_baseline_of_one_is_nsr_and_of_zero_psr():
    r = [1, 0, 0, 1]  # p = 1/2
    rows = scored(torch.tensor(r, dtype=torch.float64))
    assert torch.equal(weights(r, 0.5), NSR().weights(rows)) and torch.equal(weights(r, -0.5), PSR().weights(rows))


def test_the_weights_of_a_group_add_up_to_its_size_times_minus_the_shift():
    for correct in ([1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]):
        assert weights(correct, 0.3).sum().item() == pytest.approx(-1.2)


def test_the_shift_is_between_minus_one_and_one():
    assert parse_args(["--mode", "asymre", "--baseline-shift", "-0.25"]).baseline_shift == -0.25
    with pytest.raises(ValueError, match=r"--baseline-shift -1\.5: must be at least -1 and at most 1"):
        parse_args(["--mode", "asymre", "--baseline-shift", "-1.5"])
