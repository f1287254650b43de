"""--loss: TRL's losses by hand, the packed update's gradient under each, what is refused, what is said."""

import pytest
import torch

from settings.arguments import parse_args
from settings.grpo_config import build_config
from settings.losses import LOSSES, trl_fields
from tests import one_layer, plain_head
from tests.test_negative_ratio_cap import flat, logp_of
from tests.test_packed_update import LENGTHS, RIGHT, gap, train
from trainers.trainer import TRAINERS
from training.report import own_defaults

ALL = pytest.mark.parametrize("loss", LOSSES)
SAID = ["a b .", "b c d e .", "a .", "d a ."]  # right, wrong, right, wrong
SHIFTS = [0.05, 0.4, -0.1, -0.15]  # mean log-ratio of each; its tokens are 0.03 above and below it in turn
A, CUT = [0.125, -1, 0.125, -1], 0.2


def at(loss: str) -> dict:
    return (
        {**trl_fields(loss), "epsilon_high": LOSSES[loss].defaults["clip_high"]}
        if loss == "cispo"
        else trl_fields(loss)
    )


def log_ratios(row: int) -> torch.Tensor:
    count = len(one_layer.say(SAID[row]))
    return SHIFTS[row] + 0.03 * torch.tensor([1.0, -1.0] * count, dtype=torch.float64)[:count]


def factor(loss: str, row: int) -> torch.Tensor:
    """What each token's gradient of its log-probability is multiplied with: (T,)."""
    x = log_ratios(row)
    r, whole, tokens, mine = x.exp(), x.mean().exp(), sum(len(one_layer.say(text)) for text in SAID), len(x)
    if loss in ("dapo", "grpo", "dr_grpo", "bnpo", "gspo", "luspo"):  # PPO's: no gradient beyond the clip
        weight = whole.expand(mine) if LOSSES[loss].ratio == "sequence" else r
        over = weight > 1 + CUT if A[row] > 0 else weight < 1 - CUT
        weight = weight.where(~over, 0.0)
    elif loss == "cispo":
        weight = r.clamp(max=5.0)
    elif loss == "sapo":
        gate = torch.sigmoid((1.0 if A[row] > 0 else 1.05) * (r - 1))
        weight = 4 * gate * (1 - gate) * r
    else:
        k, bend = (2, 3) if A[row] > 0 else (3, 2)
        weight = (bend + k * x.sum() - bend * x.sum().exp()).exp().expand(mine)
    over = {"dr_grpo": 4 * 5, "luspo": 4}.get(loss, tokens if LOSSES[loss].averaging == "token" else 4 * mine)
    return A[row] * weight / over


@ALL
def test_the_gradient_by_hand_off_the_policy(loss, tmp_path):
    trainer = one_layer.trainer(
        TRAINERS["w-reinforce"], tmp_path, mode_settings={"update": "plain", "lambda_psr": 0.125}, **at(loss)
    )
    rollout = plain_head.rollout(trainer, SAID)
    logps = torch.zeros(rollout["completion_ids"].shape, dtype=torch.float64)
    expected = 0.0
    for row, text in enumerate(SAID):
        own = logp_of(trainer.model, text)
        logps[row, : len(own)] = own.detach() - log_ratios(row)
        expected = expected - (factor(loss, row) * own).sum()
    parameters = list(trainer.model.parameters())
    expected = flat(torch.autograd.grad(expected, parameters))
    rollout["old_per_token_logps"] = logps
    got = flat(torch.autograd.grad(trainer.compute_loss(trainer.model, rollout), parameters))
    assert (got - expected).norm() < 1e-7 * expected.norm()  # vespo's parameters are float32 in TRL


TWO = {
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
    "max_steps": 2,
    "optim": "sgd",
    "learning_rate": 0.5,
}


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=[pytest.mark.slow] * (loss not in ("dapo", "grpo"))) for loss in LOSSES]
)
def test_the_packed_update_has_the_gradient_of_the_plain_one_at_both_updates_of_a_batch(loss, tmp_path, capsys):
    plain, _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **TWO, **at(loss))
    packed, trainer, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **TWO, **at(loss))
    assert len(plain) == len(packed) == 2 and less < computed
    for one, other in zip(packed, plain, strict=True):
        assert other.norm() > 0 and gap(one, other) < 1e-9
    assert trainer.state.log_history[1]["ratio/max"] > 1.001, "the ratios have moved"
    said = "bnpo divides by the tokens of each pass: rows without weight stay" in capsys.readouterr().out
    assert said == (not trainer.repacks_rows) == (loss == "bnpo")


@pytest.mark.parametrize(("loss", "same"), [("cispo", "dapo"), ("vespo", "dapo"), ("sapo", "grpo"), ("gspo", "grpo")])
def test_at_one_update_a_ratio_of_one_leaves_the_averaging_alone(loss, same, tmp_path):
    (one,), _, _ = train(tmp_path / "one", "shared", LENGTHS, RIGHT, **at(loss))
    (other,), _, _ = train(tmp_path / "other", "shared", LENGTHS, RIGHT, **at(same))
    assert gap(one, other) < 1e-9


