"""What the machine offers: precision, and one GPU for a plain python run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from common.launcher import cores, launched, num_processes, processes_here
from common.terminal import first_line

if TYPE_CHECKING:
    from trl import GRPOConfig


def use_first_gpu() -> str | None:
    """Restricts a plain python run to one GPU, before CUDA starts; returns the line to print if others are left out.

    Trainer would wrap the model in DataParallel, which TRL refuses.
    """
    import torch

    if launched() or torch.cuda.device_count() < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    count = torch.cuda.device_count()
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return f"{count} GPUs are visible; plain python uses the first. accelerate launch uses all of them."


def too_many_threads() -> str | None:
    """A line where, without a GPU, the processes of this run have more threads on this machine than it has cores."""
    import torch

    if num_processes() > 1 and "LOCAL_WORLD_SIZE" not in os.environ:  # how many of them are here is not known
        return None
    share = max(1, cores() // processes_here())
    if torch.cuda.is_available() or torch.get_num_threads() <= share:
        return None
    count = processes_here() * torch.get_num_threads()
    return f"{count} threads share {cores()} cores and wait for one another; OMP_NUM_THREADS={share} is faster"


def choose_precision(wanted: str) -> str:
    """bf16, fp16 or fp32 for --precision; auto: bf16 where the GPU has it, fp16 on older GPUs (T4), fp32 on the CPU.

    Raises ValueError for a precision that the machine lacks.
    """
    import torch

    if not torch.cuda.is_available():
        if wanted == "fp16":
            raise ValueError("--precision fp16 needs a GPU and none is visible; use bf16 or fp32")
        return "fp32" if wanted == "auto" else wanted
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "bf16" and not has_bf16:
        raise ValueError(f"--precision bf16: {torch.cuda.get_device_name()} does not support it; use fp16 or auto")
    return ("bf16" if has_bf16 else "fp16") if wanted == "auto" else wanted


def weights_dtype(precision: str, trains_all_weights: bool, deepspeed: bool) -> str:
    """Type the weights are loaded in: the low one when they are frozen under LoRA or DeepSpeed keeps a float32 copy."""
    keeps_low = not trains_all_weights or deepspeed
    return {"bf16": "bfloat16", "fp16": "float16"}.get(precision, "float32") if keeps_low else "float32"


def skip_deepspeed_compilation() -> None:
    """On a machine without a GPU: no run-time compilation of DeepSpeed's shared-memory reduction.

    DeepSpeed 0.19 builds it with the C++ compiler (a minute or more, and it fails where there is none) when the process
    group starts; without it, the reductions go through gloo.
    """
    import torch

    if launched() and not torch.cuda.is_available():
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def host_optimiser(config: GRPOConfig, optimiser: str) -> str | None:
    """Where DeepSpeed keeps the optimiser on the host: PyTorch's own where DeepSpeed's cannot be, and a line of why.

    Left alone, accelerate puts DeepSpeed's Adam, which is compiled, in the place of any optimiser, plain gradient
    descent among them.
    """
    settings = config.deepspeed_plugin and config.deepspeed_plugin.hf_ds_config
    if not settings or settings.get_value("zero_optimization.offload_optimizer.device") != "cpu":
        return None
    reason = _no_cpu_adam(optimiser)
    if reason is None:
        return None
    settings.config["zero_force_ds_cpu_optimizer"] = False
    return f"The optimiser on the host is PyTorch's: {reason}"


def _no_cpu_adam(optimiser: str) -> str | None:
    """Why DeepSpeed's Adam for the host is not taken."""
    import torch

    if optimiser != "adam":
        return f"DeepSpeed has no {optimiser} there"
    if not torch.cuda.is_available():
        return "without a GPU DeepSpeed's is not compiled"
    try:
        from deepspeed.ops.op_builder import CPUAdamBuilder

        CPUAdamBuilder().load()
    except Exception as error:  # no compiler, no CUDA toolkit, another one than PyTorch's: each in its own way
        return (
            f"DeepSpeed's, several times as fast, could not be built ({first_line(error)}); it needs a C++ compiler, "
            "ninja and the CUDA toolkit of PyTorch's version"
        )
    return None
