"""Whole runs, watched: no word to the network, no file outside the chosen folders, no secret in any of them.

The programs run as processes of their own with an empty home. The audit hook (tests/watched.py) sees what Python does;
a proxy that nothing may call stands in for the world, for the processes that W&B starts too.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECRETS = {
    "HF_TOKEN": "hf_sentinelHubTokenOfTheUserAAAAAAAAAA",
    "WANDB_API_KEY": "5e471e1000000000000000000000000000000001",
    "SOME_PASSWORD": "sentinelPasswordInTheEnvironment",
}
REMOTE_SECRET = "sentinelTokenOfTheGitRemote"
TRAIN = """--mode nsr --dataset-name synthetic --subset-size 8 --max-steps 1 --num-generations 2
--max-completion-length 4 --eval-steps 1 --disable-gradient-checkpointing --log-completions"""
SAMPLE = """--checkpoint-path grpo-start-ckpts/tiny-prm-large-train-v2-nsr-2025 --dataset-name synthetic --subset-size 2
--num-samples 2 --output-path out/samples.json"""
SCORE = "--samples-path out/samples.json --output-path out/results.json"
PLOT = "--results out/results.json --output out/picture.png"
PAGE = "out/samples.json --output-path out/page.html"
# What each program may write, below its working folder.
PROGRAMS = {
    "main.py": (TRAIN, ["grpo-start-ckpts", "wandb"]),
    "generate_samples.py": (SAMPLE, ["out"]),
    "evaluation/pass_at_k.py": (SCORE, ["out"]),
    "evaluation/plotting.py": (PLOT, ["out"]),
    "evaluation/report.py": (PAGE, ["out"]),
}
CACHES = [".cache/wandb", ".cache/matplotlib", ".config/matplotlib"]  # below the home: logs of W&B, the list of fonts


class World:
    """A proxy on this machine that counts who calls it."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.calls: list[bytes] = []
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self):
        while True:
            try:
                caller, _ = self.server.accept()
            except OSError:
                return
            self.calls.append(caller.recv(200))
            caller.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What the programs did, one after the other: {program: (events, output)}, and the folders."""
    base = tmp_path_factory.mktemp("watched")
    for name in ("work/out", "home", "temporary"):
        (base / name).mkdir(parents=True)
    remote = f"https://{REMOTE_SECRET}:x-oauth-basic@github.com/x/y"
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], cwd=base / "work", check=True)
    world = World()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "HOME": str(base / "home"),
        "TMPDIR": str(base / "temporary"),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), world.address),
        **SECRETS,
    }
    done = {}
    for program, (line, _) in PROGRAMS.items():
        log = base / f"{Path(program).stem}.events"
        command = [sys.executable, "-m", "tests.watched", str(log), str(ROOT / program), *line.split()]
        ended = subprocess.run(command, cwd=base / "work", env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr[-3000:]
        done[program] = [json.loads(event) for event in log.read_text().splitlines()], ended.stdout + ended.stderr
    world.server.close()
    return base, done, world


@pytest.mark.slow
def test_no_program_speaks_to_the_network(runs):
    _, done, world = runs
    assert not world.calls
    for program, (events, _) in done.items():
        assert events and (program != "main.py" or any(event == "connect" for event, _ in events)), "the hook sees"
        called = [address for event, address in events if event in ("connect", "lookup")]
        away = [one for one in called if (one[0] if isinstance(one, list) else one) not in ("127.0.0.1", "::1")]
        assert not [one for one in away if not str(one).startswith(str(runs[0]))], program  # W&B's socket in TMPDIR


@pytest.mark.slow
def test_no_program_writes_outside_the_folders_it_was_given(runs):
    base, done, _ = runs
    shared = [base / "temporary", *(base / "home" / cache for cache in CACHES), Path("/dev")]
    for program, (events, _) in done.items():
        allowed = [*shared, *(base / "work" / name for name in PROGRAMS[program][1])]
        for event, where in events:
            if event == "write":
                path = Path(where)
                assert any(path.is_relative_to(one) or one.is_relative_to(path) for one in allowed), (program, where)
    left = {path.relative_to(base / "home").parts[:2] for path in (base / "home").rglob("*") if path.is_file()}
    assert left <= {tuple(cache.split("/")) for cache in CACHES}, "what is written in the home is these caches"
    assert {path.name for path in (base / "work").iterdir()} == {".git", "grpo-start-ckpts", "wandb", "out"}


@pytest.mark.slow
def test_no_secret_is_in_any_file_or_line(runs):
    base, done, _ = runs
    secrets = [secret.encode() for secret in (*SECRETS.values(), REMOTE_SECRET)]
    files = [path for path in base.rglob("*") if path.is_file() and path != base / "work" / ".git" / "config"]
    assert any(path.suffix == ".wandb" for path in files) and any(path.name == "training_args.bin" for path in files)
    printed = {program: output.encode() for program, (_, output) in done.items()}
    for where, content in ({path: path.read_bytes() for path in files} | printed).items():
        assert not [secret for secret in secrets if secret in content], where
