"""--reward: rewards by name and functions of the user's, found, tried before a model is loaded, recorded, resumed."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import main
from charts.record import ChartQuestion
from common.own_code import forget, load
from rewards import PRESETS, build_rewards, chosen, recorded, try_own
from rewards.own import COLUMNS, own_reward
from settings.arguments import parse_args
from tests import one_layer
from trainers.trainer import TRAINERS

TINY = (
    "--mode nsr --vlm-name tiny --dataset-name synthetic --subset-size 4 --num-generations 4 --batch-size 4 --no-lora"
)
TINY += " --gradient-accumulation-steps 1 --max-completion-length 8 --held-out 0 --report-to none --learning-rate 1e-3"
QUESTIONS = {
    "q": ChartQuestion("q", "How much?", ("40",), chart_type="bar", table={"columns": ["a"], "rows": [["40"]]}),
    "bare": ChartQuestion("bare", "What?", ()),
}
GOOD = "def f(completions, **columns):\n    return [0.25] * len(completions)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget()
    return tmp_path


def write(text: str, name: str = "mine.py") -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return f"{name}:f"


# -- which rewards ----------------------------------------------------------------------------------------------------


def test_a_preset_is_a_list_of_names_and_weights():
    for preset, parts in PRESETS.items():
        listed = [f"{name}={weight}" for name, weight in parts.items()]
        ours, theirs = (build_rewards(one, QUESTIONS) for one in (listed, preset))
        assert [(r.name, r.weight, r.scale) for r in ours] == [(r.name, r.weight, r.scale) for r in theirs]
    assert [part.weight for part in chosen(["accuracy", "table"])] == [1, 1], "as TRL's, not as in a preset"


def test_weights_stand_behind_names_and_places_that_may_hold_an_equals_sign():
    odd = write(GOOD, "seed=3/mine.py")
    parts = chosen(["accuracy=0", "length=-0.5", odd])
    assert [(one.name, one.weight, one.place) for one in parts] == [
        ("accuracy", 0, None), ("length", -0.5, None), ("f", 1, odd)
    ]  # fmt: skip
    assert chosen(["accuracy", f"{odd}=0.2"])[1].weight == 0.2
    assert chosen([f"examples.reward:concise={1 / 4}", "accuracy"])[0].place == "examples.reward:concise"


def test_an_own_function_called_accuracy_decides_what_is_correct():
    Path("mine.py").write_text("def accuracy(completions, **columns):\n    return [1.0] * len(completions)\n")
    (reward,) = build_rewards(["mine.py:accuracy"], QUESTIONS)
    assert reward.function(None, ["no"], None, problem_id=["q"]) == [1.0] and reward.name == "accuracy"
    assert main.main([*TINY.split(), "--reward", "mine.py:accuracy", "--soft-accuracy"]) == 2


# -- what a function is given -----------------------------------------------------------------------------------------


def test_it_gets_trls_columns_and_those_of_the_questions():
    place = write("def f(**columns):\n    f.given = columns\n    return [None, 1]\n")
    reward = own_reward(place, QUESTIONS)
    state = SimpleNamespace(global_step=3, max_steps=9)
    said = {"prompts": ["p", "p"], "completions": ["x", "y"], "completion_ids": [[1], [2]]}
    assert reward(**said, problem_id=["q", "bare"], image=[1, 2], trainer_state=state) == [None, 1.0]
    given = load("--reward", place)[0].given
    assert {"question", "answers", "kind", "chart_type", "table", "reasoning"} < set(COLUMNS)
    assert set(given) == {*said, *COLUMNS, "problem_id", "image", "trainer_state"}
    assert given["answers"] == [("40",), ()] and given["table"] == [QUESTIONS["q"].table, None]
    assert given["trainer_state"] is state and reward.__name__ == "f"


def test_an_async_function_is_waited_for():
    place = write("async def f(completions, **columns):\n    return [0.5 for _ in completions]\n")
    assert own_reward(place, QUESTIONS)(None, ["x"], None, problem_id=["q"]) == [0.5]


def test_two_functions_of_one_file_share_its_globals():
    Path("mine.py").write_text(
        "n = []\ndef f(**c):\n    n.append(1)\n    return [0.0]\ndef g(**c):\n    return [len(n)]\n"
    )
    f, g = (own_reward(f"mine.py:{name}", QUESTIONS) for name in "fg")
    f(None, ["x"], None, problem_id=["q"])
    assert g(None, ["x"], None, problem_id=["q"]) == [1.0]


def test_the_example_by_hand():
    from examples.reward import concise

    texts = ["", "word " * 60, "word " * 90, "word " * 200]
    for step, expected in [
        (0, [None, 1, 1, 1]),
        (1, [None, 1, 0.9, 0.8]),
        (5, [None, 1, 0.5, 0]),
        (9, [None, 1, 0.5, 0]),
    ]:
        state = SimpleNamespace(global_step=step, max_steps=10)
        assert concise(texts, trainer_state=state) == pytest.approx(expected)


# -- a trainer and a run ----------------------------------------------------------------------------------------------


def test_a_run_records_the_code_and_goes_on_with_the_same_alone(folder, capsys):
    example = f"{Path(main.__file__).parent / 'examples' / 'reward.py'}:concise=0.1"
    place = write("steps = []\ndef f(trainer_state, answers, **columns):\n    steps.append(trainer_state.global_step)\n"
                  "    return [steps[-1] / trainer_state.max_steps if one else None for one in answers]\n")  # fmt: skip
    line = [*TINY.split(), "--save-steps", "1", "--reward", "accuracy", "format=0.2", example]
    assert main.main([*line, f"{place}=0"]) == 0
    said = capsys.readouterr().out
    for step in range(4):
        assert f"F rewards: {[step / 4] * 4}" in said and "Concise rewards: [1.0, " in said, "tried once, then asked"
    (run,) = (folder / "grpo-start-ckpts").iterdir()
    log = json.loads((run / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    assert [entry["rewards/f/mean"] for entry in log[:4]] == [0, 0.25, 0.5, 0.75]
    assert log[1]["reward"] == pytest.approx(sum(
        weight * log[1][f"rewards/{name}/mean"] for name, weight in [("accuracy", 1), ("format", 0.2), ("concise", 0.1)]
    ))  # fmt: skip
    record = json.loads((run / "training_settings.json").read_text())
    parts = record["settings"]["reward_functions"].split(", ")
    assert parts[:2] == ["accuracy=1", "format=0.2"] and parts[2].startswith("concise=0.1 (sha256 ")
    assert "concise=0.1" in (run / "README.md").read_text()
    record["finished"] = False
    (run / "training_settings.json").write_text(json.dumps(record))
    shutil.rmtree(run / "checkpoint-4")
    for other in (f"{place}=1", write(Path("mine.py").read_text() + "# other", "other.py") + "=0"):
        assert main.main([*line, other, "--resume"]) == 2
        error = capsys.readouterr().err
        assert "made with other settings: reward_functions: accuracy=1" in error and error.count("\n") == 1
    moved = write(Path("mine.py").read_text(), "elsewhere/mine.py")
    assert main.main([*line, f"{moved}=0", "--resume"]) == 0, "the same code at another place"
    assert f"F rewards: {[3 / 4] * 4}" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "name"), [("1 / 0", "ZeroDivisionError"), ("exit(0)", "SystemExit")])
def test_an_error_or_a_wrong_value_while_training_costs_its_rows(code, name, folder, capsys):
    place = write(
        "def f(completion_ids, **columns):\n"
        f"    bad = {{4: lambda: {code}, 5: lambda: float('inf')}}\n"
        "    return [bad.get(len(ids), lambda: 1.0)() for ids in completion_ids]\n"
    )
    own = own_reward(place, {None: ChartQuestion("", "", ())})

    def f(completions, completion_ids, **columns):
        return own(None, completions, completion_ids, problem_id=[None] * len(completions))

    trainer = one_layer.trainer(TRAINERS["grpo"], folder, rewards=(one_layer.accuracy, f), max_steps=1)
    one_layer.fix_rollouts(trainer, ["a b .", "d a b .", "b .", "c c b b ."])
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["decomposed/reward_errors"] == 2 and log["rewards/f/mean"] == 1 and math.isfinite(log["grad_norm"])
    assert f"reward 'f' raised for 2 of 4 completions of a rollout batch: {name}" in capsys.readouterr().out


# -- every way in which it can be wrong -------------------------------------------------------------------------------

LISTS = {
    "format": "--reward format: accuracy is missing, which decides what is correct",
    "accuracy accuracy=2": "two of them are called accuracy",
    "accuracy examples.reward:concise examples/reward.py:concise": "there is no file examples/reward.py",
    "accuracy brevity": "--reward brevity: unknown; choose from accuracy, format,",
    "accuracy format=": "--reward format=: the weight behind = must be a finite number",
    "accuracy format=much": "--reward format=much: the weight",
    "accuracy format=nan": "--reward format=nan: the weight",
    "accuracy=-1": "--reward accuracy=-1: below 0, wrong answers would be rewarded",
    "accuracy=0 format=-0 --mode grpo": "--reward accuracy=0 format=-0: every weight is 0, and --mode grpo learns from",
    "accuracy=0 --mode f-grpo": "every weight is 0, and --mode f-grpo",
    "accuracy=0 --mode ds-grpo --smooth-correct 0 --smooth-wrong 0": "every weight is 0, and --mode ds-grpo",
    "mine.py:accuracy=-0.1 format": "--reward mine.py:accuracy=-0.1: below 0,",
    "accuracy mine.py": "--reward mine.py: unknown; choose from",
    "accuracy mine.py:": "--reward mine.py:: name a function, as path/to/file.py:function",
    "accuracy nowhere/mine.py:f=2": "there is no file nowhere/mine.py",
    "accuracy nowhere.mine:f": "importing nowhere.mine raised ModuleNotFoundError: No module named 'nowhere'",
    "accuracy --rewards chart-rvr": "--reward names the rewards and --rewards a preset of them; leave one of them out",
}
CONTENTS = {
    "no such function": ("def g(): pass", "has no function 'f'; it has g"),
    "not callable": ("f = 3", "'f' is a int, no function"),
    "not Python": ("def f(:", "raised SyntaxError"),
    "an exit": ("def f(**c): raise SystemExit(3)", "raised SystemExit: 3"),
    "no columns": ("def f(prompts, completions): return [0.0] * 4", "raised TypeError: f() got an unexpected keyword"),
    "an unknown column": ("def f(colour, **c): return [0.0] * 4", "missing 1 required positional argument: 'colour'"),
    "an error inside": ("def f(completions, **c): return [c['x']]", "raised KeyError: 'x' (/"),
    "a ValueError inside": ("def f(**c): return [float('x')]", "raised ValueError: could not convert"),
    "nothing returned": ("def f(**c): pass", "must return a list of 4 finite numbers or None, one a completion; it re"),
    "one number": ("def f(**c): return 0.5", "it returned float"),
    "a text": ("def f(**c): return '1234'", "it returned str"),
    "too few": ("def f(**c): return [1.0]", "it returned 1 of them"),
    "texts": ("def f(**c): return ['a'] * 4", "could not convert string to float: 'a'"),
    "nan": ("def f(**c): return [float('nan')] * 4", "it returned nan"),
    "infinite": ("def f(**c): return [None, 1, 2, float('inf')]", "it returned inf"),
}


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        *((words, None, message) for words, message in LISTS.items()),
        *(("accuracy mine.py:f=0.5", *one) for one in CONTENTS.values()),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_made(words, content, message, folder, capsys):
    if content:
        write(content)
    assert main.main([*TINY.split(), "--reward", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --reward") and message in error and error.count("\n") == 1
    assert not (folder / "grpo-start-ckpts").exists()


def test_it_is_tried_as_it_will_be_called():
    place = write("def f(prompts, completions, answers, trainer_state, log_metric, log_extra, **c):\n"
                  "    log_metric('x', 1.0); log_extra('y', [1] * 4)\n"
                  "    assert completions[1][0]['content'] == '' and prompts[0][0]['role'] == 'user'\n"
                  "    return [float(a[0] in t[0]['content'] if a else 0)\n"
                  "            for t, a in zip(completions, answers)]\n")  # fmt: skip
    try_own(place, list(QUESTIONS.values()))
    try_own(place, [QUESTIONS["q"]])


def test_a_list_may_stand_in_a_file_of_settings_and_old_runs_have_none():
    Path("run.yaml").write_text("mode: nsr\nreward: [accuracy, format=0.2]\n")
    assert parse_args(["--config", "run.yaml"]).reward == ["accuracy", "format=0.2"]
    assert parse_args(["--mode", "nsr"]).reward is None
    assert recorded(["format=0.25", "accuracy"]) == {"reward_functions": "format=0.25, accuracy=1"}
