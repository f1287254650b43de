"""The schedules of W-REINFORCE (A-NSR): values by hand, where they are W-REINFORCE, and what a resumed run may do."""

import pytest
import torch

from checkpoints.resuming import find_checkpoint
from settings.arguments import parse_args
from tests import one_layer
from tests.scored import NAN, scored
from trainers.trainer import TRAINERS
from trainers.w_reinforce import WReinforce

pytestmark = pytest.mark.methods


def pair(step, *, correct=(1, 0), **options):
    """Weight of a right and of a wrong completion at this step of 100."""
    right, wrong, *_ = (
        WReinforce(**options).weights(scored(torch.tensor(correct, dtype=torch.float64), step=step, steps=100)).tolist()
    )
    return right, wrong


@pytest.mark.parametrize(
    ("kind", "step", "beta"),
    [
        ("constant", 0, 1.0), ("constant", 99, 1.0),
        ("exponential", 0, 1.5), ("exponential", 10, 0.5 + 0.740818), ("exponential", 50, 0.5 + 0.223130),
        ("cosine", 0, 1.5), ("cosine", 25, 0.5 + 0.853553), ("cosine", 50, 1.0), ("cosine", 100, 0.5),
        ("accuracy", 0, 1.0), ("accuracy", 99, 1.0),  # half of the batch is right
    ],
)  # fmt: skip
def test_the_weight_of_incorrect_completions_by_hand(kind, step, beta):
    assert pair(step, negative_weight=kind) == pytest.approx((0.1, -beta), abs=1e-6)


@pytest.mark.parametrize(("step", "value"), [(0, 0.05), (50, 0.125), (99, 0.1985), (100, 0.2)])
def test_the_weight_of_correct_completions_by_hand(step, value):
    assert pair(step, lambda_psr=0.05, lambda_psr_end=0.2) == pytest.approx((value, -1.0))


@pytest.mark.parametrize(
    ("correct", "beta"),
    [([1, 0, 0, 0], 1.25), ([1, 0, 1, 1], 0.75), ([1, 0, NAN, 0], 0.5 + 2 / 3), ([0, 0, 0, 0], 1.5)],
)
def test_the_accuracy_schedule_follows_the_scorable_completions_of_the_whole_batch(correct, beta):
    assert pair(7, correct=correct, negative_weight="accuracy")[1] == pytest.approx(-beta)


def test_every_schedule_with_equal_ends_is_w_reinforce_rescaled():
    rows = scored(torch.tensor([1, 0, NAN, 0, 1], dtype=torch.float64), step=13, steps=40)
    for kind in ("exponential", "cosine", "accuracy"):
        same = {"negative_weight_start": 2.0, "negative_weight_end": 2.0, "negative_weight": kind}
        scheduled = WReinforce(lambda_psr=0.2, lambda_psr_end=0.2, **same).weights(rows)
        assert torch.allclose(scheduled, 2 * WReinforce(lambda_psr=0.1).weights(rows), rtol=0, atol=1e-15)


def test_a_schedule_depends_on_the_batch_alone():
    """Two methods asked in another order, at other steps before, say the same: there is nothing to save."""
    one, other = (WReinforce(negative_weight="cosine", lambda_psr_end=0.2) for _ in range(2))
    ask = lambda method, step: method.weights(scored([1, 0], step=step, steps=9)).tolist()  # noqa: E731
    ask(one, 3), ask(one, 8)
    assert ask(one, 5) == ask(other, 5) and vars(one) == vars(other)


def test_its_line_and_announcement_say_the_weights_of_now():
    method = WReinforce(lambda_psr=0.05, lambda_psr_end=0.2, negative_weight="cosine")
    rows = scored([1, 0, 0], step=50, steps=100)
    assert method.line(rows) == "W-REINFORCE: 1 positive (λ=0.125), 2 negative (λ=1.0)"
    assert method.announcement() == "Weighted training: 0.05 to 0.2·PSR + (1.5 to 0.5, cosine)·NSR"
    assert method.printed_rewards(rows, method.weights(rows)).tolist() == [1, -1, -1], "before lambda and beta"
    assert WReinforce().announcement() == "Weighted training: 0.1·PSR + NSR"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--negative-weight linear", "invalid choice: 'linear'"),
        ("--negative-weight-start 2", "--negative-weight-start is not used by --negative-weight constant"),
        ("--negative-weight cosine --negative-weight-decay 1", "--negative-weight-decay is not used by --negative-w"),
        ("--negative-weight cosine --negative-weight-end -1", "--negative-weight-end -1.0: must be at least 0"),
        ("--lambda-psr-end -1", "--lambda-psr-end -1.0: must be at least 0"),
    ],
)
def test_bad_schedules_are_one_clear_line(line, message):
    with pytest.raises(ValueError) as error:
        parse_args(["--mode", "w-reinforce", *line.split()])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "refused"),
    [({}, False), ({"negative_weight": "exponential"}, False), ({"negative_weight": "accuracy"}, False),
     ({"negative_weight": "cosine"}, True), ({"lambda_psr_end": 0.2}, True)],
)  # fmt: skip
def test_a_run_whose_schedule_spans_it_cannot_be_made_longer(options, refused, tmp_path):
    trainer = one_layer.trainer(
        TRAINERS["w-reinforce"], tmp_path, max_steps=2, save_steps=1, save_strategy="steps", mode_settings=options
    )
    trainer.train()
    settings = {"mode": "w-reinforce", "num_epochs": 1.0, "num_processes": 1, **options}
    same = {"data": {"fingerprint": "x"}, "model": {}, "prompt": {"hash": "y"}}
    old, new = ({"settings": {**settings, "max_steps": steps}, **same} for steps in (2, 3))
    old["finished"] = True
    if refused:
        with pytest.raises(ValueError, match="depend on the length of the run"):
            find_checkpoint(tmp_path, old, new, True, False)
    else:
        assert find_checkpoint(tmp_path, old, new, True, False)[1] == tmp_path / "checkpoint-2"
