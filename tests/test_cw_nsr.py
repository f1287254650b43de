"""CW-NSR by hand, and where it is NSR."""

from math import log

import pytest
import torch

from settings.arguments import parse_args
from tests import one_layer
from tests.scored import NAN, scored
from trainers.cw_nsr import CWNSR
from trainers.nsr import NSR
from trainers.trainer import TRAINERS

pytestmark = pytest.mark.methods


def batch(correct, likelihoods):
    logps = torch.tensor([log(one) for one in likelihoods], dtype=torch.float64)
    return scored(torch.tensor(correct, dtype=torch.float64), mean_logp=logps)


@pytest.mark.parametrize(
    ("correct", "likelihoods", "expected"),
    [
        ([0, 0, 1, 0], [0.2, 0.4, 0.6, 0.8], [-0.4, -0.8, 0, -1.6]),  # over their mean, 0.5
        ([0, 0], [0.01, 0.79], [-0.25, -1.975]),  # 0.025 is less than the least
        ([0, *[0] * 9], [0.9, *[0.01] * 9], [-4, *[-0.25] * 9]),  # 9.09 is more than the most, 0.101 less
        ([0, NAN, 0], [0.2, 0.9, 0.6], [-0.5, 0, -1.5]),  # an unscorable one is not in the mean
        ([1, 1], [0.1, 0.9], [0, 0]),
        ([NAN, NAN], [0.1, 0.9], [0, 0]),
    ],
)
def test_weights_by_hand(correct, likelihoods, expected):
    assert CWNSR().weights(batch(correct, likelihoods)).tolist() == pytest.approx(expected, abs=1e-12)


def test_equally_likely_completions_and_bounds_of_one_give_nsr():
    correct = [0, 1, 0, NAN]
    for method, likelihoods in ((CWNSR(), [0.3] * 4), (CWNSR(weight_least=1.0, weight_most=1.0), [0.1, 0.2, 0.9, 0.5])):
        rows = batch(correct, likelihoods)
        assert torch.allclose(method.weights(rows), NSR().weights(rows), rtol=0, atol=1e-12)


def test_the_likelier_error_weighs_more_and_ds_grpo_disagrees():
    from trainers.ds_grpo import DSGRPO

    rows = scored(torch.zeros(3), mean_logp=torch.tensor([-0.1, -1.0, -3.0]), advantages=torch.zeros(3))
    assert CWNSR().weights(rows).diff().gt(0).all() and DSGRPO().weights(rows).diff().lt(0).all()


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match=r"--weight-least 5.0 is more than --weight-most 4.0"):
        parse_args(["--mode", "cw-nsr", "--weight-least", "5"])


SAID = ["a b .", "b c d .", "h .", "d a ."]


@pytest.mark.parametrize("mode", ["cw-nsr", "ds-grpo"])
@pytest.mark.parametrize("updates", [1, 2])
def test_a_rollout_without_log_probabilities_computes_them(mode, updates, tmp_path, capsys):
    """transformers' generate keeps none: those of the weights at hand are taken, whatever the number of updates."""
    trainer = one_layer.trainer(
        TRAINERS[mode], tmp_path, batch=4 // updates, steps_per_generation=updates, rewards=[one_layer.accuracy]
    )
    one_layer.fix_rollouts(trainer, SAID)
    logps = [mean_logp(one_layer.say(words)) for words in SAID]
    trainer.train()
    rows = scored(torch.tensor([1, 0, NAN, 0]), mean_logp=torch.tensor(logps), advantages=torch.zeros(4))
    r = torch.tensor([1.0, 0, 0])
    rows.advantages[[0, 1, 3]] = (r - r.mean()) / (r.std() + 1e-4)
    expected = trainer.method.weights(rows).tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx(expected, abs=1e-5)
    assert trainer.method.line(rows) in capsys.readouterr().out.splitlines()


def mean_logp(completion: list[int]) -> float:
    ids = torch.tensor([[one_layer.WORDS.index("ask"), *completion]])
    with torch.no_grad():
        logps = one_layer.model()(input_ids=ids).logits.log_softmax(-1)
    return logps[0, :-1].gather(-1, ids[0, 1:, None]).mean().item()
