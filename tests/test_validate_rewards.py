"""The reward check of a training log: what passes, what fails with code 1, what cannot be used with code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.validate_rewards import main

ROOT = Path(__file__).parent.parent


def log(path, *lists):
    noise = "{'loss': 0.1}\nFormat rewards: [2.0, 0.5]\n"
    path.write_text(noise + "".join(f"Rewards Accuracy: [{values}]\n{noise}" for values in lists))
    return str(path)


@pytest.mark.parametrize(
    ("mode", "lists"),
    [
        ("grpo", ["1.0, 0.0", "0.0, 0.0"]),
        ("psr", ["1.0, 0.0"]),
        ("psr", ["0.0, 0.0"]),
        ("nsr", ["0.0, -1.0, 0.0"]),
        ("w-reinforce", ["1.0, 1.0", "-1.0, -1.0"]),
    ],
)
def test_the_rewards_that_a_mode_leaves_pass(tmp_path, capsys, mode, lists):
    assert main([log(tmp_path / "run.log", *lists), "--mode", mode]) == 0
    assert f"✓ {mode.upper()} validation passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mode", "lists", "line"),
    [
        ("grpo", ["0.0, 0.0"], "✗ GRPO should have positive rewards, found none"),
        ("psr", ["1.0, -1.0", "-1.0, 0"], "✗ PSR should have no negative rewards, found 2"),
        ("nsr", ["1.0, -1.0"], "✗ NSR should have no positive rewards, found 1"),
        (
            "w-reinforce",
            ["1.0, 1.0"],
            "✗ W-REINFORCE should have both positive and negative rewards, found no negative",
        ),
        ("w-reinforce", ["-1.0, 0.0"], "found no positive"),
    ],
)
def test_rewards_of_another_mode_fail_with_code_1(tmp_path, capsys, mode, lists, line):
    assert main([log(tmp_path / "run.log", *lists), "--mode", mode]) == 1
    assert line in capsys.readouterr().out


def test_the_distribution_is_printed(tmp_path, capsys):
    # positive above 0.5, negative below -0.1, zero within 0.1: 0.5 and -0.1 are none of the three
    main([log(tmp_path / "poc_nsr.log", "-1.0, 0.0, -0.2", "0.05, 0.5, -0.1")])
    assert capsys.readouterr().out.splitlines()[:5] == [
        "",
        "NSR Reward Distribution:",
        "  Positive: 0",
        "  Negative: 2",
        "  Zero: 2",
    ]


def test_several_logs_take_their_modes_from_their_names_and_one_failure_is_enough(tmp_path, capsys):
    names = ["poc_grpo.log", "psr_log.txt", "poc_nsr.log", "w_reinforce_log.txt", "poc_w-reinforce.log"]
    paths = [log(tmp_path / name, "1.0, -1.0" if "reinforce" in name else "1.0, 0.0") for name in names]
    assert main(paths) == 1
    printed = capsys.readouterr().out
    assert printed.count("✓ W-REINFORCE validation passed") == 2 and "✓ PSR validation passed" in printed
    assert "✗ NSR should have no positive rewards, found 1" in printed


def test_bad_input_gives_one_line_and_code_2(tmp_path, capsys):
    def line(*argv):
        try:
            assert main([str(word) for word in argv]) == 2
        except SystemExit as end:
            assert end.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("error: ")
        return error

    good = log(tmp_path / "run.log", "1.0")
    assert "No such file" in line(tmp_path / "poc_nsr.log")
    assert "does not say one mode" in line(good)
    assert "invalid choice: 'ppo'" in line(good, "--mode", "ppo")
    assert "2 modes for 1 logs" in line(good, "--mode", "psr", "--mode", "nsr")
    assert "holds no 'Rewards Accuracy" in line(log(tmp_path / "a.log"), "--mode", "nsr")
    assert "not plain numbers: [1.0, ...]" in line(log(tmp_path / "b.log", "1.0, ..."), "--mode", "nsr")
    assert "only empty reward lists" in line(log(tmp_path / "c.log", ""), "--mode", "nsr")


def test_it_runs_as_a_script_without_numpy(tmp_path):
    path = log(tmp_path / "poc_w-reinforce.log", "1.0, -1.0")
    done = subprocess.run(
        [sys.executable, "evaluation/validate_rewards.py", path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "✓ W-REINFORCE validation passed" in done.stdout
