"""MaxRL by hand, its identities by enumeration, and on the real trainer."""

import itertools

import pytest
import torch

from evaluation.reward_log import Counts, complaint
from settings.arguments import parse_args
from tests import one_layer
from tests.scored import NAN, scored
from trainers.maxrl import MaxRL
from trainers.trainer import TRAINERS

pytestmark = pytest.mark.methods


def weights(correct, generations=None):
    return MaxRL().weights(scored(correct, generations)).tolist()


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        ([1, 1, 0, 0, 0, 0, 0, 0], [3, 3, -1, -1, -1, -1, -1, -1]),
        ([1, 0, 0, 0], [3, -1, -1, -1]),
        ([1, 1, 1, 0], [1 / 3, 1 / 3, 1 / 3, -1]),
        ([1, 0], [1, -1]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([1, 1, 1, 1], [0, 0, 0, 0]),
        ([1, NAN, 0, 0], [2, 0, -1, -1]),  # p = 1/3: the unscorable one is not counted
        ([NAN, NAN, NAN, NAN], [0, 0, 0, 0]),
        ([1, NAN, NAN, NAN], [0, 0, 0, 0]),
    ],
)
def test_weights_by_hand(correct, expected):
    assert weights(correct) == pytest.approx(expected, abs=1e-12)


def test_groups_are_weighed_by_themselves_wherever_their_rows_stand():
    groups = [[1, 0, 0, 0], [1, 1, 0, NAN], [0, 0, 0, 0]]
    together = [verdict for group in groups for verdict in group]
    apart = [weight for group in groups for weight in weights(group)]
    assert weights(together, 4) == apart
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    batch = scored(torch.tensor(together)[order], prompt=(torch.arange(12) // 4)[order])
    assert MaxRL().weights(batch).tolist() == [apart[row] for row in order]


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_weights_of_a_group_add_up_to_zero_and_wrong_ones_of_mixed_groups_are_minus_one(size):
    for right in range(size + 1):
        got = torch.tensor(weights([1] * right + [0] * (size - right)))
        assert got.sum().abs() < 1e-6
        assert set(got[right:].tolist()) <= ({-1.0} if right else {0.0})


def test_with_two_completions_it_is_grpo_up_to_a_factor():
    for correct in ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]):
        r = torch.tensor(correct)
        grpo = (r - r.mean()) / (r.std() + 1e-4)
        assert torch.allclose(MaxRL().weights(scored(r)), grpo.double() * 2**0.5, atol=1e-3)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_group_ascends_the_expansion_of_log_j_to_one_order_less_than_its_size(size):
    """E[mean over the group of A * grad log pi] = (1 - (1 - J)^(G-1)) / J * grad J, over every draw of answers."""
    logits = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64)
    pi, right = logits.softmax(0), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    score = torch.eye(3, dtype=torch.float64) - pi  # (answer, logit): grad log pi of each answer
    total = torch.zeros(3, dtype=torch.float64)
    for draw in itertools.product(range(3), repeat=size):
        rows = list(draw)
        total += pi[rows].prod() * (MaxRL().weights(scored(right[rows])) @ score[rows]) / size
    j = pi @ right
    grad_j = (pi * right) @ score
    assert torch.allclose(total, (1 - (1 - j) ** (size - 1)) / j * grad_j, rtol=1e-12, atol=0)


def test_the_trainer_trains_on_them_and_says_so(tmp_path, capsys):
    trainer = one_layer.trainer(TRAINERS["maxrl"], tmp_path, batch=8, mode_settings={"normaliser": "kept"})
    one_layer.fix_rollouts(trainer, ["a b .", "b c .", "h .", "d a .", "b .", "c .", "d .", "b c ."])
    trainer.train()
    scale = 18 / 9  # tokens of the scorable rows over those of the rows with weight
    expected = [2 * scale, -scale, 0, -scale, 0, 0, 0, 0]
    assert list(trainer._logs["advantages"]) == pytest.approx(expected, abs=1e-5)
    printed = capsys.readouterr().out.splitlines()
    assert "Rewards Accuracy: [1.0, -1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]" in printed
    assert "MAXRL: 1/2 prompts with right and wrong completions" in printed


def test_the_reward_check_wants_both_signs():
    assert complaint("maxrl", Counts(positive=1, negative=3)) is None
    assert complaint("maxrl", Counts(zero=9)) == (
        "MaxRL should have both positive and negative rewards, found no positive ones"
    )


def test_its_command_line_has_the_flags_of_the_others_and_none_of_w_reinforce():
    assert parse_args(["--mode", "maxrl", "--reward-threshold", "0.7", "--normaliser", "kept"]).mode == "maxrl"
    with pytest.raises(ValueError, match="--lambda-psr is not used by --mode maxrl, only by w-reinforce"):
        parse_args(["--mode", "maxrl", "--lambda-psr", "0.1"])
