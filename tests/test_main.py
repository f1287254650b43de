"""main.py as a user runs it: bad input before a model is loaded, what a run prints, what it leaves behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

import main
from evaluation.validate_rewards import main as validate_rewards
from models.registry import TINY_FOLDER
from settings.arguments import parse_args
from settings.grpo_config import build_config
from tests import one_layer
from trainers import METHODS
from trainers.trainer import TRAINERS
from training import hardware
from training.report import banner

ROOT = Path(__file__).parent.parent
TINY = ["--vlm-name", "tiny", "--dataset-name", "synthetic"]
SHORT = [*TINY, "--seed", "2025", "--subset-size", "4", "--num-epochs", "1", "--batch-size", "2",
         "--disable-gradient-checkpointing", "--max-completion-length", "100"]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_PROJECT", "WANDB_SILENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--mode nsr --vlm-name qwen9", "unknown model 'qwen9'"),
        ("--mode nsr --dataset-name chartqs", "unknown data set 'chartqs'"),
        ("--mode nsr --prompt long", "--prompt long: unknown; choose one of structured, short"),
        ("--mode nsr --rewards all", "--rewards all: unknown"),
        ("--mode nsr --lora-targets qproj", "--lora-targets qproj: unknown; choose from q_proj"),
        (f"--mode nsr --vlm-name {TINY_FOLDER} --lora-targets qproj", "--lora-targets qproj: unknown"),
        ("--mode nsr --dataset-name chartqa --dataset-path nowhere", "nowhere"),
        ("--mode nsr --subset-size 3 --num-generations 2 --batch-size 64", "zero steps"),
        ("--mode nsr --precision fp16", "--precision fp16 needs a GPU"),
        ("--mode nsr --num-generations 8 --gradient-accumulation-steps 3", "the nearest that fit: 4"),
        ("--mode nsr --subset-size 8 --output-root /proc/none", "--output-root: cannot write to /proc/none"),
        ("--mode best", "invalid choice: 'best'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_a_model_is_loaded(line, message, folder, monkeypatch, capsys):
    import models.registry

    monkeypatch.setattr(models.registry, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    assert main.main([*line.split(), "--report-to", "none"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(folder.iterdir()), "nothing is left behind"


def test_a_subset_larger_than_the_data_is_refused(folder, capsys, tmp_path):
    rows = tmp_path / "data"
    rows.mkdir()
    from PIL import Image

    lines = []
    for n in range(4):
        Image.new("RGB", (64, 64), (n * 40, 0, 0)).save(rows / f"{n}.png")
        lines.append(json.dumps({"image": f"{n}.png", "question": f"How red is {n}?", "answer": str(n)}))
    (rows / "train.jsonl").write_text("\n".join(lines))
    arguments = ["--mode", "nsr", "--dataset-name", "custom", "--dataset-path", str(rows), "--subset-size", "5"]
    assert main.main([*arguments, "--report-to", "none"]) == 2
    assert re.search(r"error: .*5.*4", capsys.readouterr().err)


def test_optimiser_sgd_moves_the_weights_by_the_learning_rate_times_the_gradient(folder):
    args = parse_args(["--mode", "nsr", "--optimiser", "sgd", "--learning-rate", "0.5", *TINY])
    args.gradient_accumulation_steps, args.max_completion_length = 2, 5
    config = build_config(args, folder, "fp32", has_held_out=False)
    trainer = one_layer.trainer(TRAINERS["nsr"], folder / "run", optim=config.optim, learning_rate=config.learning_rate)
    trainer.create_optimizer()
    weight = next(trainer.model.parameters())
    weight.grad, before = torch.ones_like(weight), weight.detach().clone()
    for times in (1, 2):  # no momentum: the second step is as long as the first
        trainer.optimizer.step()
        assert torch.allclose(before - weight, torch.full_like(weight, 0.5 * times))


def test_auto_precision_is_bf16_fp16_or_fp32(monkeypatch):
    """The fp16 configuration that a T4 gets; it is chosen here, not run."""
    assert hardware.choose_precision("auto") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_bf16, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert hardware.choose_precision("auto") == expected
    assert hardware.weights_dtype("fp16", trains_all_weights=False, deepspeed=False) == "float16"
    assert hardware.weights_dtype("fp16", trains_all_weights=True, deepspeed=False) == "float32"
    assert hardware.weights_dtype("fp16", trains_all_weights=True, deepspeed=True) == "float16"


def test_several_gpus_under_plain_python_means_the_first_and_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert "2 GPUs are visible; plain python uses the first" in hardware.use_first_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_more_threads_than_cores_are_told_of_before_a_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    for processes, threads, line in (
        ("2", 2, None),
        ("8", 1, None),
        ("2", 3, "6 threads share 4 cores and wait for one another; OMP_NUM_THREADS=2 is faster"),
        ("8", 2, "16 threads share 4 cores and wait for one another; OMP_NUM_THREADS=1 is faster"),
    ):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert hardware.too_many_threads() == line
    with monkeypatch.context() as others:  # started so that nothing says how many of them are on this machine
        others.delenv("LOCAL_WORLD_SIZE")
        others.setenv("WORLD_SIZE", "8")
        assert hardware.too_many_threads() is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert main.main(["--mode", "nsr", "--subset-size", "8", "--output-root", "/proc/none"]) == 2
    assert capsys.readouterr().out.startswith("6 threads share 4 cores and wait")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.too_many_threads() is None


FILES = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "trainer_state.json",
    "training_args.bin",
    "training_settings.json",
    "processor_config.json",
    "tokenizer.json",
}
BLOCK = {
    "grpo": "✓ GRPO TRAINING CONFIGURATION:\n  Training mode: grpo\n",
    "psr": (
        "✓ PSR TRAINING CONFIGURATION:\n  Training mode: psr\n  Reward threshold: 0.5\n\n"
        "✓ PSR reward filtering enabled\n  → Training only on POSITIVE samples (correct responses)\n"
    ),
    "nsr": (
        "✓ NSR TRAINING CONFIGURATION:\n  Training mode: nsr\n  Reward threshold: 0.5\n\n"
        "✓ NSR reward filtering enabled\n  → Training only on NEGATIVE samples (incorrect responses)\n"
    ),
    "w-reinforce": (
        "✓ W-REINFORCE TRAINING CONFIGURATION:\n  Training mode: w-reinforce\n  Lambda PSR: 0.1\n"
        "  Reward threshold: 0.5\n\n✓ W-REINFORCE reward filtering enabled\n  → Weighted training: 0.1·PSR + NSR\n"
    ),
}


@pytest.mark.parametrize("mode", BLOCK)
def test_the_block_before_training_is_the_one_that_users_know(mode):
    assert banner(METHODS[mode](), 0.5).startswith(BLOCK[mode])


LINE = {
    "psr": r"PSR: Filtered [0-4]/4 positive samples",
    "nsr": r"NSR: Filtered [0-4]/4 negative samples",
    "w-reinforce": r"W-REINFORCE: [0-4] positive \(λ=0\.1\), [0-4] negative \(λ=1\.0\)",
}


def check_run(mode, log, run, steps):
    assert BLOCK[mode] in log
    assert len(re.findall(r"Format rewards: \[[0-9., ]+\]", log)) == steps
    assert len(re.findall(r"Rewards Accuracy: \[[-0-9., ]+\]", log)) == steps
    if mode in LINE:
        assert len(re.findall(LINE[mode], log)) == steps
    assert f"✓ Model saved to {run}" in log
    assert {path.name for path in run.iterdir()} >= FILES | {f"checkpoint-{steps}"}
    settings = json.loads((run / "training_settings.json").read_text())
    assert settings["finished"] and settings["settings"]["mode"] == mode and settings["model"]["name"] == "tiny"
    assert settings["data"]["num_questions"] == 8 and len(settings["data"]["fingerprint"]) == 64
    assert settings["prompt"]["name"] == "structured" and settings["versions"]["trl"]
    history = updates_of(run)
    for key in ("entropy", "decomposed/positive", "decomposed/kept_share", "tokens_per_second", "time/rollout"):
        assert key in history[0], key
    logged = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert "eval_decomposed/accuracy" in logged[0] and logged[0]["step"] == 0, "the base is measured first"
    assert any("eval_decomposed/accuracy" in entry for entry in logged[1:])


def updates_of(run):
    """What was logged of updates, without measurements."""
    return [entry for entry in json.loads((run / "trainer_state.json").read_text())["log_history"] if "loss" in entry]


# The four commands of the proof of concept, with `tiny` on `synthetic` in place of the 3B model on `evochart`, and 8
# questions in place of 100.
COMMAND = """accelerate launch --config_file=deepspeed_zero3.yaml main.py --mode {mode} --vlm-name tiny
--dataset-name synthetic --seed 2025 --subset-size 8 --num-epochs 1 --num-generations {generations}
--batch-size 2 {own} --disable-gradient-checkpointing"""
OWN = {
    "grpo": "",
    "psr": "--reward-threshold 0.5",
    "nsr": "--reward-threshold 0.5",
    "w-reinforce": "--lambda-psr 0.1 --reward-threshold 0.5",
}


def words_of(mode, generations):
    return COMMAND.format(mode=mode, generations=generations, own=OWN[mode]).split()


@pytest.mark.slow
def test_the_command_of_the_proof_of_concept_runs_and_leaves_its_lines_and_files(folder):
    for name in ("deepspeed_zero3.yaml", "main.py"):
        (folder / name).symlink_to(ROOT / name)
    words = words_of("nsr", "4")
    launched = [sys.executable, "-m", "accelerate.commands.launch", *words[2:]]
    done = subprocess.run(launched, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Training progress: 100%" in done.stderr and "FutureWarning" not in done.stderr
    check_run("nsr", done.stdout, Path("grpo-start-ckpts/tiny-prm-large-train-v2-nsr-2025"), steps=8)
    (wandb_run,) = (folder / "wandb").glob("offline-run-*")
    assert wandb_run.name.endswith("-nsr")

    plain = [sys.executable, *words[words.index("main.py") :]]
    again = subprocess.run(plain, cwd=folder, capture_output=True, text=True, timeout=500)
    assert again.returncode == 2 and "a finished run with these settings; --resume" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "middle"), [("grpo", ""), ("psr", "-psr"), ("w-reinforce", "-w-reinforce")])
def test_the_other_modes_of_the_proof_of_concept_leave_their_lines_and_files(mode, middle, folder, capsys):
    """Without the launcher, which is the same for all; `python -m tests.zero3_modes` has every mode under ZeRO-3."""
    generations, steps = ("4", 8) if mode == "w-reinforce" else ("2", 4)
    words = words_of(mode, generations)
    assert main.main([*words[words.index("main.py") + 1 :], "--report-to", "none"]) == 0
    check_run(mode, capsys.readouterr().out, Path(f"grpo-start-ckpts/tiny-prm-large-train-v2{middle}-2025"), steps)


@pytest.mark.parametrize("file", ["deepspeed_zero3.yaml", "recipes/launch/zero2_offload.yaml"])
def test_two_runs_can_share_a_machine(file):
    assert load_config_from_file(str(ROOT / file)).main_process_port == 0, "any port that is free"


@pytest.mark.slow
def test_the_launched_zero3_command_runs_on_two_processes(folder):
    command = [
        sys.executable, "-m", "accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}",
        "--num_processes", "2", str(ROOT / "main.py"), "--mode", "w-reinforce", *SHORT, "--num-generations", "4",
        "--held-out", "0",
        "--reward-threshold", "0.5", "--lambda-psr", "0.1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    log = done.stdout
    assert BLOCK["w-reinforce"] in log and log.count("✓ Model saved to") == 1
    assert len(re.findall(r"W-REINFORCE: \d positive \(λ=0\.1\), \d negative \(λ=1\.0\)", log)) == 2
    run = folder / "grpo-start-ckpts/tiny-prm-large-train-v2-w-reinforce-2025"
    assert {path.name for path in run.iterdir()} >= FILES | {"checkpoint-2"}
    from safetensors.torch import load_file

    tensors = load_file(run / "adapter_model.safetensors")
    moved = sum(tensor.abs().sum().item() for name, tensor in tensors.items() if "lora_B" in name)
    assert moved > 0 and all(tensor.numel() for tensor in tensors.values()), "whole tensors, and trained ones"

    lean = updates_of(run)
    again = [*command, "--plain-update", "--overwrite"]
    done = subprocess.run(again, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    plain = updates_of(run)
    for key in ("loss", "grad_norm", "entropy"):
        steps = [[entry[key] for entry in log if key in entry] for log in (lean, plain)]
        assert len(steps[0]) == 2 and steps[0] == pytest.approx(steps[1], rel=1e-3, abs=1e-6), key
    assert lean[0]["decomposed/skipped_work"] > 0.2 and "decomposed/skipped_work" not in plain[0]

    bad = subprocess.run([*command, "--batch-size", "0"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert bad.returncode != 0 and bad.stderr.count("error: --batch-size 0: must be at least 1") == 1


def test_the_reward_check_passes_on_the_lines_a_trainer_prints(folder, capsys):
    lines = {
        "grpo": "Rewards Accuracy: [1.0, 0.0]",
        "psr": "Rewards Accuracy: [1.0, 0.0]",
        "nsr": "Rewards Accuracy: [0.0, -1.0]",
        "w-reinforce": "Rewards Accuracy: [1.0, -1.0]",
    }
    for mode, line in lines.items():
        Path(f"poc_{mode}.log").write_text(line + "\n")
        assert validate_rewards([f"poc_{mode}.log", "--mode", mode]) == 0
        assert f"✓ {mode.upper()} validation passed" in capsys.readouterr().out
