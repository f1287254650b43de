"""The loss that TRL computes from our advantages, in float64 with a plain head: exact identities on fixed batches."""

import pytest
import torch

from tests import one_layer, plain_head
from trainers.trainer import TRAINERS

# Two right, two wrong, ragged; 4 tokens of 12 are right, so that no factor of the kept normaliser rounds in the float32
# that TRL keeps advantages in. For the same reason lambda is 1/8 here.
BATCH = ["a .", "b c d e .", "a .", "d a ."]


def gradient(mode, folder, completions=BATCH, lambda_psr=None, **settings):
    """Gradient of the mode's loss on a fixed rollout batch, flattened, float64."""
    mode_settings = {key: settings.pop(key) for key in ("normaliser",) if key in settings}
    if lambda_psr is not None:
        mode_settings["lambda_psr"] = lambda_psr
    trainer = one_layer.trainer(TRAINERS[mode], folder, mode_settings=mode_settings, **settings)
    one_layer.fix_rollouts(trainer, completions)
    trainer.model = trainer.model.double()
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    rollout = trainer._generate_and_score_completions([{"prompt": "ask"}] * len(completions))
    plain_head.use(trainer.model)
    loss = trainer._compute_loss(trainer.model, rollout)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(trainer.model.parameters()))]), trainer


def policy_gradient(trainer, completions, advantages, divisor):
    """-sum_i A_i grad log pi(y_i) / divisor_i by hand, independent of the trainer's loss."""
    model, total = trainer.model, 0.0
    for text, advantage, weight in zip(completions, advantages, divisor, strict=True):
        ids = torch.tensor([[one_layer.WORDS.index("ask"), *one_layer.say(text)]])
        logp = model.lm_head(model.model(input_ids=ids).last_hidden_state).log_softmax(-1)
        total = total - advantage / weight * logp[0, :-1].gather(-1, ids[0, 1:, None]).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])


def close(one, other):
    return (one - other).norm() <= 1e-9 * other.norm()


AVERAGING = [{"loss_type": "dapo"}, {"loss_type": "grpo"}]
LENGTHS = [len(one_layer.say(text)) for text in BATCH]


@pytest.mark.parametrize("settings", AVERAGING, ids=["token", "sequence"])
def test_w_reinforce_is_lambda_psr_plus_nsr(settings, tmp_path):
    psr, nsr = (gradient(mode, tmp_path, **settings)[0] for mode in ("psr", "nsr"))
    for weight in (0.125, 1.0, 0.0):
        weighted, _ = gradient("w-reinforce", tmp_path, lambda_psr=weight, **settings)
        assert close(weighted, weight * psr + nsr)


@pytest.mark.parametrize(
    ("mode", "advantages"), [("psr", [1, 0, 1, 0]), ("nsr", [0, -1, 0, -1]), ("w-reinforce", [1, -1, 1, -1])]
)
@pytest.mark.parametrize("normaliser", ["all", "kept"])
@pytest.mark.parametrize("settings", AVERAGING, ids=["token", "sequence"])
def test_the_gradient_is_the_formula(mode, advantages, normaliser, settings, tmp_path):
    weight = 1.0 if mode == "w-reinforce" else None  # lambda = 1: plain REINFORCE with rewards +1 and -1
    got, trainer = gradient(mode, tmp_path, lambda_psr=weight, normaliser=normaliser, **settings)
    kept = [value != 0 or normaliser == "all" for value in advantages]
    if settings["loss_type"] == "dapo":  # all tokens that count
        divisor = [sum(length for length, k in zip(LENGTHS, kept, strict=True) if k)] * len(BATCH)
    else:  # the rows that count, each by its own length
        divisor = [sum(kept) * length for length in LENGTHS]
    assert close(got, policy_gradient(trainer, BATCH, advantages, divisor))


def test_padding_never_reaches_the_loss(tmp_path):
    """The same rows beside a longer one: their part of the gradient differs by the normaliser alone."""
    short, _ = gradient("psr", tmp_path, completions=["a b .", "b .", "a .", "b ."], loss_type="grpo")
    long, _ = gradient("psr", tmp_path, completions=["a b .", "b b b b .", "a .", "b ."], loss_type="grpo")
    assert close(short, long)
