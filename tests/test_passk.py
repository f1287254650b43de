"""Pass@k training by hand, and its identities."""

from math import sqrt

import pytest
import torch

from estimate.timing import time_steps
from settings.arguments import parse_args
from tests import one_layer
from tests.scored import NAN, scored
from trainers.passk import PassK
from trainers.trainer import TRAINERS

pytestmark = pytest.mark.methods


def weights(correct, k, generations=None):
    return PassK(passk_k=k).weights(scored(torch.tensor(correct, dtype=torch.float64), generations)).tolist()


@pytest.mark.parametrize(
    ("correct", "k", "right", "wrong"),
    [
        ([1, 1, *[0] * 6], 4, 0.522, -0.174),  # rho = 1 - 15/70 = .7857
        ([1, 1, *[0] * 6], 1, 1.732, -0.577),  # GRPO with the deviation of a population
        ([1, 0, 0, 0], 2, 1.0, -1 / 3),  # rho = 1 - 3/6: .5/.5, and (.5 - 2/3)/.5
        ([1, 0, 0, 0], 3, 1 / sqrt(3), -1 / sqrt(27)),  # rho = 3/4, s = sqrt(3)/4: .25/s, and (.25 - 1/3)/s
    ],
)
def test_weights_by_hand(correct, k, right, wrong):
    assert weights(correct, k) == pytest.approx([right if r else wrong for r in correct], abs=5e-4)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_with_k_of_one_it_is_grpo_with_the_deviation_of_a_population(size):
    for right in range(size + 1):
        r = torch.tensor([1.0] * right + [0.0] * (size - right), dtype=torch.float64)
        grpo = (r - r.mean()) / (r.std(correction=0) if 0 < right < size else 1.0)
        assert weights(r.tolist(), 1) == pytest.approx(grpo.tolist(), abs=1e-12)


def test_groups_without_a_right_one_or_with_fewer_than_k_wrong_ones_have_no_weight():
    for correct in ([1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0], [1, NAN, 0, NAN], [NAN] * 4, [1, NAN, NAN, NAN]):
        assert weights(correct, 2) == [0, 0, 0, 0]
    assert all(weights([1, 1, 0, 0], 2)), "two of them do"
    assert weights([1, 0, 0, 1, NAN], 2)[:4] == weights([1, 0, 0, 1], 2), "an unscorable one is not counted"


def test_large_groups_keep_their_digits():
    """C(256, 64) is 5e61: the ratio of two such numbers is taken factor by factor."""
    from math import comb

    rho = 1 - comb(250, 64) / comb(256, 64)
    expected = (1 - rho) / sqrt(rho * (1 - rho))
    assert weights([1] * 6 + [0] * 250, 64)[0] == pytest.approx(expected, rel=1e-12)


def test_k_must_leave_room_for_a_right_completion():
    assert parse_args(["--mode", "passk"]).passk_k == 2
    assert parse_args(["--mode", "passk", "--passk-k", "7", "--num-generations", "8"]).passk_k == 7
    with pytest.raises(ValueError, match="--passk-k 4: must be below --num-generations 4"):
        parse_args(["--mode", "passk", "--passk-k", "4"])


def test_its_line_counts_the_prompts_with_weight():
    batch = scored(torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]), 4)
    assert PassK().line(batch) == "PASSK: 1/3 prompts with a right and 2 wrong ones"


@pytest.mark.parametrize("k", [1, 3])
def test_every_completion_has_weight_in_what_is_timed(k, tmp_path):
    """--estimate times the longest update, and no accuracies alike in every group give Pass@k of any K weight."""
    trainer = one_layer.trainer(TRAINERS["passk"], tmp_path, mode_settings={"passk_k": k}, rows=16)
    assert len(time_steps(trainer, [2, 4]).seconds) == 2
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["decomposed/kept_share"] for entry in logged] == [1.0] * 3
