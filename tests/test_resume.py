"""A resumed run computes, bit for bit, what it would have computed without the break."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pandas
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

import main
from checkpoints.exact_resume import EpochOrder, load_weights
from checkpoints.manifest import checkpoints, damage
from tests import one_layer
from tests.families import FAMILIES, make_family
from trainers.trainer import TRAINERS

CLOCK = ("time/", "step_time", "tokens_per_second", "train_", "memory/")  # what a clock, or the system, has measured
RUNS = {
    "one update a rollout": {"mode": "nsr", "updates": 1, "rows": 8},
    "four updates a rollout": {"mode": "w-reinforce", "updates": 4, "rows": 8},
    "plain update, logs of three steps": {
        "mode": "psr",
        "updates": 2,
        "rows": 8,
        "update": "plain",
        "logging_steps": 3,
    },
    "schedules over the run": {
        "mode": "w-reinforce",
        "updates": 2,
        "rows": 4,
        "options": {"lambda_psr": 0.05, "lambda_psr_end": 0.2, "negative_weight": "cosine"},
    },
    "LoRA, KL, generate": {"mode": "grpo", "updates": 2, "rows": 8, "beta": 0.1, "peft": True, "rollouts": "generate"},
}


def build(folder, mode, updates, rows, update="shared", rollouts="engine", peft=False, options=None, **config):
    """A run of two epochs in which every prompt is another one."""
    trainer = one_layer.trainer(
        TRAINERS[mode],
        folder,
        rows=rows,
        batch=2,
        mode_settings={
            "update": update,
            "rollouts": rollouts,
            **(options or {}),
        },
        peft=LoraConfig(target_modules=["q_proj", "v_proj"], r=2) if peft else None,
        gradient_accumulation_steps=4,
        steps_per_generation=4 * updates,
        num_train_epochs=2,
        **{"max_steps": -1, "save_steps": 1, "save_strategy": "steps", "eval_steps": 3, **config},
    )
    words = [f"{x} {y}" for x in "abcdefgh" for y in "abcdefgh"]
    trainer.train_dataset = datasets.Dataset.from_dict({"prompt": [f"ask {pair}" for pair in words[:rows]]})
    return trainer


def weights(trainer):
    return torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])


def seen(trainer):
    """The log without what a clock measured, and without the summary at the end."""
    return [
        {key: value for key, value in entry.items() if not key.startswith(CLOCK)}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]


@pytest.mark.parametrize("run", [pytest.param(name, marks=[pytest.mark.slow] * (n > 0)) for n, name in enumerate(RUNS)])
def test_a_run_resumed_after_any_step_ends_bit_for_bit_like_an_uninterrupted_one(run, tmp_path):
    unbroken = build(tmp_path / "unbroken", **RUNS[run], save_strategy="no")
    start = weights(unbroken)
    unbroken.train()
    saved = build(tmp_path / "saved", **RUNS[run])
    saved.train()
    assert torch.equal(weights(saved), weights(unbroken)), "saving changes nothing"
    steps = saved.state.global_step
    assert not torch.equal(weights(saved), start) and steps == saved.state.max_steps >= 4
    found = checkpoints(tmp_path / "saved")
    assert len(found) == steps and not any(damage(checkpoint) for checkpoint in found)
    for checkpoint in found:
        resumed = build(tmp_path / "resumed", **RUNS[run], save_strategy="no")
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert torch.equal(weights(resumed), weights(unbroken)), checkpoint.name
        assert resumed.state.global_step == steps and seen(resumed) == seen(unbroken), checkpoint.name
        assert resumed.state.num_input_tokens_seen == unbroken.state.num_input_tokens_seen


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_read_back_under_the_names_that_saving_has_given_them(family, tmp_path):
    model, _ = make_family(family)
    expected = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(expected)
    expected = {name: value.clone() for name, value in model.state_dict().items()}  # tied ones are equal now
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    before = [weight.data_ptr() for weight in model.parameters()]
    load_weights(model, tmp_path)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert [weight.data_ptr() for weight in model.parameters()] == before, "the optimiser still holds these"


@pytest.mark.slow
def test_a_fully_trained_vision_language_model_is_resumed_bit_for_bit(tmp_path, monkeypatch, capsys):
    """The embedded Qwen2.5-VL through main.py, whose files name its weights otherwise than its modules do."""
    monkeypatch.chdir(tmp_path)
    line = "--mode nsr --vlm-name tiny --dataset-name synthetic --no-lora --subset-size 6 --num-generations 4"
    line += " --batch-size 4 --gradient-accumulation-steps 1 --updates-per-rollout 2 --max-completion-length 8"
    line += " --learning-rate 1e-3 --save-steps 1 --held-out 0 --report-to none --disable-gradient-checkpointing"
    assert main.main([*line.split(), "--output-root", "unbroken"]) == 0
    shutil.copytree("unbroken", "broken")
    (run,) = Path("broken").iterdir()
    expected = load_file(Path("unbroken", run.name, "model.safetensors"))
    (run / "model.safetensors").unlink()
    settings = json.loads((run / "training_settings.json").read_text())
    (run / "training_settings.json").write_text(json.dumps({**settings, "finished": False}))
    shutil.rmtree(run / "checkpoint-6")
    assert checkpoints(run), "an earlier one is there to go on from"
    capsys.readouterr()
    assert main.main([*line.split(), "--output-root", "broken", "--resume"]) == 0
    assert "Resuming from" in capsys.readouterr().out
    resumed = load_file(run / "model.safetensors")
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, 6), (2, 3)], ids=["one process", "two under ZeRO-3"])
def test_kill_9_at_any_moment_even_while_saving_changes_no_weight_and_no_line_of_the_log(processes, kills, tmp_path):
    command = [sys.executable, "-m", "tests.kills", str(tmp_path), str(kills), str(processes)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted["kills"] >= kills and counted["equal"] == counted["runs"], counted
    assert processes == 1 or counted["of_one_process"] > 0


def test_every_epoch_has_its_own_order_and_asks_every_question(tmp_path):
    trainer = build(tmp_path, "nsr", 1, 8)
    loader = trainer.get_train_dataloader()
    orders = []
    for epoch in (0, 1, 2, 1):
        trainer._epoch = epoch
        orders.append([row["prompt"] for batch in loader for row in batch[::4]])
    assert orders[1] == orders[3], "whatever was drawn before"
    assert len({tuple(order) for order in orders}) == 3 and len({frozenset(order) for order in orders}) == 1
    sampler = trainer._get_train_sampler(trainer.train_dataset)
    assert isinstance(sampler, EpochOrder) and len(sampler) == len(list(sampler))


def test_a_finished_run_of_a_given_number_of_steps_is_not_trained_further(tmp_path):
    first, again = (build(tmp_path, "nsr", 1, 8, max_steps=3) for _ in range(2))
    first.train()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert again.state.global_step == 3 and torch.equal(weights(again), weights(first))


def test_only_the_newest_checkpoints_are_kept_and_a_torn_one_does_not_count(tmp_path):
    trainer = build(tmp_path, "nsr", 1, 8, save_total_limit=2)
    trainer.train()
    steps = trainer.state.global_step
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{steps}", f"checkpoint-{steps - 1}"]
    assert not (tmp_path / ".saving").exists()


def test_nothing_in_the_memory_of_a_checkpoint_is_pickled(tmp_path):
    trainer = build(tmp_path, "nsr", 4, 16, save_steps=2, max_completion_length=3)
    trainer.train()
    memory = json.loads((tmp_path / "checkpoint-2" / "trainer_memory_0.json").read_text())
    assert memory["counters"]["_step"] == 8 and len(memory["buffered"]) == 16 and memory["num_processes"] == 1
    assert (tmp_path / "checkpoint-2" / "trainer_memory_0.safetensors").stat().st_size > 1000


def test_checkpoints_of_earlier_versions_are_read_by_the_names_they_have(tmp_path):
    """Also one that lacks a name, and one with a name that no class of the trainer has for its own."""
    run = {"mode": "nsr", "updates": 4, "rows": 16, "max_steps": 3, "save_steps": 2}
    first = build(tmp_path / "first", **run)
    first.train()
    plain = tmp_path / "first" / "checkpoint-2" / "trainer_memory_0.json"
    memory = json.loads(plain.read_text())
    assert set(memory["counters"]) == {
        "_step", "_globalstep_last_logged", "_rows_at_once", "_barren_updates", "_bad_updates", "_bad_in_a_row",
        "_seconds", "_tokens_at_last_log", "_gap_so_far", "_tokens_updated",
    }  # fmt: skip
    windows = [set(batch["window"]) for batch in memory["buffered"] if "window" in batch]
    assert windows and all(
        one == {"skipped_work", "rows_left", "entropy", "token_share", "row_share"} for one in windows
    )
    for batch in memory["buffered"]:
        batch.get("window", {}).pop("row_share", None)
    del memory["counters"]["_gap_so_far"]
    plain.write_text(json.dumps({**memory, "counters": {**memory["counters"], "log": "a string"}}))
    again = build(tmp_path / "again", **run)
    again.train(resume_from_checkpoint=str(plain.parent))
    assert torch.equal(weights(again), weights(first)) and callable(again.log)


def test_other_processes_cannot_take_over_half_a_rollout_batch(tmp_path):
    run = {"mode": "nsr", "updates": 2, "rows": 8}
    build(tmp_path, **run).train()
    for step in (1, 2):
        plain = tmp_path / f"checkpoint-{step}" / "trainer_memory_0.json"
        plain.write_text(json.dumps({**json.loads(plain.read_text()), "num_processes": 2}))
    shutil.rmtree(tmp_path / "checkpoint-4")
    with pytest.raises(ValueError, match="between the updates of one rollout batch"):
        build(tmp_path, **run).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    resumed = build(tmp_path, **run, save_strategy="no")
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == resumed.state.max_steps and resumed._step == 4 * resumed.state.max_steps


def test_the_steps_between_checkpoints_may_change_on_resuming(tmp_path):
    run = {"mode": "nsr", "updates": 1, "rows": 8, "max_steps": 4}
    build(tmp_path / "first", **run, save_steps=2).train()
    build(tmp_path / "again", **run, save_steps=1).train(
        resume_from_checkpoint=str(tmp_path / "first" / "checkpoint-2")
    )
    assert [path.name for path in checkpoints(tmp_path / "again")] == ["checkpoint-4", "checkpoint-3"]


def test_the_completions_shown_at_every_update_of_a_rollout_batch_are_the_same_after_a_break(tmp_path):
    run = {"mode": "nsr", "updates": 2, "rows": 8, "max_steps": 2, "log_completions": True}
    build(tmp_path / "unbroken", **run).train()
    first = tmp_path / "unbroken" / "checkpoint-1"
    build(tmp_path / "again", **run).train(resume_from_checkpoint=str(first))
    tables = [
        pandas.read_parquet(tmp_path / name / "completions" / "completions_00002.parquet")
        for name in ("unbroken", "again")
    ]
    assert len(tables[0]) == 16 and tables[0].equals(tables[1])
