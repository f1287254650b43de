"""Flags -> how many updates there are, and TRL's GRPOConfig."""

import argparse
from pathlib import Path

from settings.losses import trl_fields
from settings.table import all_settings


def plan_steps(args: argparse.Namespace, num_rows: int, num_processes: int) -> tuple[int, str]:
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


def measured_at_once(args: argparse.Namespace) -> int:
    """Completions of a measurement that each process decodes together: whole questions, about an update's rows."""
    return max(1, args.batch_size * args.gradient_accumulation_steps // args.eval_samples) * args.eval_samples


def build_config(args: argparse.Namespace, folder: Path, precision: str, has_held_out: bool):
    """The GRPOConfig of these flags. Making it starts the distributed state, if there is one."""
    import torch
    from trl import GRPOConfig

    fields = {one.feeds: one.convert(getattr(args, one.name)) for one in all_settings().values() if one.feeds}
    if args.loss is not None:
        fields |= trl_fields(args.loss)
    return GRPOConfig(
        **fields,
        output_dir=str(folder),
        run_name=folder.name,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        per_device_eval_batch_size=measured_at_once(args),
        steps_per_generation=args.gradient_accumulation_steps * args.updates_per_rollout,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        eval_strategy="steps" if has_held_out else "no",
        dataloader_num_workers=0,
        ddp_find_unused_parameters=None if args.no_lora else False,  # every adapter takes part in every pass
    )
