"""runs/compare_tasks.sh: what each task is told, the order in words by hand, mistakes before anything is built."""

from pathlib import Path

import pytest

from embedded.build_tiny import main as build_tiny
from embedded.build_tiny import parse_args as parse_build
from models.registry import MODELS, TINY_FOLDER
from settings import arguments
from study import compare_modes, compare_tasks
from study.compare_tasks import arguments_of, model_of, order, parse_args, summary
from study.figures import as_svg, panels_figure
from study.stages import Study
from study.summary import Arm
from tests.test_compare_modes import keep

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


def test_it_is_told_whether_the_order_is_the_same_on_all_tasks():
    some, none, half = [4] * 40, [0] * 40, [4, 0] * 20
    same = {task: {"a": arm("A", some), "b": arm("B", none)} for task in ("charts", "counting")}
    lines = summary(same).splitlines()
    told = "* charts, counting, Pass@{}: the order is the same on all"
    assert (lines[4], lines[-1]) == (told.format(1), told.format(4))
    panels = {
        "charts": {"a": arm("A", some), "b": arm("B", none), "c": arm("C", half)},
        "counting": {"a": arm("A", none), "b": arm("B", some), "c": arm("C", half)},
        "grounding": {"a": arm("A", some), "b": arm("B", some), "c": arm("C", half)},
    }
    assert summary(panels).splitlines()[-1] == (
        "* charts, counting, grounding, Pass@4: the order differs in A and B (> on charts, < on counting, ~ on "
        "grounding); A and C (> on charts, < on counting, > on grounding); B and C (< on charts, > on counting, > on "
        "grounding)"
    )
    alike = {task: {"a": arm("A", half), "b": arm("B", half[::-1])} for task in ("charts", "counting")}
    assert (
        summary(alike).splitlines()[-1]
        == "* charts, counting, Pass@4: the order is not known on any: A ~ B for every two"
    )


def test_what_is_kept_is_told_in_tables_an_order_and_a_picture_and_not_run_again(tmp_path, capsys):
    words = f"--modes nsr psr --rates 1e-4 --updates 8 --problems 3 --samples 2 --folder {tmp_path}".split()
    args = parse_args(words)
    for task in compare_tasks.TASKS:
        own = arguments_of(args, task)
        if task != "charts":  # a model that is there is not built
            Path(own.vlm_name).symlink_to(TINY_FOLDER)
        study, _, sees = compare_modes.prepare(own)
        study.counts.mkdir(parents=True)
        right = {"base": [1, 0, 0], "nsr": [2, 2, 1 + (task == "charts")], "psr": [0, 0, 0]}
        for mode in right:
            run = None if mode == "base" else compare_modes.run(own, mode, "1e-4", 1)
            for how in ((), compare_modes.BLIND):
                keep(study, compare_modes.measured(own, run, *how), right[mode])
    assert sees and compare_tasks.main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("6 stages, 6 of them kept") == 3 and "building" not in printed
    assert f"counting: {tmp_path / 'tiny-counting'} is there already and is used as it is" in printed
    assert printed.count("| NSR | 1e-4 | 100.0 ") == 1 and printed.count("| NSR | 1e-4 | 83.3 ") == 2
    assert "* grounding, Pass@1: NSR > Base ~ PSR (Base 16.7, NSR 83.3, PSR 0.0)" in printed
    assert printed.count("* charts, counting, grounding, Pass@") == 2
    assert ">grounding</text>" in (tmp_path / "tasks.svg").read_text()
    assert not any(path for task in compare_tasks.TASKS for path in (tmp_path / task / "models").iterdir())


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
