"""Runs of one process or of several under DeepSpeed ZeRO-3, forked from a process that has imported torch already.

The import of torch, transformers and DeepSpeed takes longer than the runs of the tests, so it is done once.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import deepspeed  # noqa: F401  (imported before the fork)
from accelerate.commands import launch

from training.hardware import skip_deepspeed_compilation

ROOT = Path(__file__).parent.parent


def environment(processes: int) -> dict[str, str]:
    """What `accelerate launch --config_file=deepspeed_zero3.yaml` tells its processes; nothing for a single one."""
    if processes == 1:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    given = [f"--config_file={ROOT / 'deepspeed_zero3.yaml'}", "--num_processes", str(processes)]
    args = launch.launch_command_parser().parse_args([*given, "--main_process_port", port, "script"])
    args, file, _ = launch._validate_launch_command(args)
    args.deepspeed_fields_from_accelerate_config = ",".join([*file.deepspeed_config, "mixed_precision"])
    told = launch.prepare_deepspeed_cmd_env(args)[1]
    return {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}


def start(train: Callable[[Path], None], folder: Path, processes: int = 1) -> list[int]:
    """Process ids, one a rank, of `train(folder)`; what they print goes to out_<rank> and err_<rank> in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    told = environment(processes)
    return [_fork(train, folder, rank, told) for rank in range(processes)]


def _fork(train, folder: Path, rank: int, told: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{name}_{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.environ.update(told)
        if told:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            skip_deepspeed_compilation()
        train(folder)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(children: list[int], seconds: float) -> list[int]:
    """How each process ended: its exit code, or minus the signal. AssertionError when one has not after `seconds`."""
    end, codes = time.monotonic() + seconds, {}
    while len(codes) < len(children):
        for child in set(children) - set(codes):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                codes[child] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            for child in set(children) - set(codes):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            raise AssertionError(f"ranks {[r for r, c in enumerate(children) if c not in codes]} did not end")
        time.sleep(0.01)
    return [codes[child] for child in children]
