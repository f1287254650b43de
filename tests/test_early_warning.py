"""Early warnings by hand-made logs; the stop on a collapse with the best held-out checkpoint, through main.py."""

import json
import math
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

import main
from checkpoints.manifest import publish
from tests import one_layer
from trainers.trainer import TRAINERS
from training.early_warning import BEST_BY, EarlyWarning, Watch, keep_best

BOUNDS = {"entropy": 2.0, "length": 1.5, "truncation": 0.2, "format": 0.2, "ratio": 10.0}
CALM = {
    "decomposed/negative": 3,
    "entropy": 0.2,
    "completions/mean_length": 40.0,
    "completions/clipped_ratio": 0.1,
    "rewards/format/mean": 0.9,
    "ratio/max": 1.5,
}


def watch(mode="nsr", window=2):
    return Watch(mode, window, BOUNDS)


def said(one, *changes):
    """Lines after each log: CALM with these changes."""
    return [[line for _, line in one.add({**CALM, **change})] for change in changes]


@pytest.mark.parametrize(
    ("metric", "within", "beyond", "expected"),
    [
        ("entropy", 0.4, 0.41, "entropy is 0.41 nats per token, over 2 times the 0.2 of the start (--warn-entropy 2)"),
        ("completions/mean_length", 60.0, 60.1, "60.1 tokens, over 1.5 times the 40 of the start (--warn-length 1.5)"),
        ("completions/clipped_ratio", 0.29, 0.31, "31% of the completions are truncated, over 20% more than the 10%"),
        ("rewards/format/mean", 0.71, 0.69, "format reward is 0.69, over 0.2 below the 0.90 of the start"),
    ],
)
def test_a_sign_is_said_once_when_the_mean_of_a_window_crosses_its_bound(metric, within, beyond, expected):
    one = watch()
    assert said(one, {}, {}, {metric: within}, {metric: within}) == [[]] * 4
    # windows: (within, beyond) has its mean between the two values, (beyond, beyond) is over
    lines = said(one, {metric: within - (beyond - within) * 2}, {metric: beyond}, {metric: beyond}, {metric: beyond})
    assert lines[0] == lines[1] == lines[3] == [] and len(lines[2]) == 1
    assert expected in lines[2][0]
    assert said(one, {}, {}, {metric: beyond}, {metric: beyond})[-1], "it is said again after it was over"


def test_the_ratio_is_said_at_once_and_is_no_collapse():
    one = watch()
    lines = said(one, {"ratio/max": 10.0}, {"ratio/max": 12.5}, *[{"ratio/max": 99.0}] * 20)
    assert [bool(line) for line in lines] == [False, True] + [False] * 20
    assert "12.5 times as probable as when it was drawn (--warn-ratio 10)" in lines[1][0]
    assert one.collapsed is None


def test_updates_that_reuse_a_rollout_batch_count_for_the_ratio_alone():
    one = watch()
    for _ in range(10):
        assert one.add({"entropy": 9.0, "ratio/max": 1.0}) == []
    assert one.series["entropy"].first == []


def test_a_batch_without_a_number_leaves_a_sign_as_it_was():
    one = watch()
    said(one, {}, {"entropy": math.nan}, {}, *[{"entropy": 9.0}] * 2)
    assert one.series["entropy"].over_for == 1


def test_no_negatives_left_is_said_for_w_reinforce():
    lines = said(watch("w-reinforce"), {}, {"decomposed/negative": 0}, {"decomposed/negative": 0}, {})
    assert [len(line) for line in lines] == [0, 0, 1, 0] and "no completion of the last 2 rollout batches" in lines[2][
        0
    ]
    assert not any(said(watch("psr"), *[{"decomposed/negative": 0}] * 4))


def test_a_sign_that_lasts_a_whole_window_more_is_a_collapse():
    one = watch(window=3)
    said(one, *[{}] * 3, *[{"entropy": 1.0}] * 3)
    assert one.collapsed is None
    said(one, *[{"entropy": 1.0}] * 2)
    assert one.collapsed is None, "over for three windows' ends"
    said(one, {"entropy": 1.0})
    assert (
        one.collapsed
        == "entropy is 1 nats per token, over 2 times the 0.2 of the start, and has been for 3 rollout batches"
    )


def test_a_resumed_run_remembers_what_was_said_and_how_long_it_has_lasted(capsys):
    logs = [CALM] * 2 + [{**CALM, "entropy": 1.0}] * 4
    whole, split = watch(), watch()
    for entry in [*logs, logs[-1]]:
        whole.add(entry)
    callback, state = EarlyWarning(split, stop=True), TrainerState(max_steps=99, log_history=logs)
    callback.on_train_begin(None, state, TrainerControl())
    control = TrainerControl()
    callback.on_log(None, state, control, logs=logs[-1])
    assert split.collapsed == whole.collapsed and split.series == whole.series
    assert control.should_training_stop and "Warning" not in capsys.readouterr().out


