"""Several processes that start together, and end when one of them is gone or stuck.

Every exchange between processes waits for all of them. torch's limits of that wait are 10 minutes on GPUs and 30 on the
CPU, or what DeepSpeed thinks best; here there is one limit for all, --collective-timeout. On the CPU (gloo) the waiting
process then gets an error, which is told in one line. On GPUs (NCCL) torch's watchdog ends the process.
"""

from datetime import timedelta

from common.launcher import launched, num_processes, rank
from common.terminal import first_line

# What gloo says of a process that does not answer, and of one that is gone.
STUCK = ("timed out", "timeout")
GONE = ("connection closed by peer", "connection reset by peer", "broken pipe", "connection refused", "recvbytes")


def on_main_process(function):
    """Runs `function` on the main process; its result, or its ValueError, on every process."""
    from accelerate.state import PartialState
    from accelerate.utils import broadcast_object_list

    outcome: list = [None, None]  # result, message of the ValueError
    if PartialState().is_main_process:
        try:
            outcome[0] = function()
        except ValueError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise ValueError(outcome[1])
    return outcome[0]


def start_together(minutes: float) -> None:
    """Opens the connection between the launched processes; each exchange over it may take `minutes`.

    A single process, started without a launcher, has nobody to wait for.
    """
    if not launched():
        return
    import torch
    from accelerate import PartialState
    from torch.distributed import distributed_c10d

    limit = timedelta(minutes=minutes)
    # DeepSpeed opens groups of its own and cannot be told a limit; transformers ignores its own setting on the CPU
    distributed_c10d.default_pg_timeout = distributed_c10d.default_pg_nccl_timeout = limit
    PartialState(cpu=not torch.cuda.is_available(), timeout=limit)


def left_alone(error: BaseException | None) -> str | None:
    """The line for a process whose exchange with the others has failed with `error`; None for any other error."""
    import torch

    while error is not None:
        text = str(error).lower()
        if isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in text):
            break
        error = error.__cause__ or error.__context__
    else:
        return None
    if any(sign in text for sign in STUCK):
        what = "another process has not answered within --collective-timeout"
    elif any(sign in text for sign in GONE):
        what = "another process is gone"
    else:
        what = f"the exchange with the other processes failed: {first_line(error)}"
    return f"process {rank()} of {num_processes()}: {what}"
