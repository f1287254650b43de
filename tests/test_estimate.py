"""--estimate: prompts as the trainer sees them, the flags it names, and what a user gets to read."""

import argparse
import itertools
import re
import shutil

import pytest

import main
from estimate import gpu_sizes
from estimate.report import Job, measure_prompts, report
from models.registry import TINY_FOLDER, load_processor, lora_config
from settings.arguments import parse_args, resolve_accumulation
from settings.grpo_config import measured_at_once
from tests.test_lora import qwen2_5_vl_3b
from tests.test_memory import TINY, tiny_trainer, work_of
from training.preparing import examine, load_data
from update.memory import Memory, count_parameters, memory, shape_of


@pytest.fixture(scope="module")
def config():
    return qwen2_5_vl_3b()


def test_prompts_are_as_long_as_the_trainers(tmp_path):
    """The measured sample against the prompt tokens of a real rollout batch over the same questions."""
    trainer, args, questions = tiny_trainer(tmp_path, "--mode nsr --max-completion-length 4")
    measured = measure_prompts(load_processor("tiny"), questions[:2], args)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i] for i in (0, 0, 0, 0, 1, 1, 1, 1)]
    batch = trainer._generate_and_score_completions(rows)
    assert batch["prompt_mask"].sum(1)[[0, 4]].tolist() == measured.lengths
    assert batch["image_grid_thw"].prod(1)[[0, 4]].tolist() == measured.patches
    assert batch["pixel_values"].shape[1] == measured.patch_width


# Cards


def flags(**changes):
    args = parse_args(["--mode", "nsr"])
    settings = {"gradient_accumulation_steps": 4, "max_completion_length": 512, "batch_size": 4, **changes}
    return argparse.Namespace(**{**vars(args), **settings})


def needs(gigabytes):
    """A memory whose `needed` is this many GB."""
    return Memory((gigabytes * 1e9 - 1e9) / 1.05, 0, 0, 0, 0)


def test_a_card_that_is_too_small_names_the_flag_that_is_enough_and_what_it_saves():
    args = flags(disable_gradient_checkpointing=True)
    lines = list(gpu_sizes.advice(lambda a: needs(30 if a.disable_gradient_checkpointing else 20), args, 1))
    assert [line.split()[2] for line in lines[1:]] == ["no:", "no:", "yes", "yes", "yes"]
    assert "without --disable-gradient-checkpointing (saves 10.0 GB): enough (20.0 GB)" in lines[2]
    assert "without --disable-gradient-checkpointing (saves 10.0 GB): not enough: still 20.0 GB; ZeRO-3" in lines[1]


def test_several_changes_are_named_when_one_is_not_enough():
    def memory_of(args):
        return needs(10 + 2 * args.batch_size + args.max_completion_length / 64 + 30 * args.no_lora)

    line = list(gpu_sizes.advice(memory_of, flags(no_lora=True), 1))[1]
    assert "LoRA instead of --no-lora (saves 30.0 GB), then --batch-size 1 --gradient-accumulation-steps 16" in line
    assert line.endswith(": enough (16.0 GB)")
    assert (
        "no flag saves anything: not enough: still 100.0 GB; ZeRO-3"
        in list(gpu_sizes.advice(lambda args: needs(100), flags(), 1))[1]
    )


def test_every_named_change_keeps_whole_groups_and_saves_memory_of_the_3b_model(config):
    def memory_of(args):
        adapter = None if args.no_lora else lora_config(config)
        counts = count_parameters(config, adapter)
        work = work_of(
            prompt=100 + args.max_pixels // 784, patches=args.max_pixels // 196, completion=args.max_completion_length,
            batch=args.batch_size, accumulation=args.gradient_accumulation_steps, updates=args.updates_per_rollout,
            rank=0 if args.no_lora else 8, checkpointing=not args.disable_gradient_checkpointing,
            packed=not args.plain_update, engine=args.rollouts == "engine", on_gpu=True, compute_bytes=2,
            weight_bytes=4 if args.no_lora else 2,
        )  # fmt: skip
        return memory(shape_of(config), counts, work)

    more = {"no_lora": True, "plain_update": True, "disable_gradient_checkpointing": True, "updates_per_rollout": 2}
    args = flags(rollouts="generate", **more)
    before = memory_of(args)
    for name, changed in gpu_sizes.changes(args, 1):
        resolve_accumulation(changed, 1)
        after = memory_of(changed)
        assert after.peak <= before.peak and (after.update < before.update or after.rollout < before.rollout), name


def test_a_measurement_that_holds_more_than_a_rollout_is_the_peak_and_its_flag_is_named():
    args = parse_args(["--mode", "nsr", *TINY])
    examine(args)
    questions = load_data(args)[0].questions
    job = Job(args, questions)
    one = job.memory(args)
    many = argparse.Namespace(**{**vars(args), "eval_samples": 2048})
    assert job.memory(many).rollout > 20 * one.rollout and job.memory(many).update == one.update
    assert job.memory(argparse.Namespace(**{**vars(many), "held_out": 0.0})) == one, "nothing is measured"
    assert ("--eval-samples 1024", 1024) in [(name, one.eval_samples) for name, one in gpu_sizes.changes(many, 1)]
    assert measured_at_once(many) == 2048 and measured_at_once(args) == 2 * args.gradient_accumulation_steps
    assert measured_at_once(argparse.Namespace(batch_size=8, gradient_accumulation_steps=4, eval_samples=12)) == 24