@pytest.mark.parametrize("loss", ["cispo", "sapo", "gspo"])
def test_what_is_clipped_is_logged_as_on_the_plain_path(loss, tmp_path):
    """One micro-batch an update, so that TRL's means of means are plain means."""
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": 2,
               "max_steps": 2, "learning_rate": 0.03, "mode": "psr" if loss == "cispo" else "nsr"}  # fmt: skip
    options |= at(loss) | ({"epsilon_high": 1.001} if loss == "cispo" else {"epsilon": 1e-3})
    _, one, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    _, other, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    for plain, packed in zip(one.state.log_history[:2], other.state.log_history[:2], strict=True):
        names = [name for name in plain if "clip_ratio" in name] + ["loss"]
        assert {name: packed[name] for name in names} == pytest.approx({name: plain[name] for name in names}, abs=1e-6)
    clipped = {"cispo": "cispo_clip_ratio", "gspo": "clip_ratio/low_mean"}.get(loss)
    assert clipped is None or (0 < plain[clipped] < 1 and packed["decomposed/skipped_work"] > 0.5)


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "bnpo"])
def test_kept_rows_alone_are_averaged_over(loss, tmp_path):
    """NSR's gradient under --normaliser kept is that of a batch of the wrong completions alone."""
    grads = []
    for rows, said in (("kept", ["b .", "c d .", "a .", "a b b ."]), ("all", ["b .", "c d .", "b .", "c d ."])):
        settings = {"update": "shared", "normaliser": rows}
        trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path, mode_settings=settings, **at(loss))
        loss_of = trainer._compute_loss(trainer.model, plain_head.rollout(trainer, said))
        grads.append(flat(torch.autograd.grad(loss_of, list(trainer.model.parameters()))))
    assert (grads[0] - grads[1]).norm() < 1e-6 * grads[1].norm()


# -- the flag ---------------------------------------------------------------------------------------------------------


def parsed(line: str):
    args = parse_args(["--mode", "nsr", *line.split()])
    args.gradient_accumulation_steps, args.max_completion_length, args.learning_rate = 4, 16, 1e-4
    return args


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ("dapo", "token", 0.2, 0.2)), ("--averaging sequence", ("grpo", "token", 0.2, 0.2)),
        ("--loss dapo --averaging token", ("dapo", "token", 0.2, 0.2)), ("--loss grpo", ("grpo", "token", 0.2, 0.2)),
        ("--loss dr_grpo", ("dr_grpo", "token", 0.2, 0.2)), ("--loss sapo", ("sapo", "token", 0.2, 0.2)),
        ("--loss gspo", ("grpo", "sequence", 3e-4, 4e-4)), ("--loss gspo --clip 0.1", ("grpo", "sequence", 0.1, 0.1)),
        ("--loss cispo", ("cispo", "token", 0.2, 5.0)), ("--loss cispo --clip-high 2", ("cispo", "token", 0.2, 2.0)),
        ("--loss luspo", ("luspo", "sequence", 2e-3, 2.5e-3)), ("--loss vespo", ("vespo", "token", 0.2, 0.2)),
        ("--mode ngrpo --loss cispo", ("cispo", "token", 0.16, 5.0)),
    ],
)  # fmt: skip
def test_what_reaches_trl(line, expected, tmp_path):
    config = build_config(parsed(line), tmp_path, "fp32", True)
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    assert (config.loss_type, config.importance_sampling_level, config.epsilon, high) == expected
    assert {name: loss.loss_type or name for name, loss in LOSSES.items()}.get(parsed(line).loss) in (
        None, config.loss_type
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--loss cispo --averaging sequence", "--averaging sequence: --loss cispo averages by token; leave one of"),
        ("--loss gspo --averaging token", "--averaging token: --loss gspo averages by sequence"),
        ("--loss sapo --clip 0.1", "--clip is not used by --loss sapo; leave it out"),
        ("--loss vespo --clip-high 0.1", "--clip-high is not used by --loss vespo"),
        ("--loss cispo --clip 0.1", "--clip is not used by --loss cispo"),
        ("--loss cispo --clip-high 0.28", "--clip-high 0.28: with --loss cispo it is the largest ratio itself: at lea"),
        ("--loss gspo --negative-ratio-cap 1", "--negative-ratio-cap bounds the ratio of a token, and --loss gspo"),
        ("--loss vespo --negative-ratio-cap 1", "and --loss vespo has one a completion"),
        ("--loss bnpo --normaliser kept", "--normaliser kept: --loss bnpo divides by the tokens of each pass alone"),
        ("--loss ppo", "invalid choice: 'ppo'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(line, message):
    with pytest.raises(ValueError) as error:
        parsed(line)
    assert message in str(error.value)


def test_every_loss_of_trl_has_a_name_and_its_defaults_are_said():
    from trl import GRPOConfig

    described = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    named = {
        name
        for name in ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
        if f"'{name}'" in described
    }
    assert named | {"gspo"} == LOSSES.keys()
    assert (
        own_defaults(parsed("--loss gspo")) == "--loss gspo has defaults of its own: --clip 0.0003 --clip-high 0.0004"
    )
    assert own_defaults(parsed("--loss gspo --clip 0.1")) is None, "a range that is given is one at both ends"
    assert own_defaults(parsed("--mode ngrpo --loss gspo --clip 0.1 --clip-high 1")) is None
    assert own_defaults(parsed("--mode ngrpo --loss sapo")) is None
    assert own_defaults(parsed("--mode ngrpo --loss dr_grpo")).startswith(
        "--mode ngrpo has defaults of its own: --clip 0.16"
    )
    assert own_defaults(parsed("--mode ngrpo --loss cispo")) == "--loss cispo has defaults of its own: --clip-high 5"
