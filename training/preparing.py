"""Everything that can fail for a reason of the user's, before a model is loaded: settings, model, data, run folder."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charts.boxes import KIND
from charts.loading import default_prompt, hold_out, load_questions
from charts.named import is_drawn, is_here
from charts.own_columns import Columns
from charts.prompt import doubt, read_template, template
from charts.record import QuestionSet
from checkpoints.finding import check_adapter
from checkpoints.run_folder import prepare_folder, run_folder, settings_record
from common.commands import say
from common.launcher import launch, num_processes, shares_weights
from common.network import stay_local
from common.processes import on_main_process, start_together
from models import four_bit
from models.families import family_of
from models.inputs import check_limits, check_seen, framed
from models.registry import LORA_TARGETS, MODELS, load_config, load_processor
from models.weights import check_model_weights
from rewards import PRESETS, check_golds, chosen, try_own
from settings.arguments import resolve_accumulation
from settings.grpo_config import build_config, plan_steps
from settings.table import COMPLETION_LENGTH, DRAWN_SIZE, FULL_LEARNING_RATE, LORA_LEARNING_RATE
from trainers import METHODS
from training.hardware import (
    choose_precision,
    host_optimiser,
    skip_deepspeed_compilation,
    too_many_threads,
    use_first_gpu,
)
from training.machines import check_machines
from training.starting import begin, model_record

if TYPE_CHECKING:
    from trl import GRPOConfig


class Prepared(NamedTuple):
    """A run that nothing of the user's stands in the way of."""

    config: GRPOConfig
    train: QuestionSet
    held_out: QuestionSet
    folder: Path
    record: dict  # training_settings.json
    checkpoint: Path | None  # to resume from


def prepare(args: argparse.Namespace) -> Prepared:
    """Checks and completes `args`, opens the connection between processes, makes the run folder. Raises ValueError."""
    examine(args)
    from training.report import few_generations_warning, own_defaults, set_up_wandb

    server = _server(args)
    check_model_weights(args.start.source)
    precision = choose_precision(args.precision)
    train, held_out = load_data(args)
    check_golds(args.reward or args.rewards, train.questions)
    for part in chosen(args.reward or args.rewards):
        if part.place:
            try_own(part.place, train.questions[:2])
    _, steps = plan_steps(args, len(train), num_processes())
    folder = run_folder(args.output_root, args.vlm_name, args.mode, args.seed)
    data = {"name": train.name, "split": train.split, "fingerprint": train.fingerprint, "num_questions": len(train)}
    record = {**settings_record(args, model_record(args.start), data), **server}
    if args.report_to == "wandb":
        set_up_wandb(args.mode, folder.name, args.wandb_online)
    skip_deepspeed_compilation()
    start_together(args.collective_timeout)
    config = build_config(args, folder, precision, len(held_out) > 0)
    on_host = host_optimiser(config, args.optimiser)
    flags = {"resume": args.resume, "overwrite": args.overwrite, "deepspeed": config.deepspeed_plugin is not None}
    lines, checkpoint = on_main_process(lambda: prepare_folder(folder, record, **flags))
    check_machines(folder, record)
    size = f"{len(train)} questions to train on, {len(held_out)} held out; {steps}"
    of_mode = (few_generations_warning(args.mode, args.num_generations), own_defaults(args))
    of_data = (*train.notes, doubt(args.prompt, train.questions))
    for line in filter(None, (*of_data, *lines, size, _skipped(train), on_host, *of_mode)):
        say(line)
    return Prepared(config, train, held_out, folder, record, checkpoint)


def _server(args: argparse.Namespace) -> dict:
    """What the record says of the server of the rollouts.

    OSError when it is not there, ValueError when it would leave a part of the adapter out that is trained further.
    """
    if args.rollouts != "server":
        return {}
    from sampling.server import Server, check_servable

    if args.start.adapter is not None:
        check_servable(args.start.adapter, family_of(load_config(args.start.source)).vision_modules)
    server = Server(args.server_url)
    return {"server": {"url": server.url, "model": server.base_model(args.server_model), **server.about()}}


def _skipped(train: QuestionSet) -> str | None:
    if not train.skipped:
        return None
    shown = "; ".join(f"{row}: {reason}" for row, reason in train.skipped[:5])
    return f"{len(train.skipped)} rows skipped: {shown}" + ("; ..." if len(train.skipped) > 5 else "")


