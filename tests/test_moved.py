"""Data that have moved since a run began, and folders named by ~: found, or told in one line."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import main
from checkpoints.finding import find_checkpoint
from checkpoints.resuming import differences
from checkpoints.run_folder import run_folder
from common.own_code import load
from tests.after_run import refused, train

QUIZ = "--mode nsr --vlm-name tiny --dataset-name"


def record(name: str, fingerprint: str = "f", **more) -> dict:
    settings = {"mode": "nsr", "dataset_name": name, **more}
    return {"settings": settings, "data": {"fingerprint": fingerprint}, "prompt": {"hash": "p"}, "model": {}}


@pytest.mark.parametrize(
    ("old", "new", "is_one"),
    [
        ("data/quiz", "/new/quiz@train", True),
        ("chartqa", "chartqa@train", True),
        ("quiz.jsonl", "chartqa", False),  # its adapter may mark the same answers otherwise
        ("chartqa", "figureqa", False),
    ],
)
def test_the_same_questions_under_the_name_of_another_place_are_one_set(old, new, is_one):
    assert (differences(record(old), record(new)) == []) is is_one
    assert differences(record(old), record(new, "g")), "other questions never are"


def test_a_copy_of_the_data_may_lie_elsewhere():
    assert differences(record("chartqa", dataset_path="old"), record("chartqa", dataset_path="new")) == []


def test_a_run_goes_on_after_its_data_have_moved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    rows = []
    for number in range(4):
        Image.new("RGB", (56, 56), (number * 40, 0, 0)).save(f"data/{number}.png")
        rows.append({"image": f"{number}.png", "question": f"How many of {number}?", "answer": str(number)})
    Path("data/quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = ["--max-steps", "2", "--updates-per-rollout", "1", "--save-steps", "1"]
    assert train("runs", f"{QUIZ} data/quiz.jsonl", *steps) == 0
    shutil.move("data", "moved")
    more = ("--max-steps", 3, "--resume")
    assert train("runs", f"{QUIZ} moved/quiz.jsonl", *steps, *more) == 0
    assert "Resuming from" in capsys.readouterr().out


def test_the_home_folder_is_meant_by_its_sign_in_a_file_of_settings_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_folder("~/runs", "tiny", "nsr", 7).parent == tmp_path / "runs"
    assert run_folder("~nobody-of-this-name/runs", "tiny", "nsr", 7).parent == Path("~nobody-of-this-name/runs")


def test_the_home_of_nobody_is_a_name_like_any_other(capsys):
    with pytest.raises(ValueError, match="no such folder"):
        find_checkpoint("~nobody-of-this-name/run")
    with pytest.raises(ValueError, match="there is no file"):
        load("--reward", "~nobody-of-this-name/own.py:reward")
    line = "--mode nsr --dataset-name synthetic --show-data ~nobody-of-this-name/page.html"
    error = refused(capsys, main.main(line.split()))
    assert "--show-data folder ~nobody-of-this-name does not exist" in error
