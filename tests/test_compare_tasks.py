"""runs/compare_tasks.sh: what each task is told, the order in words by hand, mistakes before anything is built."""

from pathlib import Path

import pytest

from embedded.build_tiny import main as build_tiny
from embedded.build_tiny import parse_args as parse_build
from models.registry import MODELS
from settings import arguments
from study import compare_modes, compare_tasks
from study.compare_tasks import arguments_of, model_of, order, parse_args, summary
from study.figures import as_svg, panels_figure
from study.stages import Study
from study.summary import Arm

ROOT = Path(__file__).parent.parent


def arm(label, c, n=4, problem_set="x"):
    problems = {
        "ids": [f"p{i}" for i in range(len(c))],
        "clusters": list(map(str, range(len(c)))),
        "kinds": [""] * len(c),
    }
    return Arm(label, [{"c": c, "n": n, "problem_set": problem_set}], problems)


def test_tasks_differ_in_model_and_data_alone(tmp_path):
    args = parse_args(["--folder", str(tmp_path), "--rates", "1e-4", "--updates", "7"])
    runs = {}
    for task in compare_tasks.TASKS:
        own = arguments_of(args, task)
        study = Study(tmp_path, tmp_path, own.vlm_name, ("--dataset-name", own.dataset_name))
        command = study.train_command(compare_modes.run(own, "nsr", "1e-4", 1))
        parsed = vars(arguments.parse_args(command[2:]))
        assert (parsed["dataset_name"], parsed["vlm_name"]) == (compare_tasks.TASKS[task], model_of(args, task))
        apart = ("vlm_name", "dataset_name", "start", "max_completion_length")
        runs[task] = {name: value for name, value in parsed.items() if name not in apart}
        length = MODELS["organism" if task == "charts" else "tiny"].max_completion_length
        assert parsed["max_completion_length"] == length and parsed["no_lora"] and parsed["subset_size"] == 56
        base = compare_modes.measured(own, None)
        assert base.flags == ("--max-new-tokens", str(length)), "the base may say as much as what it became"
    assert runs["charts"] == runs["counting"] == runs["grounding"]
    assert (model_of(args, "charts"), compare_tasks.TASKS["charts"]) == ("organism", "procedures")


def test_flags_of_the_prompt_leave_the_batches_of_the_study(tmp_path):
    args = parse_args(["--folder", str(tmp_path), "--min-pixels", "100"])
    for task in compare_tasks.TASKS:
        own = arguments_of(args, task)
        assert compare_modes.as_small(own) and own.min_pixels == "100"


def test_the_order_is_told_with_what_is_certain_of_it():
    """Forty problems of which A is right on all samples, B on none; C on as many as D, on others."""
    found = {name: arm(name, c) for name, c in {"B": [0] * 40, "A": [4] * 40}.items()}
    assert order(found, 1) == "A > B"
    near = {name: arm(name, c) for name, c in {"C": [4, 0] * 20, "D": [0, 4] * 19 + [0, 0]}.items()}
    assert order(near, 1) == "C ~ D"
    assert summary({"charts": found}).splitlines()[-2:] == [
        "* charts, Pass@1: A > B (B 0.0, A 100.0)",
        "* charts, Pass@4: A > B (B 0.0, A 100.0)",
    ]


def test_one_picture_has_a_panel_for_each_task():
    panels = {task: {"base": arm("Base", [1, 2, 3]), "nsr": arm("NSR", [2, 3, 4])} for task in compare_tasks.TASKS}
    picture = as_svg(panels_figure(panels))
    assert all(f">{task}</text>" in picture for task in compare_tasks.TASKS) and picture.count(">NSR</text>") == 1


@pytest.mark.parametrize(("line", "message"), [
    ("--modes nsr nothing", "nothing"),
    ("--rates 1e-4 x", "must be numbers"),
    ("--tasks charts reading", "reading"),
    ("--steps 0", "--steps must be at least 1"),
    ("--updates 2", "--updates 2: at least 4"),
    ("--seed 5", "--seed is set by this program"),
])  # fmt: skip
def test_a_mistake_is_one_line_before_anything_is_built(line, message, tmp_path, capsys):
    folder = tmp_path / "results"
    assert compare_tasks.main([*line.split(), "--folder", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not folder.exists()


def test_the_embedded_folder_is_of_charts_alone(capsys):
    assert build_tiny(["--task", "grounding"]) == 2
    assert "--task grounding: give a folder by --output-path" in capsys.readouterr().err
    assert parse_build(["--task", "counting", "--output-path", "x"]).task == "counting"