def examine(args: argparse.Namespace) -> None:
    """Completes `args` and reads configuration and processor, so that a name that leads nowhere fails first of all.

    It sets the environment that libraries read while they are imported (transformers, trl, datasets): not before it.
    """
    resolve_data(args)
    for line in (use_first_gpu(), too_many_threads()):
        if line:
            say(line)
    resolve_defaults(args)
    config = load_config(args.start.source)
    if args.base_4bit:
        four_bit.check_shape(args.start.model_name, config)
        if not args.estimate:
            four_bit.check_package()
        if shares_weights():
            raise ValueError(
                "--base-4bit: DeepSpeed and FSDP cannot share out weights in 4 bits, and each process has all of them; "
                "launch without either, as by accelerate launch --num_processes 2 main.py"
            )
    if args.rollouts == "server" and launch().fsdp:
        raise ValueError(
            "--rollouts server: under FSDP no process has the whole adapter to hand over; launch with "
            "--config_file=deepspeed_zero3.yaml or recipes/launch/ddp.yaml"
        )
    check_adapter(args.start)
    limits = {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    check_limits(load_processor(args.start.source, **limits), **limits)


def resolve_data(args: argparse.Namespace) -> None:
    """Fills in `args.start` and what decides which rows are read and how they are asked: the prompt, and the number of
    charts that are drawn. Tells the libraries whether they need the hub."""
    if args.prompt_file is not None:
        args.prompt = read_template(args.prompt_file)
        args.explicit = [*args.explicit, "prompt"]  # not that of a first stage
    stay_local(begin(args).source, data_is_here=is_here(args.dataset_name, args.dataset_path))
    if "prompt" not in {*args.explicit, *args.start.saved}:
        args.prompt = default_prompt(args.dataset_name)
    template(args.prompt)
    if is_drawn(args.dataset_name) and args.subset_size is None:
        args.subset_size = DRAWN_SIZE


def resolve_defaults(args: argparse.Namespace) -> None:
    """Fills in what depends on the model and the number of processes."""
    entry = MODELS.get(args.start.model_name)
    unknown = [target for target in args.lora_targets or () if target not in LORA_TARGETS]
    if unknown and args.start.adapter is None:  # one that is trained further has its own
        raise ValueError(f"--lora-targets {' '.join(unknown)}: unknown; choose from {', '.join(LORA_TARGETS)}")
    if args.rewards not in PRESETS:
        raise ValueError(f"--rewards {args.rewards}: unknown; choose one of {', '.join(PRESETS)}")
    parts = chosen(args.reward or args.rewards)
    if METHODS[args.mode].needs_reward(args) and not any(part.weight for part in parts):
        raise ValueError(
            f"--reward {' '.join(args.reward)}: every weight is 0, and --mode {args.mode} learns from their sum alone"
        )
    own_rewards = {part.name: part.place for part in parts if part.place}
    if args.soft_accuracy and "accuracy" in own_rewards:
        raise ValueError(f"--soft-accuracy is not used with --reward {own_rewards['accuracy']}; leave it out")
    args.gradient_accumulation_steps = resolve_accumulation(args, num_processes())
    if args.learning_rate is None:
        own = entry and entry.learning_rate
        args.learning_rate = own or (FULL_LEARNING_RATE if args.no_lora else LORA_LEARNING_RATE)
    if args.max_completion_length is None:
        args.max_completion_length = (entry and entry.max_completion_length) or COMPLETION_LENGTH


def load_data(args: argparse.Namespace) -> tuple[QuestionSet, QuestionSet]:
    """(training questions, held-out questions); ValueError for data that cannot be trained on."""
    from training.rows import check_images

    size = args.subset_size
    everything = load_questions(
        args.dataset_name,
        purpose="train",
        path=args.dataset_path,
        # charts that are drawn are drawn to order: the subset and the charts held out beside it
        subset_size=math.ceil(size * (1 + args.held_out)) + 20 if is_drawn(args.dataset_name) else None,
        subset_order=args.subset_order,
        seed=args.seed,
        deduplicate=args.deduplicate,
        columns=Columns.of(args),
    )
    check_images(everything.questions)
    check_seen(args.start.source, everything.questions)
    if size is None and not args.held_out:
        return _framed(everything, args), replace(everything, questions=[])
    share = args.held_out or 0.05  # --held-out 0: the subset is that of the default, and nothing is measured
    train, held_out = hold_out(everything, share, subset_size=size, subset_order=args.subset_order, seed=args.seed)
    return _framed(train, args), _framed(held_out, args) if args.held_out else replace(held_out, questions=[])


def _framed(data: QuestionSet, args: argparse.Namespace) -> QuestionSet:
    """The questions for a box as they are put to this model."""
    if not any(question.answer_kind == KIND for question in data.questions):
        return data
    limits = {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    processor = load_processor(args.start.source, **limits)
    return replace(data, questions=[framed(question, processor, **limits) for question in data.questions])
