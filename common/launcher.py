"""Which of the processes that a launcher (accelerate, torchrun, deepspeed) has started this is, and what they share."""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Launch:
    """How the processes of a run share its model."""

    processes: int = 1
    machines: int = 1
    zero: int = 0  # DeepSpeed's stage; 0: without DeepSpeed
    offload: bool = False  # the optimiser on the host
    fsdp: bool = False


def launch() -> Launch:
    """How this process was started. Accelerate tells by environment, as torchrun does, or names DeepSpeed's own file.

    ValueError or OSError for such a file that cannot be read.
    """
    processes = num_processes()
    machines = processes // processes_here()
    if not _told("DEEPSPEED"):
        return Launch(processes, machines, fsdp=_told("FSDP"))
    if (file := os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")).lower() != "none":
        own = json.loads(Path(file).read_text(encoding="utf-8")).get("zero_optimization", {})
        device = (own.get("offload_optimizer") or {}).get("device")
        return Launch(processes, machines, own.get("stage", 0), device == "cpu")
    zero = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
    offload = os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE") == "cpu"
    return Launch(processes, machines, zero, offload)


def launched() -> bool:
    """Whether a launcher started this process."""
    return "LOCAL_RANK" in os.environ


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(programs: int) -> int:
    """OMP_NUM_THREADS for each of so many programs at a time: as it is set, 1 unless it is, but no more than their
    share of the cores, beyond which the threads wait for one another."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # numbers behind it are of nested regions
    return min(int(asked) if asked.isdecimal() and int(asked) else 1, max(1, cores() // programs))


def processes_here() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", num_processes()))


def is_main_process() -> bool:
    return rank() == 0


def shares_weights() -> bool:
    """Whether accelerate was told to run DeepSpeed or FSDP."""
    return _told("DEEPSPEED") or _told("FSDP")


def _told(kind: str) -> bool:
    return os.environ.get(f"ACCELERATE_USE_{kind}", "false") == "true"
