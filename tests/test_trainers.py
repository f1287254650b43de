"""The paper's modes on the real GRPOTrainer: which batches move the weights, and what exactly is trained on."""

import itertools
from types import MethodType

import pytest
import torch
from peft import LoraConfig
from transformers.trainer_utils import IntervalStrategy

from tests import one_layer
from trainers.trainer import TRAINERS

MIXED = ["a b .", "b c d .", "c .", "d a ."]  # one right of four
ALL_RIGHT = ["a b .", "a c d .", "a .", "a a ."]
ALL_WRONG = ["b b .", "c c d .", "d .", "b a ."]
UNSCORABLE = ["h b .", "h c d .", "h .", "h a ."]
MODES = ["grpo", "psr", "nsr", "w-reinforce"]
LAMBDA = {"w-reinforce": {"lambda_psr": 0.1}}


def build(mode, folder, completions, mode_settings=None, **config):
    settings = {**LAMBDA.get(mode, {}), **(mode_settings or {})}
    trainer = one_layer.trainer(TRAINERS[mode], folder, mode_settings=settings, **config)
    one_layer.fix_rollouts(trainer, completions)
    return trainer


def weights(trainer):
    return torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])


def movement(mode, folder, completions, **config):
    trainer = build(mode, folder, completions, **config)
    before = weights(trainer)
    trainer.train()
    return weights(trainer) - before


@pytest.mark.parametrize(
    ("completions", "movers"),
    [
        (MIXED, {"grpo", "psr", "nsr", "w-reinforce"}),
        (ALL_RIGHT, {"psr", "w-reinforce"}),
        (ALL_WRONG, {"nsr", "w-reinforce"}),
        (UNSCORABLE, set()),
    ],
    ids=["mixed", "all right", "all wrong", "unscorable"],
)
@pytest.mark.parametrize("mode", MODES)
def test_which_batches_move_the_weights(mode, completions, movers, tmp_path):
    moved = movement(mode, tmp_path, completions, rewards=[one_layer.accuracy]).abs().max() > 0
    assert bool(moved) == (mode in movers)


@pytest.mark.parametrize("mode", ["psr", "nsr", "grpo"])
def test_a_batch_without_signal_is_not_moved_by_momentum_either(mode, tmp_path):
    trainer = build(mode, tmp_path, MIXED, rewards=[one_layer.accuracy], max_steps=2, rows=2)
    seen = []
    silent = {"psr": ALL_WRONG, "nsr": ALL_RIGHT, "grpo": ALL_WRONG}[mode]
    step = trainer._generate_single_turn

    def rollout(*args):
        seen.append(weights(trainer))
        return step(*args) if len(seen) == 1 else ([one_layer.say(words) for words in silent], None)

    trainer._generate_single_turn = rollout
    trainer.train()
    assert not torch.equal(seen[0], seen[1]), "the first update has signal"
    assert torch.equal(seen[1], weights(trainer)), "the second has none"
    assert trainer.optimizer.param_groups[0]["lr"] == 1e-2, "the learning rate is back for the next update"


def test_grpo_moves_otherwise_than_every_other_mode(tmp_path):
    moved = {mode: movement(mode, tmp_path / mode, MIXED, optim="sgd", rewards=[one_layer.accuracy]) for mode in MODES}
    for one, other in itertools.combinations(MODES, 2):
        cosine = torch.cosine_similarity(moved[one], moved[other], dim=0)
        ratio = moved[one].norm() / moved[other].norm()
        assert cosine < 0.999 or not 0.99 < ratio < 1.01, (one, other)


