"""Updates with numbers that are not finite: they move nothing, are counted, and several in a row end the run."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

import main
from tests import nan_on_one_rank, one_layer
from trainers.trainer import TRAINERS
from training import run as training_run

ROOT = Path(__file__).parent.parent
MIXED = ["a b .", "b c d .", "c .", "d a ."]


class Snapshots(TrainerCallback):
    """Weights and optimiser state after every update."""

    def __init__(self):
        self.weights, self.states = [], []

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.weights.append([weight.detach().clone() for weight in model.parameters()])
        self.states.append(copy.deepcopy(optimizer.state_dict()["state"]))


def run(folder, spoil, updates=4, **settings):
    """A run whose loss of update u is `spoil(u, loss)`, seen after every update."""
    trainer = one_layer.trainer(
        TRAINERS["nsr"], folder, rows=4 * updates, max_steps=updates, mode_settings=settings, save_strategy="steps"
    )
    one_layer.fix_rollouts(trainer, MIXED)
    compute, seen = trainer._compute_loss, Snapshots()
    trainer._compute_loss = lambda model, inputs: spoil(trainer.state.global_step + 1, compute(model, inputs))
    trainer.add_callback(seen)
    trainer.train()
    return trainer, seen


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def infinite_gradient(loss):
    loss.register_hook(lambda gradient: gradient * math.inf)
    return loss


@pytest.mark.parametrize(
    "spoilt",
    [lambda loss: loss * math.nan, lambda loss: loss + math.inf, infinite_gradient],
    ids=["NaN loss", "infinite loss with a finite gradient", "infinite gradient"],
)
def test_a_bad_update_moves_neither_weights_nor_optimiser_and_the_run_goes_on(spoilt, tmp_path):
    trainer, seen = run(tmp_path, lambda update, loss: spoilt(loss) if update == 2 else loss)
    assert same(seen.weights[0], seen.weights[1])
    for number, state in seen.states[0].items():
        assert all(torch.equal(state[name], seen.states[1][number][name]) for name in state), "step count and moments"
    assert not same(seen.weights[1], seen.weights[2]) and all(w.isfinite().all() for w in seen.weights[3])
    counts = [entry["decomposed/non_finite_updates"] for entry in trainer.state.log_history if "loss" in entry]
    assert counts == [0, 1, 1, 1] and trainer.unhealthy is None


def test_a_run_with_a_skipped_update_ends_like_one_that_never_had_its_gradient(tmp_path):
    """Its weights are those of a run in which that update had a gradient of zero and no momentum."""
    _, seen = run(tmp_path / "bad", lambda update, loss: loss * math.nan if update == 3 else loss, updates=3)
    _, short = run(tmp_path / "short", lambda update, loss: loss, updates=2)
    assert same(seen.weights[-1], short.weights[-1])


def test_several_in_a_row_stop_the_run_save_it_and_write_their_rows(tmp_path, capsys):
    trainer, seen = run(tmp_path, lambda update, loss: loss * math.nan if update > 1 else loss, max_bad_updates=2)
    assert trainer.state.global_step == 3 and (tmp_path / "checkpoint-3").is_dir()
    assert same(seen.weights[0], seen.weights[2])
    assert "2 updates in a row had a loss that is not finite" in trainer.unhealthy
    written = json.loads((tmp_path / "non_finite_rows_0.json").read_text())
    assert written["update"] == 3
    # NSR is trained on the three wrong completions alone; the tokenizer writes no end token
    assert {row["completion"] for row in written["rows"]} == {"b c d", "c", "d a"}
    assert all(row["prompt"] == "ask" and row["advantage"] == -1 for row in written["rows"])
    assert {row["loss_of_pass"] for row in written["rows"]} == {"nan"}
    assert "Warning: update 2: the loss is not finite" in capsys.readouterr().out


def test_a_good_update_between_bad_ones_starts_the_count_anew(tmp_path):
    trainer, _ = run(tmp_path, lambda update, loss: loss * math.nan if update % 2 else loss, max_bad_updates=2)
    assert trainer.unhealthy is None and trainer.state.global_step == 4


@pytest.mark.slow
@pytest.mark.parametrize("deepspeed", [False, True], ids=["plain", "ZeRO-3"])
def test_nan_in_one_processes_gradient_is_skipped_by_both(deepspeed, tmp_path):
    zero3 = ["accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}", "--num_processes", "2"]
    plain = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, "-m", *(zero3 if deepspeed else plain), "-m", "tests.nan_on_one_rank", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    assert ("DEEPSPEED" in ranks[0]["kind"]) == deepspeed
    assert ranks[0]["weights"] == ranks[1]["weights"], "both decide alike"
    for rank in ranks:
        before, bad, after, last = rank["weights"]
        assert bad == before and after != bad and last != after
        assert all(map(math.isfinite, last))
        assert rank["counts"] == [0, 1, 1, 1]
    assert len(ranks[0]["weights"]) == nan_on_one_rank.UPDATES


def test_an_unhealthy_run_ends_in_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    real = training_run.build_trainer

    def spoilt(*args, **kwargs):
        trainer = real(*args, **kwargs)
        compute = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: compute(model, inputs) * math.nan
        return trainer

    monkeypatch.setattr(training_run, "build_trainer", spoilt)
    line = "--mode nsr --subset-size 8 --max-completion-length 8 --max-bad-updates 1 --report-to none --held-out 0"
    assert main.main(line.split()) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    (rows,) = Path("grpo-start-ckpts").glob("*/non_finite_rows_0.json")
    assert all("<think>" in row["prompt"] for row in json.loads(rows.read_text())["rows"]), (
        "questions as they were asked"
    )
    assert error.startswith("error: 1 updates in a row") and "--max-bad-updates 1" in error and "--resume" in error
