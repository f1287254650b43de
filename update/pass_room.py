"""How large an update's passes may be, and whether they need gradient checkpointing.

A pass takes what the formulas of `update.memory` say. It holds no more tokens than a micro-batch of
`--batch-size` completions would in TRL, and no more than fit into the memory that is free when the passes are made.
Where it does without checkpointing in less memory than TRL's micro-batch takes with it, nothing is computed twice.
On a CPU, where larger passes are no faster, only the latter is decided; under DeepSpeed and FSDP,
whose buffers are not counted, neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sampling import static_step
from update.memory import Counts, Work, checkpoints, pass_bytes, shape_of
from update.packing import Row, pack, pack_fewest

if TYPE_CHECKING:
    from update.packed_update import PackedUpdate

SHARE = 0.9  # of the free memory: the rest is for gaps between tensors and kernels' workspaces


def is_known(trainer: PackedUpdate) -> bool:
    """Whether the formulas of `update.memory` count all that this run holds."""
    kinds = ("cpu", "cuda")  # what they were checked on
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
    return trainer.accelerator.device.type in kinds and not sharded


def free_bytes(trainer: PackedUpdate) -> float | None:
    """Bytes of a GPU that a pass may take, gradients that are yet to come left out; None on a CPU."""
    device = trainer.accelerator.device
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    cached -= static_step.held_bytes(trainer.bare_model)[1]
    trained = (p for group in trainer.optimizer.param_groups for p in group["params"])
    coming = sum(p.numel() * p.element_size() for p in trained if p.grad is None)
    return SHARE * (free + cached) - coming


def plan(
    trainer: PackedUpdate, rows: Sequence[Row], most: int, budget: int, patches: int
) -> tuple[list[list[Row]], bool]:
    """The rows in passes, on a GPU as few as `budget` tokens and its free bytes allow, and whether to checkpoint them.

    `patches` are those of a prompt's images. Where the memory that decoding keeps for the next rollout would make for
    other passes, it is given back: graphs are captured again in seconds, a smaller pass costs at every update.
    ValueError for a model whose layers are called otherwise.
    """
    model = trainer.bare_model
    free = free_bytes(trainer)
    shape, work = shape_of(model.config), _work(trainer, model, patches, rows, on_gpu=free is not None)
    counts = Counts(trainer.bare_size)
    if free is None:
        packed = pack(rows, most, budget)
        return packed, not packed or checkpoints(shape, counts, work, packed)

    def within(room: float) -> tuple[list[list[Row]], bool]:
        packed = pack_fewest(rows, most, budget, lambda part: pass_bytes(shape, counts, work, part) <= room)
        return packed, not packed or checkpoints(shape, counts, work, packed, room)

    found, held = within(free), static_step.held_bytes(model)[0]
    if held:
        roomy = within(free + SHARE * held)
        if roomy != found or any(pass_bytes(shape, counts, work, part) > free for part in found[0]):
            static_step.forget(model)
            return roomy
    return found


def _work(trainer: PackedUpdate, model: torch.nn.Module, patches: int, rows: Sequence[Row], on_gpu: bool) -> Work:
    """What `pass_bytes` needs to know: the numbers of a pass, nothing of the rollout."""
    args, adapters = trainer.args, getattr(trainer.model, "peft_config", {}).values()
    weight_bytes = next(model.parameters()).element_size()
    return Work(
        patches=patches,
        batch=args.per_device_train_batch_size,
        rank=max((adapter.r for adapter in adapters), default=0),
        checkpointing=args.gradient_checkpointing,
        weight_bytes=weight_bytes,
        compute_bytes=2 if args.bf16 or args.fp16 else weight_bytes,
        on_gpu=on_gpu,
        prompt=max((row.prompt_tokens for row in rows), default=0),
        completion=max((row.tokens for row in rows), default=0),
        fused=bool(trainer.fused.rotary),
        base_4bit=getattr(model, "is_loaded_in_4bit", False),
    )


@contextmanager
def without_checkpointing(model: torch.nn.Module) -> Iterator[None]:
    """Inside, layers keep their tensors for the backward pass."""
    layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    try:
        for layer in layers:
            layer.gradient_checkpointing = False
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True