EXPECTED = {
    "psr": [1.0, 0.0, 0.0, 0.0],
    "nsr": [0.0, -1.0, -1.0, -1.0],
    "w-reinforce": [0.1, -1.0, -1.0, -1.0],
    "grpo": [1.5, -0.5, -0.5, -0.5],
}
PRINTED = {
    "psr": ("Rewards Accuracy: [1.0, 0.0, 0.0, 0.0]", "PSR: Filtered 1/4 positive samples"),
    "nsr": ("Rewards Accuracy: [0.0, -1.0, -1.0, -1.0]", "NSR: Filtered 3/4 negative samples"),
    "w-reinforce": (
        "Rewards Accuracy: [1.0, -1.0, -1.0, -1.0]",
        "W-REINFORCE: 1 positive (λ=0.1), 3 negative (λ=1.0)",
    ),
    "grpo": ("Rewards Accuracy: [1.0, 0.0, 0.0, 0.0]",),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_batch_trained_on_holds_the_advantages_that_are_logged(mode, tmp_path, capsys):
    trainer = build(mode, tmp_path, MIXED, rewards=[one_layer.accuracy])
    trained_on = []
    compute_loss = trainer._compute_loss

    def spy(self, model, inputs):
        trained_on.extend(zip(inputs["completion_ids"].tolist(), inputs["advantages"].tolist(), strict=True))
        return compute_loss(model, inputs)

    trainer._compute_loss = MethodType(spy, trainer)
    trainer.train()
    by_text = {tuple(one_layer.say(text)): value for text, value in zip(MIXED, EXPECTED[mode], strict=True) if value}
    got = {tuple(token for token in ids if token != one_layer.PAD): advantage for ids, advantage in trained_on}
    assert got == pytest.approx(by_text, abs=1e-3) and len(trained_on) == len(by_text), "every row of weight, once"
    assert list(trainer._logs["advantages"]) == pytest.approx(EXPECTED[mode], abs=1e-3)
    printed = capsys.readouterr().out.splitlines()
    assert all(line in printed for line in PRINTED[mode])


@pytest.mark.parametrize("mode", MODES[1:])
def test_further_rewards_never_touch_the_advantages(mode, tmp_path):
    alone = build(mode, tmp_path, MIXED, rewards=[one_layer.accuracy])
    beside = build(mode, tmp_path, MIXED, rewards=[one_layer.accuracy, one_layer.brevity])
    for trainer in (alone, beside):
        trainer.train()
    assert list(alone._logs["advantages"]) == list(beside._logs["advantages"])


ONE_UNSCORABLE = ["a b .", "b c d .", "h .", "d a ."]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("psr", [1, 0, 0, 0]),
        ("nsr", [0, -1, 0, -1]),
        ("w-reinforce", [0.1, -1, 0, -1]),
        ("grpo", [2 / 3 / 0.57745, -1 / 3 / 0.57745, 0, -1 / 3 / 0.57745]),  # mean and std of [1, 0, 0] alone
    ],
)
def test_an_unscorable_row_leaves_the_group_in_every_mode(mode, expected, tmp_path):
    trainer = build(mode, tmp_path, ONE_UNSCORABLE, mode_settings=None)
    trainer.reward_weights[1] = 0.0  # the second reward scores the row all the same; it must not bring it back
    trainer.train()
    assert list(trainer._logs["advantages"]) == pytest.approx(expected, abs=2e-4)
    assert trainer.state.log_history[0]["decomposed/unscorable"] == 1
    assert trainer.state.log_history[0]["decomposed/accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("completions", "moves"), [(UNSCORABLE, False), (ALL_RIGHT, True)])
def test_the_kl_term_moves_scorable_rows_and_no_unscorable_one(completions, moves, tmp_path):
    peft = LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj"], init_lora_weights=False)  # away from the base
    trainer = build("nsr", tmp_path, completions, beta=0.5, rewards=[one_layer.accuracy], peft=peft)
    before = weights(trainer)
    trainer.train()
    assert (not torch.equal(before, weights(trainer))) == moves


@pytest.mark.parametrize(("truncated", "expected"), [("wrong", [0, -1, -1, -1]), ("unscorable", [0, -1, 0, -1])])
def test_a_completion_cut_at_the_limit_is_wrong_or_unscorable(truncated, expected, tmp_path):
    cut = ["a b .", "b c d .", "a b c d e", "d a ."]  # the third began right and ran out of room
    trainer = build("nsr", tmp_path, cut, mode_settings={"truncated": truncated})
    trainer.train()
    assert list(trainer._logs["advantages"]) == expected


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_the_threshold_decides_what_soft_accuracy_counts_as_correct(threshold, tmp_path):
    def accuracy(completions, completion_ids, **columns):
        return [0.95, 0.7, 0.5, 0.1]

    trainer = build("psr", tmp_path, MIXED, mode_settings={"reward_threshold": threshold}, rewards=[accuracy])
    trainer.train()
    assert list(trainer._logs["advantages"]) == ([1, 1, 1, 0] if threshold == 0.5 else [1, 0, 0, 0])


def test_many_batches_without_negatives_print_the_remedies(tmp_path, capsys):
    trainer = build("nsr", tmp_path, ALL_RIGHT, rewards=[one_layer.accuracy], max_steps=10, rows=10)
    trainer.train()
    printed = capsys.readouterr().out
    assert printed.count("NSR: Filtered 0/4 negative samples") == 10
    assert printed.count("nothing to learn from") == 1 and "A lower threshold does not" in printed


def test_a_trainer_without_an_accuracy_reward_is_refused(tmp_path):
    with pytest.raises(ValueError, match="accuracy"):
        one_layer.trainer(TRAINERS["nsr"], tmp_path, rewards=[one_layer.brevity])


@pytest.mark.parametrize("update", ["shared", "plain"])
def test_an_evaluation_between_two_updates_changes_nothing_about_them(update, tmp_path):
    moved, evaluations = [], []
    for eval_steps in (1, 10):
        settings = {"max_steps": 3, "eval_steps": eval_steps, "per_device_eval_batch_size": 4, "optim": "sgd"}
        trainer = build("nsr", tmp_path, MIXED, {"update": update}, num_generations_eval=1, **settings)
        trainer.eval_dataset = trainer.train_dataset.select(range(4))
        trainer.args.eval_strategy = IntervalStrategy.STEPS
        before = weights(trainer)
        trainer.train()
        moved.append(weights(trainer) - before)
        evaluations.append(sum("eval_reward" in entry for entry in trainer.state.log_history))
    assert evaluations == [3, 1] and moved[0].abs().max() > 0
    assert torch.allclose(*moved, atol=1e-7), "rows are shuffled in another order, so sums round otherwise"
