"""Flags -> how many updates there are, and TRL's GRPOConfig."""

from __future__ import annotations

import argparse
from pathlib import Path


def plan_steps(args, num_rows: int, num_processes: int) -> tuple[int, str]:
    """Updates per epoch, and the line that says how rows become steps; ValueError when no rollout batch is full."""
    completions = args.batch_size * num_processes * args.gradient_accumulation_steps * args.updates_per_rollout
    prompts = completions // args.num_generations
    batches, left = divmod(num_rows, prompts)
    if batches == 0:
        raise ValueError(
            f"{num_rows} questions do not fill one rollout batch of {prompts} prompts x {args.num_generations} "
            "generations: zero steps; lower --batch-size or --updates-per-rollout, or use more questions"
        )
    updates = batches * args.updates_per_rollout
    line = f"{updates} updates per epoch, {prompts} questions x {args.num_generations} each"
    return updates, line + (f"; {left} of {num_rows} questions fill no rollout batch and are left out" if left else "")


def build_config(args: argparse.Namespace, folder: Path, precision: str, has_held_out: bool):
    """The GRPOConfig of these flags. Making it starts the distributed state, if there is one."""
    import torch
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=str(folder),
        seed=args.seed,
        learning_rate=args.learning_rate,
        optim={"adam": "adamw_torch_fused", "sgd": "sgd"}[args.optimiser],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        num_train_epochs=args.num_epochs,
        max_steps=args.max_steps or -1,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size * args.gradient_accumulation_steps,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        steps_per_generation=args.gradient_accumulation_steps * args.updates_per_rollout,
        num_generations=args.num_generations,
        num_generations_eval=1,
        max_completion_length=args.max_completion_length,
        temperature=args.temperature,
        loss_type="dapo" if args.averaging == "token" else "grpo",
        epsilon=args.clip,
        epsilon_high=args.clip_high,
        beta=args.kl_beta,
        entropy_coef=args.entropy_bonus,
        gradient_checkpointing=not args.disable_gradient_checkpointing,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_steps=args.save_steps,
        save_total_limit=args.save_total_limit,
        eval_strategy="steps" if has_held_out else "no",
        eval_steps=args.eval_steps,
        report_to=args.report_to,
        run_name=folder.name,
        log_completions=args.log_completions,
        dataloader_num_workers=0,
        ddp_find_unused_parameters=None if args.no_lora else False,  # every adapter takes part in every pass
    )
