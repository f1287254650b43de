"""--estimate: what a run would need, before it. Parameters, peak memory, the flag to change, hours.

Only the configuration and the processor are read; nothing is downloaded beyond them and the data, nothing is written.
Memory follows from the formulas of `update.memory` for completions that all reach the length limit, hours from one
rollout batch and its updates timed on this device (`estimate.timing`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from common.launcher import launch
from estimate import communication
from estimate.gpu_sizes import GIGABYTE, advice
from estimate.prompts import Prompts, measure_prompts
from models import four_bit
from models.shapes import CHARACTERS
from settings.grpo_config import measured_at_once
from training.hardware import choose_precision, weights_dtype
from update.host_memory import host_memory
from update.memory import Counts, Memory, Work, checkpoints, count_parameters, memory, passes, shape_of
from update.rollout_memory import rollout

if TYPE_CHECKING:
    from estimate.timing import Timing

SMALL = 50e6  # parameters up to which a step is timed on a CPU


class Job:
    """A run by its flags: what each process does, and the memory of it. Flags can be changed to see what that saves."""

    def __init__(self, args: argparse.Namespace, questions):
        from models.registry import load_config, load_processor

        self.args, self.questions = args, questions
        self.config = load_config(args.start.source)
        self.processor = load_processor(args.start.source, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
        self.shape = shape_of(self.config)
        launched = launch()
        self.processes, self.zero, self.offload = launched.processes, launched.zero, launched.offload
        self.fsdp = launched.fsdp
        self.stand_in = getattr(args, "stand_in", False)  # only the model's shape is known
        self._counts: dict[bool, Counts] = {}
        self._prompts: dict[int, Prompts] = {}
        self.device = _device(self.counts(args).total)
        choice = {"auto": "bf16"}.get(args.precision, args.precision)
        self.precision = choose_precision(args.precision) if self.device else choice

    def counts(self, args) -> Counts:
        from models.registry import lora_config

        if args.no_lora not in self._counts:
            lora = {"r": args.lora_rank, "alpha": args.lora_alpha, "targets": args.lora_targets}
            adapter = None if args.no_lora else lora_config(self.config, **lora)
            self._counts[args.no_lora] = count_parameters(self.config, adapter)
        return self._counts[args.no_lora]

    def prompts(self, args) -> Prompts:
        if args.max_pixels not in self._prompts:
            self._prompts[args.max_pixels] = measure_prompts(self.processor, self.questions, args, self.stand_in)
        return self._prompts[args.max_pixels]

    def work(self, args) -> Work:
        prompts, dtype = self.prompts(args), weights_dtype(self.precision, args.no_lora, self.zero > 0)
        counts = self.counts(args)
        return Work(
            prompt=max(prompts.lengths),
            patches=max(prompts.patches),
            patch_width=prompts.patch_width,
            completion=args.max_completion_length,
            batch=args.batch_size,
            accumulation=args.gradient_accumulation_steps,
            updates=args.updates_per_rollout,
            moments=2 if args.optimiser == "adam" else 0,
            generations=args.num_generations,
            rank=0 if args.no_lora else args.lora_rank,
            checkpointing=not args.disable_gradient_checkpointing,
            packed=counts.shares_prompts and not args.plain_update,
            repacked=not args.plain_update and args.entropy_bonus == 0 and args.loss != "bnpo",
            reference=args.no_lora and args.kl_beta > 0,
            engine=args.rollouts != "generate" and counts.shares_prompts,
            weight_bytes=4 if dtype == "float32" else 2,
            compute_bytes=4 if self.precision == "fp32" else 2,
            on_gpu=self.device != "cpu",
            card=_card_bytes() if self.device == "cuda" else math.inf,
            processes=self.processes,
            zero=self.zero,
            fsdp=self.fsdp,
            fused=self.device != "cpu" and counts.fuses and not (self.zero or self.fsdp),
            base_4bit=args.base_4bit,
            offload=self.offload,
        )

    def memory(self, args, least: bool = False) -> Memory:
        """`least`: with passes as small as the trainer makes them on a GPU whose memory is short."""
        work = replace(self.work(args), least=least)
        found = memory(self.shape, self.counts(args), work)
        if args.rollouts == "server":  # it draws on a device of its own, what is held out too
            return replace(found, rollout=0, kept=0)
        if args.eval_samples == 1 or not args.held_out:
            return found
        measured = replace(work, batch=measured_at_once(args), accumulation=1, updates=1, generations=args.eval_samples)
        return replace(found, rollout=max(found.rollout, rollout(self.shape, self.counts(args), measured)))

    def least_memory(self, args) -> Memory:
        return self.memory(args, least=True)


def _device(parameters: int) -> str | None:
    """Where a step can be timed: a GPU, or the CPU for a small model."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu" if parameters < SMALL else None


