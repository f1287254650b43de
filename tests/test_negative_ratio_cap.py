"""--negative-ratio-cap: with several updates a wrong token counts at most so much more than when it was drawn."""

from math import exp

import pytest
import torch

from settings.arguments import parse_args
from tests import one_layer, plain_head
from trainers.trainer import TRAINERS

pytestmark = pytest.mark.methods
SAID = ["a b .", "b c d e .", "a .", "d a ."]  # right, wrong, right, wrong
SHIFTS = [
    0.1,
    1.2,
    -0.1,
    -0.1,
]  # log-ratio of every token: the second, wrong one is 3.3 times as probable as when drawn


def loss_gradient(folder, cap, shifts=SHIFTS, mode="w-reinforce"):
    """Gradient (float64) of an update whose tokens have these log-ratios, and the trainer that computed it."""
    settings = {"update": "plain", "negative_ratio_cap": cap}
    trainer = one_layer.trainer(TRAINERS[mode], folder, mode_settings=settings, steps_per_generation=1)
    rollout = plain_head.rollout(trainer, SAID)
    logps = torch.zeros(rollout["completion_ids"].shape, dtype=torch.float64)
    for row, text in enumerate(SAID):
        own = logp_of(trainer.model, text).detach() - shifts[row]
        logps[row, : len(own)] = own
    rollout["old_per_token_logps"] = logps
    kept = logps.clone()
    loss = trainer.compute_loss(trainer.model, rollout)
    assert torch.equal(rollout["old_per_token_logps"], kept), "the next pass over the batch needs them"
    return flat(torch.autograd.grad(loss, list(trainer.model.parameters()))), trainer


def logp_of(model, text):
    ids = torch.tensor([[one_layer.WORDS.index("ask"), *one_layer.say(text)]])
    logp = model.lm_head(model.model(input_ids=ids).last_hidden_state).log_softmax(-1)
    return logp[0, :-1].gather(-1, ids[0, 1:, None]).squeeze(-1)


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients])


def by_hand(trainer, factors):
    """-sum_i factor_i grad log pi(y_i) over all tokens, whatever the loss of the trainer."""
    tokens = sum(len(one_layer.say(text)) for text in SAID)
    total = sum(
        -factor / tokens * logp_of(trainer.model, text).sum() for factor, text in zip(factors, SAID, strict=True)
    )
    return flat(torch.autograd.grad(total, list(trainer.model.parameters())))


@pytest.mark.parametrize(
    ("cap", "wrong"), [(None, exp(1.2)), (1.0, 1.0), (2.0, 2.0), (4.0, exp(1.2))], ids=["none", "TOPR", "2", "4"]
)
def test_the_weight_of_a_wrong_token_by_hand(cap, wrong, tmp_path):
    got, trainer = loss_gradient(tmp_path, cap)
    expected = by_hand(trainer, [0.1 * exp(0.1), -wrong, 0.1 * exp(-0.1), -exp(-0.1)])
    assert (got - expected).norm() < 1e-7 * expected.norm()  # TRL keeps advantages in float32
    assert trainer._metrics["train"]["ratio/max"] == [pytest.approx(exp(1.2))], "reported as it is"


def test_a_right_token_and_a_wrong_one_that_has_become_less_likely_keep_theirs(tmp_path):
    shifts = [0.15, -0.15, 0.15, -0.1]
    free, _ = loss_gradient(tmp_path, None, shifts)
    capped, _ = loss_gradient(tmp_path, 1.0, shifts)
    assert torch.equal(free, capped)


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("update", ["shared", "plain"])
def test_at_one_update_it_changes_nothing_and_at_several_it_does(update, updates, tmp_path):
    weights = []
    for cap in (None, 1.0):
        settings = {"update": update, "negative_ratio_cap": cap}
        config = {"batch": 12 // updates, "steps_per_generation": updates, "max_steps": updates, "learning_rate": 0.05}
        trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path, mode_settings=settings, **config)
        # the wrong tokens share "b": pushing some down makes others likelier
        one_layer.fix_rollouts(trainer, ["b b .", "c c .", "d .", "e f g .", "g .", "f .", "a .", "b .", *["h ."] * 4])
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*weights) == (updates == 1)


def test_the_flag_takes_a_ratio_of_at_least_one():
    assert parse_args(["--mode", "nsr"]).negative_ratio_cap is None
    assert parse_args(["--mode", "grpo", "--negative-ratio-cap", "1"]).negative_ratio_cap == 1
    with pytest.raises(ValueError, match=r"--negative-ratio-cap 0\.9: must be at least 1"):
        parse_args(["--mode", "nsr", "--negative-ratio-cap", "0.9"])