# As a user runs it


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tiny_is_timed_and_nothing_is_left_behind(folder, capsys):
    line = ["--mode", "psr", *TINY, "--max-completion-length", "12", "--updates-per-rollout", "2", "--estimate"]
    assert main.main([*line, "--eval-steps", "10"]) == 0
    out = capsys.readouterr().out
    assert "1,823,872 parameters, 974,720 of them vision; 77,824 trained (LoRA, rank 8)" in out
    assert "Updates     20 of 4 completions of at most 12 tokens" in out
    assert re.search(r"of tensors at the peak, on the CPU in fp32, gradient checkpointing off", out), "TRL's takes more"
    assert re.findall(r"(\d+) GB    yes", out) == ["16", "24", "40", "80", "141"]
    assert re.search(r"Hours       [\d.]+ min if all have 6, [\d.]+ min if all have 12 tokens, without held-out", out)
    assert "with the model's weights" in out and re.search(r"more for 3 measurements of \d+ held-out questions", out)
    counts = re.search(
        r"Held out    (\d+) questions, measured 3 times \(--eval-steps 10\): ([\d,]+) completions, ", out
    )
    assert int(counts[1]) * 3 == int(counts[2].replace(",", "")), "at the start, amid the run, at its end"
    # seven eighths, twice, of 77,824 float32 gradients; of all 1,823,872
    sent = "0.000545 GB (0.000545 GB of gradients); with --no-lora 0.0128 GB"
    assert f"Network     an update, one process nothing, each of 8 sends and receives {sent}" in out
    assert "Rewards Accuracy" not in out, "the timed step prints nothing"
    assert not list(folder.iterdir())


def test_rollouts_of_a_server_take_neither_memory_nor_time_here(folder, capsys):
    """And none is asked: at this address there is none."""
    line = "--mode nsr --dataset-name synthetic --subset-size 8 --max-completion-length 8 --estimate --report-to none"
    said = {}
    for rollouts in ("engine", "server --server-url http://127.0.0.1:9"):
        assert main.main([*line.split(), "--rollouts", *rollouts.split()]) == 0
        said[rollouts[:6]] = capsys.readouterr().out
    assert "or the rollout, most of it cache" in said["engine"] and "or the rollout" not in said["server"]
    assert all(
        words in said["server"] for words in ("and no rollout, the server's", "without what the server draws and")
    )
    assert "for the updates of a rollout batch, with the model's weights" in said["server"]
    assert "more for" in said["engine"] and "more for" not in said["server"], "held-out charts are its work as well"


def test_what_fsdp_shares_is_said_not_to_be_counted(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    args = parse_args(["--mode", "nsr", "--dataset-name", "synthetic", "--subset-size", "8", "--estimate"])
    examine(args)
    _, line, *_ = itertools.islice(report(args, load_data(args)[0].questions, 0, 4, pytest.fail), 2)
    assert line.startswith("Sharing     FSDP's is not counted")


@pytest.mark.parametrize(
    ("flags", "fsdp", "spares"), [("", "false", True), ("", "true", False), ("--loss bnpo", "false", False)]
)
def test_checkpointing_is_counted_where_the_trainer_cannot_do_without(flags, fsdp, spares, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", fsdp)
    args = parse_args(["--mode", "nsr", *TINY, *flags.split()])
    examine(args)
    assert Job(args, load_data(args)[0].questions).work(args).spares == spares


def test_a_model_without_stored_weights_is_timed_with_random_ones(folder, capsys):
    model = model_folder(folder)
    line = ["--mode", "grpo", *TINY, "--vlm-name", str(model), "--max-completion-length", "6", "--estimate"]
    assert main.main(line) == 0
    assert "with random weights (none are stored here)" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_a_large_model_without_a_gpu_is_not_timed(folder, capsys, config):
    model = model_folder(folder)
    config.save_pretrained(model)
    assert main.main(["--mode", "nsr", *TINY, "--vlm-name", str(model), "--no-lora", "--estimate"]) == 0
    out = capsys.readouterr().out
    assert "3,754,622,976 parameters" in out and "on the GPU in bf16" in out
    assert "each of 8 sends and receives 26.3 GB (26.3 GB of gradients); with LoRA 0.105 GB" in out
    assert re.search(r"16 GB    no: LoRA instead of --no-lora \(saves \d+\.\d GB\): enough", out)
    assert "Hours       not measured: a model of this size needs a GPU" in out


def model_folder(folder):
    """tiny's configuration and processor without its weights."""
    model = folder / "model"
    shutil.copytree(TINY_FOLDER, model, ignore=shutil.ignore_patterns("*.safetensors", "generation_config.json"))
    return model


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--mode nsr --vlm-name qwen9", "unknown model 'qwen9'"),
        ("--mode nsr --subset-size 3 --num-generations 2 --batch-size 64", "zero steps"),
        ("--mode nsr --precision fp16", "--precision fp16 needs a GPU"),
        ("--mode nsr --num-generations 8 --gradient-accumulation-steps 3", "the nearest that fit: 4"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(line, message, folder, capsys):
    assert main.main([*line.split(), "--estimate", "--report-to", "none"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(folder.iterdir())