def _card_bytes() -> int:
    import torch

    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


# -- what is printed ------------------------------------------------------------------------------------------------


def report(
    args: argparse.Namespace, questions, held_out: int, updates_per_epoch: int, make_trainer: Callable
) -> Iterator[str]:
    """The lines of --estimate, each as soon as it is known; ValueError for what cannot be estimated.

    `make_trainer(args, folder, precision, load)` makes the real trainer for the timed step.
    """
    job = Job(args, questions)
    steps = args.max_steps or math.ceil(updates_per_epoch * args.num_epochs)
    yield f"Estimate of --mode {args.mode} with {args.vlm_name}; nothing is trained, only what says so is measured"
    if job.fsdp:
        yield "Sharing     FSDP's is not counted: memory and network as if every process had the whole model to itself"
    if job.stand_in:
        yield f"Shape       kept here, as the hub cannot be asked; text is counted as {CHARACTERS} characters a token"
    yield from _sizes(job, steps)
    yield from _measured(job, steps, held_out)
    yield from _memory_lines(job)
    yield from communication.lines(job)
    yield from advice(job.least_memory, args, job.processes)
    if job.stand_in:
        yield "Hours       not measured: the model's own configuration and tokenizer are not here"
    elif job.device is None:
        yield "Hours       not measured: a model of this size needs a GPU to time a step on, and there is none here"
    else:
        yield from _hours(job, steps, held_out, make_trainer)


def _sizes(job: Job, steps: int) -> Iterator[str]:
    args, counts, work, prompts = job.args, job.counts(job.args), job.work(job.args), job.prompts(job.args)
    trained = f"{counts.trained:,} trained" + ("" if args.no_lora else f" (LoRA, rank {args.lora_rank})")
    vision = f", {counts.vision:,} of them vision" if counts.vision else ""
    yield f"Model       {counts.total:,} parameters{vision}; {trained}"
    mean = sum(prompts.lengths) / len(prompts.lengths)
    image = f" ({prompts.image_tokens} of the largest image)" if prompts.image_tokens else ""
    shown = f"mean {mean:.0f}, longest {work.prompt}{image}"
    yield f"Prompts     {shown} tokens in {len(prompts.lengths)} of {len(job.questions)} questions"
    yield f"Updates     {steps:,} of {work.rows * work.processes} completions of at most {work.completion} tokens"


def _measured(job: Job, steps: int, held_out: int) -> Iterator[str]:
    args, count = job.args, measurements(job.args, steps)
    if held_out:
        yield (
            f"Held out    {held_out} questions, measured {count:,} times (--eval-steps {args.eval_steps}): "
            f"{count * held_out * args.eval_samples:,} completions, {args.eval_samples} of a question each time"
        )


