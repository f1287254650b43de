"""The trainer of a run: model, processor, rewards, rows and what watches them, put together by the settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

from peft import LoraConfig
from transformers import PreTrainedModel, ProcessorMixin, ProgressCallback
from trl import GRPOConfig, GRPOTrainer

from charts.prompt import form_of
from charts.record import QuestionSet
from models import four_bit, registry
from models.families import tokenizer_of
from rewards import build_rewards
from trainers import METHODS
from trainers.trainer import TRAINERS
from training.early_warning import EarlyWarning, Watch, bounds_of
from training.escape_completions import escape_shown_completions
from training.hardware import weights_dtype
from training.malloc_trim import FreeHeap
from training.measured import best_metric
from training.report import TrainingProgress, make_bystanders
from training.rows import build_rows
from training.starting import with_adapter


def build_trainer(
    args: argparse.Namespace,
    config: GRPOConfig,
    train: QuestionSet,
    held_out: QuestionSet,
    load: Callable[..., PreTrainedModel] | None = None,
) -> GRPOTrainer:
    """The mode's trainer, with its callbacks; `load` in place of models.registry.load_model. NoWeights from there."""
    if args.log_completions:
        escape_shown_completions()
    processor = registry.load_processor(args.start.source, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    assert tokenizer_of(processor).padding_side == "left", "GRPO reads the end of the prompt: it must be padded left"
    model = _load(args, config, load or registry.load_model)
    _say_what_may_be_drawn(config, model, processor)
    questions = {question.id: question for part in (train, held_out) for question in part.questions}
    rewards = build_rewards(
        args.reward or args.rewards,
        questions,
        soft_numeric=args.soft_accuracy,
        max_completion_tokens=args.max_completion_length,
        **{"form": form_of(args.prompt), "rule": args.rule or "strict"},
    )
    config.reward_weights = [reward.weight for reward in rewards]
    train_rows, held_out_rows = build_rows(args, config, train, held_out, questions, processor)
    trained = four_bit.trained(model)
    trainer = TRAINERS[args.mode](
        model=model,
        reward_funcs=[reward.function for reward in rewards],
        args=config,
        train_dataset=train_rows,
        eval_dataset=held_out_rows,
        processing_class=processor,
        peft_config=None if args.no_lora or args.start.adapter else _adapter(args, model),
        reward_scales={reward.name: reward.scale for reward in rewards if reward.name != "accuracy"},
        **_own(args, held_out),
    )
    if args.base_4bit:
        four_bit.keep_adapters(trainer.model, trained)
    _add_callbacks(trainer, args)
    return trainer


def _load(args: argparse.Namespace, config: GRPOConfig, load: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """The model that is trained, with the adapter that is trained further, if there is one."""
    precision = "bf16" if config.bf16 else "fp16" if config.fp16 else "fp32"
    dtype = weights_dtype(precision, args.no_lora, config.deepspeed_plugin is not None)
    quantised = {"base_4bit": True} if args.base_4bit else {}
    model = load(args.start.source, dtype=dtype, **quantised)
    return with_adapter(model, args.start, zero3=getattr(config.deepspeed_plugin, "zero_stage", 0) == 3)


def _adapter(args: argparse.Namespace, model: PreTrainedModel) -> LoraConfig:
    return registry.lora_config(model.config, r=args.lora_rank, alpha=args.lora_alpha, targets=args.lora_targets)


def _say_what_may_be_drawn(config: GRPOConfig, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Which tokens are never sampled, and which end a completion of a model that reads text alone."""
    config.generation_kwargs = {"suppress_tokens": registry.unsampleable_token_ids(model.config, processor) or None}
    if tokenizer_of(processor) is processor:
        model.generation_config.eos_token_id = registry.end_tokens(model.generation_config, processor)


def _own(args: argparse.Namespace, held_out: QuestionSet) -> dict:
    """The trainer's arguments that are this project's and not TRL's."""
    names = ("truncated", "normaliser", "rollouts", "max_bad_updates", "reward_threshold", "negative_ratio_cap")
    own = {name: getattr(args, name) for name in names} | asdict(METHODS[args.mode].from_settings(args))
    charts = [question.image_id or question.id for question in held_out.questions]
    if args.rollouts == "server":
        own["server"] = (args.server_url, args.server_model)
    return {**own, "held_out_charts": charts, "update": "plain" if args.plain_update else "shared"}


def _add_callbacks(trainer: GRPOTrainer, args: argparse.Namespace) -> None:
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TrainingProgress)
    watch = Watch(args.mode, args.warn_window, bounds_of(args))
    trainer.best_by = best_metric(args.best_by, args.eval_samples)
    trainer.early_warning = EarlyWarning(watch, args.stop_on_collapse, trainer.best_by)
    trainer.add_callback(trainer.early_warning)
    trainer.add_callback(FreeHeap)
    make_bystanders(trainer)
    if args.log_completions:
        trainer.args.report_to = []  # wandb refuses TRL 1.16's table of prompts with images; log and parquet stay
