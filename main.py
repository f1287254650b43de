"""Train: flags -> data, rewards, model, trainer -> train -> save.

accelerate launch --config_file=deepspeed_zero3.yaml main.py --mode nsr --vlm-name qwen2-5-3b --dataset-name evochart
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from charts.drawn import DRAWN
from common.network import stay_local
from common.processes import is_main_process, left_alone, on_main_process, start_together
from common.terminal import hide_deprecations, printable, unfailing_output
from settings.arguments import parse_args, resolve_accumulation
from settings.grpo_config import build_config, plan_steps
from trainers import METHODS
from trainers.own_advantage import AdvantageError
from training.hardware import (
    choose_precision,
    skip_deepspeed_compilation,
    use_first_gpu,
    weights_dtype,
)

FULL_LEARNING_RATE, LORA_LEARNING_RATE = 1e-6, 1e-5
COMPLETION_LENGTH = 768
DRAWN_SIZE = 1000


def resolve_defaults(args: argparse.Namespace) -> str:
    """Fills in what depends on the model and the number of processes; returns the model's source (hub id or folder)."""
    from charts.prompt import PROMPTS
    from models.registry import LORA_TARGETS, MODELS
    from rewards import PRESETS
    from training.starting import begin

    source, entry = begin(args).source, MODELS.get(begin(args).model_name)
    unknown = [target for target in args.lora_targets or () if target not in LORA_TARGETS]
    if unknown and args.vlm_name in MODELS:
        raise ValueError(f"--lora-targets {' '.join(unknown)}: unknown; choose from {', '.join(LORA_TARGETS)}")
    if args.rewards not in PRESETS:
        raise ValueError(f"--rewards {args.rewards}: unknown; choose one of {', '.join(PRESETS)}")
    if args.prompt not in PROMPTS:
        raise ValueError(f"--prompt {args.prompt}: unknown; choose one of {', '.join(PROMPTS)}")
    args.gradient_accumulation_steps = resolve_accumulation(args, int(os.environ.get("WORLD_SIZE", "1")))
    if args.learning_rate is None:
        own = entry and entry.learning_rate
        args.learning_rate = own or (FULL_LEARNING_RATE if args.no_lora else LORA_LEARNING_RATE)
    if args.max_completion_length is None:
        args.max_completion_length = (entry and entry.max_completion_length) or COMPLETION_LENGTH
    if args.dataset_name in DRAWN and args.subset_size is None:
        args.subset_size = DRAWN_SIZE
    return source


def check_model(args: argparse.Namespace) -> None:
    """Reads configuration and processor, so that a name that leads nowhere fails before a folder or model is made."""
    from checkpoints.finding import check_adapter
    from models.registry import load_config, load_processor

    load_config(args.start.source)
    check_adapter(args.start)
    load_processor(args.start.source, min_pixels=args.min_pixels, max_pixels=args.max_pixels)


def load_data(args: argparse.Namespace):
    """(training questions, held-out questions) as QuestionSets; ValueError for data that cannot be trained on."""
    from charts.loading import hold_out, load_questions
    from training.rows import check_images

    size = args.subset_size
    everything = load_questions(
        args.dataset_name,
        purpose="train",
        path=args.dataset_path,
        # charts that are drawn are drawn to order: the subset and the charts held out beside it
        subset_size=math.ceil(size * (1 + args.held_out)) + 20 if args.dataset_name in DRAWN else None,
        subset_order=args.subset_order,
        seed=args.seed,
        deduplicate=args.deduplicate,
    )
    check_images(everything.questions)
    share = args.held_out or 0.05  # --held-out 0: the training rows are those of the default, and nothing is measured
    train, held_out = hold_out(everything, share, subset_size=size, subset_order=args.subset_order, seed=args.seed)
    return train, held_out if args.held_out else replace(held_out, questions=[])


