"""What the two demonstrations call, by stand-ins that note their arguments: poc_test_nsr.sh and runs/tiny_gain.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import main
from common.launcher import cores

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/bin/bash
printf '%s\\0' "$OMP_NUM_THREADS" "$(basename "$0")" "$@" > "$ARGUMENTS/$EPOCHREALTIME-$$"
[[ "$*" != *"$FAILS"* ]] || { echo "it failed"; exit 1; }
"""
GUIDE = {
    "grpo": "--mode grpo --num-generations 2",
    "psr": "--mode psr --num-generations 2 --reward-threshold 0.5",
    "nsr": "--mode nsr --num-generations 4 --reward-threshold 0.5",
    "w-reinforce": "--mode w-reinforce --num-generations 4 --lambda-psr 0.1 --reward-threshold 0.5",
}


@pytest.fixture
def calls(tmp_path):
    """Runs a script with stand-ins for its programs, of which calls that hold `fails` fail; (process, calls).

    A call's threads are in `run.threads`. Each call is noted in a file of its own: two may be made at a time.
    """
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name in ("python", "accelerate"):
        (stand_ins / name).write_text(STAND_IN)
        (stand_ins / name).chmod(0o755)

    def run(script: str, *arguments: str, fails: str = "no call", **settings: str):
        copy, noted = tmp_path / "copy", tmp_path / "arguments"
        (copy / "runs").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(noted, ignore_errors=True)
        noted.mkdir()
        for name in (script, "environment.sh"):
            shutil.copy(ROOT / name, copy / name)
        own = {"PATH": f"{stand_ins}:{os.environ['PATH']}", "VIRTUAL_ENV": "stand-in", "ARGUMENTS": str(noted)}
        done = subprocess.run(
            [copy / script, *arguments],
            env={**own, "FAILS": fails, **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = [file.read_text().split("\0")[:-1] for file in sorted(noted.iterdir())]
        run.threads = [threads for threads, *_ in calls]
        return done, [call for _, *call in calls]

    return run


def trained(calls: list[list[str]]) -> list[list[str]]:
    """The arguments of every call of main.py."""
    return [call[call.index("main.py") + 1 :] for call in calls if "main.py" in call]


def test_with_a_gpu_the_proof_of_concept_runs_the_commands_of_the_guide(calls):
    _, found = calls("poc_test_nsr.sh", EVALUATE="0")
    rest = "--vlm-name qwen2-5-3b --dataset-name evochart --seed 2025 --subset-size 100 --num-epochs 1 --batch-size 2"
    assert [" ".join(call) for call in trained(found)] == [
        f"{flags} {rest} --disable-gradient-checkpointing" for flags in GUIDE.values()
    ]


def test_without_a_gpu_every_mode_has_50_to_100_updates_of_the_organism(calls):
    _, found = calls("poc_test_nsr.sh", "--temperature", "0.9", fails="is_available")
    commands = trained(found)
    assert [" ".join(call).partition(" --vlm-name")[0] for call in commands] == list(GUIDE.values())
    for call in commands:
        args = main.parse_args(call)
        assert (args.vlm_name, args.dataset_name, args.temperature) == ("organism", "procedures", 0.9)
        completions = args.batch_size * (args.gradient_accumulation_steps or 2)
        assert 50 <= args.subset_size * args.num_epochs * args.num_generations / completions <= 100
    sampled = [call for call in found if "generate_samples.py" in call]
    assert {call[call.index("--dataset-name") + 1] for call in sampled} == {"procedures"} and len(sampled) == 5


def test_another_model_without_a_gpu_has_the_settings_of_the_guide(calls):
    _, found = calls("poc_test_nsr.sh", fails="is_available", MODEL="tiny", DATASET="synthetic", EVALUATE="0")
    assert (
        all("--num-epochs 1 --batch-size 2" in " ".join(call) for call in trained(found)) and len(trained(found)) == 4
    )


def test_the_gain_is_measured_of_every_mode_and_a_failure_names_its_log(calls):
    done, found = calls("runs/tiny_gain.sh")
    assert done.returncode == 0 and sorted(call[1] for call in trained(found)) == sorted(GUIDE)
    for call in trained(found):
        args = main.parse_args(call)
        assert (args.vlm_name, args.dataset_name, args.num_generations) == ("organism", "procedures", 8)
    compared = [call for call in found if "--compare" in call]
    assert [call[-2:] for call in compared] == [
        [f"gain_results/results_{mode}.json", "gain_results/results_base.json"] for mode in GUIDE
    ]
    done, found = calls("runs/tiny_gain.sh", fails="--mode psr", JOBS="1")
    assert done.returncode != 0 and "it failed" in done.stdout and "gain_results/train_psr.log" in done.stdout
    assert [call[1] for call in trained(found)] == ["grpo", "psr"] and not any("--compare" in call for call in found)


@pytest.mark.parametrize(
    ("script", "programs"), [("runs/tiny_gain.sh", {"JOBS": "2"}), ("poc_test_nsr.sh", {"NUM_PROCESSES": "2"})]
)
def test_programs_beside_one_another_have_no_more_threads_than_there_are_cores(calls, tmp_path, script, programs):
    share = str(max(1, cores() // 2))
    for asked, given in ((str(cores() + 1), share), (f"{cores() + 1},2", share), ("1", "1"), ("", "1"), ("0", "1")):
        _, found = calls(script, fails="is_available", OMP_NUM_THREADS=asked, EVALUATE="0", **programs)
        assert {one for one, call in zip(calls.threads, found, strict=True) if "main.py" in call} == {given}
    (name,) = programs
    for value in ("0", "08", "abc", "a[$(touch owned)0]+1"):
        done, found = calls(script, fails="is_available", OMP_NUM_THREADS="1", **{name: value})
        assert done.returncode == 2 and done.stderr == f"error: {name}={value}: must be a number of at least 1\n"
        assert not trained(found) and not list(tmp_path.rglob("owned"))
