"""Which of the processes that a launcher (accelerate, torchrun, deepspeed) has started this one is."""

import os


def launched() -> bool:
    """Whether a launcher started this process."""
    return "LOCAL_RANK" in os.environ


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    return rank() == 0


def shares_weights() -> bool:
    """Whether accelerate was told to run DeepSpeed or FSDP."""
    return any(os.environ.get(f"ACCELERATE_USE_{kind}", "false") == "true" for kind in ("DEEPSPEED", "FSDP"))