def build_trainer(args: argparse.Namespace, config, train, held_out, load=None):
    """The mode's trainer with model, processor, rewards and rows; `load` in place of models.registry.load_model."""
    from transformers.trainer_callback import ProgressCallback

    from models.registry import load_model, load_processor, lora_config, unsampleable_token_ids
    from rewards import build_rewards
    from trainers import TRAINERS
    from training.early_warning import EarlyWarning, Watch, bounds_of
    from training.malloc_trim import FreeHeap
    from training.report import TrainingProgress, make_bystanders
    from training.rows import build_rows
    from training.starting import with_adapter

    if args.log_completions:
        from training.escape_completions import escape_shown_completions

        escape_shown_completions()
    processor = load_processor(args.start.source, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    assert processor.tokenizer.padding_side == "left", "GRPO reads the end of the prompt: the processor must pad left"
    precision = "bf16" if config.bf16 else "fp16" if config.fp16 else "fp32"
    load = load or load_model
    model = load(args.start.source, dtype=weights_dtype(precision, args.no_lora, config.deepspeed_plugin is not None))
    config.generation_kwargs = {"suppress_tokens": unsampleable_token_ids(model.config)}
    questions = {question.id: question for part in (train, held_out) for question in part.questions}
    rewards = build_rewards(
        args.rewards,
        questions,
        soft_numeric=args.soft_accuracy,
        max_completion_tokens=args.max_completion_length,
        form=args.prompt,
    )
    config.reward_weights = [reward.weight for reward in rewards]
    train_rows, held_out_rows = build_rows(args, config, train, held_out, questions, processor)
    adapter = lora_config(model.config, r=args.lora_rank, alpha=args.lora_alpha, targets=args.lora_targets)
    zero3 = config.deepspeed_plugin is not None and config.deepspeed_plugin.zero_stage == 3
    trainer = TRAINERS[args.mode](
        model=with_adapter(model, args.start, zero3=zero3),
        reward_funcs=[reward.function for reward in rewards],
        args=config,
        train_dataset=train_rows,
        eval_dataset=held_out_rows,
        processing_class=processor,
        peft_config=None if args.no_lora or args.start.adapter else adapter,
        truncated=args.truncated,
        normaliser=args.normaliser,
        negative_ratio_cap=args.negative_ratio_cap,
        rollouts=args.rollouts,
        update="plain" if args.plain_update else "shared",
        max_bad_updates=args.max_bad_updates,
        reward_scales={reward.name: reward.scale for reward in rewards if reward.name != "accuracy"},
        reward_threshold=args.reward_threshold,
        **asdict(METHODS[args.mode].from_settings(args)),
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress)
    watch = Watch(args.mode, args.warn_window, bounds_of(args))
    trainer.early_warning = EarlyWarning(watch, args.stop_on_collapse)
    trainer.add_callback(trainer.early_warning)
    trainer.add_callback(FreeHeap)
    make_bystanders(trainer)
    if args.log_completions:
        trainer.args.report_to = []  # wandb refuses TRL 1.16's table of prompts with images; log and parquet stay
    return trainer


def prepare(args: argparse.Namespace):
    """Everything that can fail for a reason of the user's, before a model is loaded. Raises ValueError.

    Returns (config, training questions, held-out questions, folder, settings record, checkpoint to resume).
    """
    from checkpoints.run_folder import prepare_folder, run_folder, settings_record
    from models.weights import check_model_weights
    from training.report import few_generations_warning, own_defaults, set_up_wandb
    from training.starting import model_record

    source = resolve_defaults(args)
    check_model(args)
    check_model_weights(source)
    precision = choose_precision(args.precision)
    train, held_out = load_data(args)
    _, steps = plan_steps(args, len(train), int(os.environ.get("WORLD_SIZE", "1")))
    folder = run_folder(args.output_root, args.vlm_name, args.mode, args.seed)
    data = {"name": train.name, "split": train.split, "fingerprint": train.fingerprint, "num_questions": len(train)}
    record = settings_record(args, model_record(args.start), data)
    if args.report_to == "wandb":
        set_up_wandb(args.mode, folder.name, args.wandb_online)
    skip_deepspeed_compilation()
    start_together(args.collective_timeout)
    config = build_config(args, folder, precision, len(held_out) > 0)
    flags = {"resume": args.resume, "overwrite": args.overwrite, "deepspeed": config.deepspeed_plugin is not None}
    lines, checkpoint = on_main_process(lambda: prepare_folder(folder, record, **flags))
    lines = [*train.notes, *lines, f"{len(train)} questions to train on, {len(held_out)} held out; {steps}"]
    if train.skipped:
        shown = "; ".join(f"{row}: {reason}" for row, reason in train.skipped[:5])
        lines.append(f"{len(train.skipped)} rows skipped: {shown}" + ("; ..." if len(train.skipped) > 5 else ""))
    lines += [few_generations_warning(args.mode, args.num_generations), own_defaults(args.mode, args.explicit)]
    for line in filter(None, lines):
        say(line)
    return config, train, held_out, folder, record, checkpoint


def estimate(args: argparse.Namespace) -> None:
    """--estimate: prints what this run would need. No run folder, no weights from the network. Raises ValueError."""
    from estimate.report import report

    resolve_defaults(args)
    check_model(args)
    train, held_out = load_data(args)
    updates, _ = plan_steps(args, len(train), int(os.environ.get("WORLD_SIZE", "1")))
    skip_deepspeed_compilation()

    def trainer(settings, folder: str, precision: str, load):
        config = build_config(settings, Path(folder), precision, has_held_out=False)
        return build_trainer(settings, config, train, replace(held_out, questions=[]), load)

    for line in report(args, train.questions, len(held_out), updates, trainer):
        say(line)


def stopped_early(trainer, interruption, checkpoint: Path) -> int:
    """Tells why a run has ended before its last step and what is saved of it; the exit code."""
    if trainer.unsaved:
        say_error(". ".join(filter(None, [trainer.unhealthy, trainer.unsaved])))
        return 1
    if trainer.unhealthy:
        say_error(f"{trainer.unhealthy}; {checkpoint} goes on with --resume")
        return 1
    say(interruption.line(checkpoint))
    return 128 + interruption.signal


def say(line: str) -> None:
    if is_main_process():
        print(printable(line), flush=True)


def say_error(line: str) -> None:
    if is_main_process():
        print(printable(f"error: {line}"), file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    try:
        return run(argv)
    except KeyboardInterrupt:  # before training, or after it; in between training/interruption.py saves a checkpoint
        say_error("interrupted")
        return 130
    except AdvantageError as error:  # in training: the line of the progress bar is not ended
        if is_main_process():
            print("\n" + printable(f"error: {error}"), file=sys.stderr, flush=True)
        return 1
    except RuntimeError as error:
        line = left_alone(error)
        if line is None:
            raise
        # every process that is left says so: the first one may be the one that is gone
        print(f"\nerror: {line}; go on with the same command and --resume", file=sys.stderr, flush=True)
        return 1


def run(argv: list[str] | None) -> int:
    hide_deprecations()
    from models.registry import NoWeights
    from training.starting import begin

    try:
        args = parse_args(argv)
        stay_local(begin(args).source, data_is_here=bool(args.dataset_path) or args.dataset_name in DRAWN)
        gpu_line = use_first_gpu()
        if gpu_line:
            say(gpu_line)
        if args.estimate:
            estimate(args)
            return 0
        config, train, held_out, folder, record, checkpoint = prepare(args)
    except (ValueError, OSError) as error:
        say_error(str(error))
        return 2
    from checkpoints.model_card import model_card
    from checkpoints.run_folder import discard_replaced
    from training.report import banner, end_without_backends

    for line in banner(METHODS[args.mode].from_settings(args), args.reward_threshold).split("\n"):
        say(line)
    try:
        trainer = build_trainer(args, config, train, held_out)
    except NoWeights as error:
        say_error(str(error))
        return 2
    if is_main_process():
        discard_replaced(folder)
    trainer.card = model_card(folder.name, record)
    code = train_and_save(trainer, folder, record, checkpoint, len(held_out))
    end_without_backends(trainer, code)
    return code


def train_and_save(trainer, folder: Path, record: dict, checkpoint: Path | None, num_held_out: int) -> int:
    """Trains from `checkpoint` or from the beginning and saves the result in `folder`; the exit code."""
    from checkpoints.fingerprints import file_fingerprints, weight_files
    from checkpoints.run_folder import write_settings
    from training.early_warning import keep_best
    from training.interruption import Interruption

    with Interruption(trainer) as interruption:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if interruption.signal or trainer.unhealthy:
        return stopped_early(trainer, interruption, folder / f"checkpoint-{trainer.state.global_step}")
    measured = [entry for entry in trainer.state.log_history if "eval_decomposed/accuracy" in entry]
    if measured and not trainer.early_warning.collapsed:  # then other weights are kept than those measured last
        accuracy = measured[-1]["eval_decomposed/accuracy"]
        say(f"Held-out accuracy: {accuracy:.1%} on {num_held_out} questions, one completion each")

    def finish() -> None:
        if trainer.early_warning.collapsed:
            kept = keep_best(folder, trainer.state.best_model_checkpoint)
            say(f"Stopped at update {trainer.state.global_step}: {trainer.early_warning.collapsed}; {kept}")
        ended = {"finished": True, "collapsed": trainer.early_warning.collapsed}
        write_settings(folder, {**record, **ended, "weights": file_fingerprints(weight_files(folder))})

    refused = trainer.save_result(finish)
    if refused:
        say_error(trainer.unsaved_line("the trained model", refused))
        return 1
    say(f"✓ Model saved to {folder}")
    return 0


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