def measurements(args: argparse.Namespace, steps: int) -> int:
    """How often a run of so many updates measures the held-out charts: at its start, every --eval-steps, at its end."""
    return (args.eval_on_start == "yes") - (-steps // args.eval_steps)


def _memory_lines(job: Job) -> Iterator[str]:
    work, found = job.work(job.args), job.memory(job.args)
    checkpointing = checkpoints(job.shape, job.counts(job.args), work, passes(work))
    kind = f"{job.processes} x " if job.processes > 1 else ""
    where = "on the CPU" if job.device == "cpu" else "on the GPU"
    sharing = f", DeepSpeed ZeRO-{job.zero}" if job.zero else ""
    yield (
        f"Memory      {kind}{_gb(found.peak)} of tensors at the peak, {where} in {job.precision}{sharing}, "
        f"gradient checkpointing {'on' if checkpointing else 'off'}"
    )
    top = f"or the rollout, most of it cache, {_gb(found.rollout)}" if found.rollout else "and no rollout, the server's"
    yield (
        f"            weights {_gb(found.weights)}, gradients {_gb(found.gradients)}, "
        f"optimiser {_gb(found.optimiser)}; on top the update {_gb(found.update)} {top}"
    )
    if job.device != "cpu":
        offload = ", the optimiser among it" if work.offload else ""
        yield f"Host        {_gb(host_memory(job.counts(job.args), work))} of the machine's own memory at most{offload}"


def _hours(job: Job, steps: int, held_out: int, make_trainer: Callable) -> Iterator[str]:
    import torch

    from models.registry import NoWeights

    args, whole = job.args, job.args.max_completion_length
    lengths = [max(1, whole // 2), whole]
    yield (
        f"Timing      one rollout batch and its updates with completions of {lengths[0]} and of {lengths[1]} tokens; "
        "Ctrl-C ends it, the lines above stand"
    )
    try:
        timing, weights = _time(job, lengths, make_trainer)
    except (torch.OutOfMemoryError, NoWeights) as error:
        lacks = isinstance(error, NoWeights)
        reason = str(error) if lacks else "the timed step ran out of memory on this device"
        yield f"Hours       not measured: {reason}"
        return
    rollouts, served = steps / args.updates_per_rollout, args.rollouts == "server"
    seconds = [all_of_it - rollout * served for all_of_it, rollout in zip(timing.seconds, timing.rollouts, strict=True)]
    shown = [f"{_hm(t * rollouts)} if all have {length}" for t, length in zip(seconds, lengths, strict=True)]
    each = " and ".join(f"{took:.2f} s" for took in seconds)
    left_out = "what the server draws" if served else "held-out measurements"
    yield f"Hours       {', '.join(shown)} tokens, without {left_out} and saving"
    yield (
        f"            measured on this {'GPU' if job.device == 'cuda' else 'CPU'}: {each} for "
        f"{'the updates of a rollout batch' if served else 'a rollout batch and its updates'}, with {weights}"
    )
    if held_out and not served:
        drawn = measurements(args, steps) * held_out * args.eval_samples
        one = timing.rollouts[-1] / (args.batch_size * args.gradient_accumulation_steps * args.updates_per_rollout)
        yield (
            f"            roughly {_hm(one * drawn / job.processes)} more for {measurements(args, steps)} measurements "
            f"of {held_out} held-out questions (--eval-steps {args.eval_steps}, --eval-samples {args.eval_samples})"
        )
    if timing.peak and not served:
        estimated = _gb(job.memory(args).peak)
        yield f"            measured peak of the timed step: {_gb(timing.peak)} (estimated {estimated})"


def _time(job: Job, lengths: list[int], make_trainer: Callable) -> tuple[Timing, str]:
    """The timed step, in a temporary folder, and the weights it has: stored here or drawn, never from the network."""
    import torch

    from estimate.timing import time_steps
    from models.families import auto_class
    from models.registry import NoWeights, load_model

    kind = []

    def load(name: str, *, dtype: str, base_4bit: bool = False):
        try:
            _check_package(base_4bit)
            model = load_model(name, dtype=dtype, base_4bit=base_4bit, local_files_only=True)
            kind.append("the model's weights")
            return model
        except NoWeights:
            if base_4bit:  # random weights would have to be on the device in full first
                raise
            kind.append("random weights (none are stored here)")
        torch.manual_seed(job.args.seed)
        with contextlib.nullcontext() if job.zero == 3 else torch.device(job.device):  # ZeRO-3 places what it shards
            return auto_class(job.config).from_config(job.config, dtype=dtype, trust_remote_code=False)

    changed = {"report_to": "none", "log_completions": False}
    if job.args.rollouts == "server":  # its part is not counted: none is asked
        changed["rollouts"] = "engine"
    if job.args.no_lora and job.args.kl_beta:  # TRL would load the second model from the hub
        changed["kl_beta"] = 0.0
        kind.append("no KL term,")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = argparse.Namespace(**{**vars(job.args), **changed})
        held = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0  # by others in this process
        timing = time_steps(make_trainer(args, folder, job.precision, load), lengths)
        return replace(timing, peak=max(0, timing.peak - held)), " ".join(kind)


def _check_package(base_4bit: bool) -> None:
    """NoWeights where a base in 4 bits cannot be loaded."""
    from models.registry import NoWeights

    try:
        if base_4bit:
            four_bit.check_package()
    except ValueError as error:
        raise NoWeights(error) from None


def _gb(size: float) -> str:
    return f"{size / GIGABYTE:.2f} GB" if size >= 0.995e7 else f"{size / 1e6:.1f} MB"


def _hm(seconds: float) -> str:
    """Hours, or minutes below one hour."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