def test_the_best_accuracy_is_saved_even_when_it_is_zero():
    callback, state = EarlyWarning(watch(), stop=True), TrainerState()
    saves = []
    for step, accuracy in enumerate((0.0, 0.5, 0.4, 0.5, 0.6), start=1):
        state.global_step, control = step, TrainerControl()
        callback.on_evaluate(None, state, control, metrics={BEST_BY: accuracy})
        saves.append(control.should_save)
    assert saves == [True, True, False, False, True] and state.best_global_step == 5
    control = TrainerControl()
    callback.on_evaluate(None, state, control, metrics={"eval_loss": 0.0})
    assert not control.should_save


@pytest.mark.parametrize("update", ["shared", "plain"])
def test_the_largest_ratio_of_an_update_is_logged(update, tmp_path):
    """Two updates on one rollout batch, token by token from both log-probabilities, without rows of weight 0."""
    several = {"rows": 2, "max_steps": 2, "steps_per_generation": 2, "learning_rate": 0.1}
    trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path, mode_settings={"update": update}, **several)
    one_layer.fix_rollouts(trainer, ["b .", "a e g .", "c .", "d ."] * 2)
    inputs, logps = [], []
    loss, compute = trainer._compute_loss, trainer._get_per_token_logps_and_entropies
    trainer._compute_loss = lambda model, batch: inputs.append(batch) or loss(model, batch)

    def spy(*args, **kwargs):
        found = compute(*args, **kwargs)
        logps.append(found[0].tolist())
        return found

    trainer._get_per_token_logps_and_entropies = spy
    trainer.train()
    last, new, old = inputs[-1], logps[-1], inputs[-1]["old_per_token_logps"].tolist()
    ratios = [
        math.exp(new[row][token] - old[row][token])
        for row, advantage in enumerate(last["advantages"].tolist())
        for token in range(int(last["completion_mask"][row].sum()))
        if advantage
    ]
    logged = [entry["ratio/max"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged[0] == pytest.approx(1.0, abs=1e-5)
    assert logged[1] == pytest.approx(max(ratios), rel=1e-5) and max(ratios) < 0.9


def test_on_policy_updates_have_no_ratio(tmp_path):
    trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path)
    one_layer.fix_rollouts(trainer, ["a b .", "b c d .", "b .", "c a b ."])
    trainer.train()
    assert "ratio/max" not in trainer.state.log_history[0]


def test_the_weights_kept_are_those_of_the_best_checkpoint(tmp_path):
    written, best = tmp_path / "written" / "checkpoint-2", tmp_path / "checkpoint-2"
    written.mkdir(parents=True)
    (written / "trainer_state.json").write_text("{}")
    for folder, text in ((tmp_path, "last"), (written, "best")):
        (folder / "adapter_model.safetensors").write_text(text)
        (folder / "README.md").write_text(f"the {text} weights")
    (written / "trainer_memory_0.safetensors").write_text("not the model's")
    publish(written, best)
    assert "no best checkpoint is there" in keep_best(tmp_path, None)
    assert "no best checkpoint is there" in keep_best(tmp_path, str(tmp_path / "checkpoint-9"))
    assert (tmp_path / "adapter_model.safetensors").read_text() == "last"
    assert "checkpoint-2, the best on the held-out charts" in keep_best(tmp_path, str(best))
    assert (tmp_path / "adapter_model.safetensors").read_text() == "best"
    assert (tmp_path / "README.md").read_text() == "the best weights"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "adapter_model.safetensors", "README.md"}


@pytest.mark.slow
def test_a_collapse_ends_the_run_with_the_best_held_out_weights(tmp_path, monkeypatch, capsys):
    """Bounds that any noise crosses; checkpoints only where the held-out accuracy is the best so far."""
    monkeypatch.chdir(tmp_path)
    line = (
        "--mode nsr --subset-size 64 --max-completion-length 100 --batch-size 8 --report-to none --eval-steps 1 "
        "--stop-on-collapse --warn-window 1 --warn-entropy 1 --warn-length 1 --warn-truncation 0 --warn-format 0"
    )
    assert main.main(line.split()) == 0
    out = capsys.readouterr().out
    (folder,) = Path("grpo-start-ckpts").iterdir()
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    measured = {entry["step"]: entry[BEST_BY] for entry in history if BEST_BY in entry}
    best = max(measured, key=lambda step: (measured[step], -step))
    last = max(entry["step"] for entry in history if "loss" in entry)
    assert last < 16, "64 questions would be 16 updates"
    assert f"Stopped at update {last}: " in out and f"the weights kept are those of {folder}/checkpoint-{best}," in out
    kept = (folder / "adapter_model.safetensors").read_bytes()
    assert kept == (folder / f"checkpoint-{best}" / "adapter_model.safetensors").read_bytes()
    assert f"| length | {best} of 16 updates |" in (folder / "README.md").read_text()
    assert (
        out.count("Warning: update ") >= 1 and json.loads((folder / "training_settings.json").read_text())["finished"]
    )
