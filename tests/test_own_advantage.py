"""A function of the user's as the method: found, tried before a model is loaded, checked, recorded, and resumed."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import main
from common.own_code import forget, load
from settings.arguments import parse_args
from tests import one_layer
from tests.scored import NAN, scored
from trainers.own_advantage import OwnAdvantage, fault, trial
from trainers.trainer import TRAINERS

pytestmark = pytest.mark.methods
TINY = "--vlm-name tiny --dataset-name synthetic --subset-size 4 --num-generations 4 --batch-size 4 --report-to none"
TINY += " --gradient-accumulation-steps 1 --max-completion-length 8 --held-out 0 --no-lora --learning-rate 1e-3"
GOOD = "def f(batch):\n    return (2 * batch.correct - 1).nan_to_num(0.0)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget()
    return tmp_path


def write(text: str, name: str = "mine.py") -> str:
    Path(name).write_text(text)
    return f"{name}:f"


def own(place: str) -> list[str]:
    return ["--mode", "own-advantage", "--advantage", place]


# -- the example ------------------------------------------------------------------------------------------------------


def test_the_example_by_hand():
    """The likelier right one has rank 3, the other 1: r' is 0.8125 and 0.9375, its mean 0.4375, deviation 0.5078."""
    rows = scored(torch.tensor([1.0, 1, 0, 0], dtype=torch.float64), mean_logp=torch.tensor([-0.1, -2.0, -1.0, -3.0]))
    weights = OwnAdvantage(advantage="examples.advantage:unlikely").weights(rows).tolist()
    assert weights == pytest.approx([0.7384, 0.9845, -0.8615, -0.8615], abs=1e-4)


def test_the_example_without_the_factor_is_grpo(monkeypatch):
    from examples import advantage

    monkeypatch.setattr(advantage, "LESS_FOR_LIKELY", 0.0)
    r = torch.tensor([1.0, 0, 0, 1, 0], dtype=torch.float64)
    rows = scored(r, mean_logp=torch.linspace(-2, -1, 5))
    assert torch.allclose(advantage.unlikely(rows), (r - r.mean()) / (r.std() + 1e-4), rtol=0, atol=1e-12)


# -- a trainer and a run ----------------------------------------------------------------------------------------------


def test_a_trainer_trains_on_its_weights(folder, capsys):
    place = write(
        "asked = []\ndef f(b):\n    asked.append(b)\n    return b.prompt + 1.0 - 3 * (b.correct == 0).double()\n"
    )
    trainer = one_layer.trainer(TRAINERS["own-advantage"], folder, batch=8, mode_settings={"advantage": place})
    one_layer.fix_rollouts(trainer, ["a b .", "b .", "c .", "d a .", "a .", "a .", "c .", "d ."])
    trainer.train()
    assert list(trainer._logs["advantages"]) == [1, -2, -2, -2, 2, 2, -1, -1]
    assert "OWN-ADVANTAGE: 3 correct, 5 incorrect" in capsys.readouterr().out.splitlines()
    assert len(load("--advantage", place)[0].__globals__["asked"]) == 1, "once a batch"


def test_a_run_records_the_code_and_goes_on_with_the_same_alone(folder, capsys):
    line = [*own(write(GOOD)), *TINY.split(), "--save-steps", "1"]
    assert main.main(line) == 0
    (run,) = (folder / "grpo-start-ckpts").iterdir()
    assert run.name == "tiny-prm-large-train-v2-own-advantage-2025"
    record = json.loads((run / "training_settings.json").read_text())
    name, _, sha = record["settings"]["advantage_code"].partition(", sha256 ")
    assert name == "f" and len(sha) == 64 and record["settings"]["advantage"] == "mine.py:f"
    assert "Citation" not in (run / "README.md").read_text() and "mine.py:f" in (run / "README.md").read_text()
    record["finished"] = False
    (run / "training_settings.json").write_text(json.dumps(record))
    shutil.rmtree(run / "checkpoint-4")
    capsys.readouterr()
    assert main.main([*line, "--resume", "--advantage", write(GOOD + "# other", "other.py")]) == 2
    error = capsys.readouterr().err
    assert "made with other settings: advantage_code: f, sha256" in error and error.count("\n") == 1
    Path("elsewhere").mkdir()
    write(GOOD, "elsewhere/mine.py")
    assert main.main([*line, "--resume", "--advantage", "elsewhere/mine.py:f"]) == 0, "the same code at another place"


def test_weights_that_are_wrong_later_end_the_run_in_one_line(capsys):
    place = write("def f(batch):\n    return batch.correct.nan_to_num(0.0) / (0 if batch.step else 1)\n")
    assert main.main([*own(place), *TINY.split()]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "--advantage" in line]
    assert (
        lines
        == [
            f"error: --advantage {place} must return finite weights, returned nan for a completion of a prompt with "
            "correct = [0.0, 0.0, 0.0, 0.0]"
        ]
        and "Traceback" not in said.err + said.out
    )


def test_measurements_do_not_ask_it(folder):
    """Groups of one, of which a deviation is nan: TRL's own advantages stay there."""
    place = write(
        "def f(b):\n    assert len(b.prompt.unique()) < len(b.prompt)\n    return b.correct.nan_to_num(0.0)\n"
    )
    trainer = one_layer.trainer(
        TRAINERS["own-advantage"], folder, mode_settings={"advantage": place}, num_generations_eval=1
    )
    trainer.eval_dataset = trainer.train_dataset.select(range(4))
    trainer.train()
    assert "eval_decomposed/positive" in trainer.evaluate()


# -- every way in which it can be wrong -------------------------------------------------------------------------------

PLACES = {
    "": "--advantage is missing: name a function, as path/to/file.py:function",
    "mine.py": "--advantage mine.py: name a function",
    "nowhere/mine.py:f": "there is no file nowhere/mine.py",
    "./:f": "there is no file ./",
    "nowhere.mine:f": "importing nowhere.mine raised ModuleNotFoundError: No module named 'nowhere'",
    "itertools:chain": "is in no file",
    "math:sqrt": "--advantage math:sqrt raised TypeError",
}
CONTENTS = {
    "no such function": ("g = f = lambda b: b.correct\ndef _h(): pass\ndel f", "has no function 'f'; it has g"),
    "not callable": ("f = 3", "'f' is a int, no function; it has none"),
    "not Python": ("def f(:", "raised SyntaxError"),
    "an import that fails": ("import no_such_thing", "raised ModuleNotFoundError: No module named 'no_such_thing'"),
    "an exit": ("raise SystemExit(3)", "raised SystemExit: 3"),
    "two arguments": ("def f(a, b): pass", "raised TypeError: f() missing 1 required positional argument"),
    "an error inside": ("def f(batch):\n    return batch.rewards", "has no attribute 'rewards' ("),
    "a list": ("def f(batch): return batch.correct.tolist()", "a tensor with one weight a completion, returned list"),
    "nothing returned": ("def f(batch): pass", "returned NoneType"),
    "one number": ("def f(batch): return batch.correct.nansum()", "shape (20,), returned shape ()"),
    "one a token": ("def f(batch): return batch.correct[:, None]", "shape (20,), returned shape (20, 1)"),
    "another device": ("def f(batch): return batch.correct.to('meta')", "a tensor on cpu, where the batch is"),
    "nan": ("def f(batch): return batch.correct", "finite weights, returned nan for a completion of a prompt with"),
    "nan where all are right": (
        "def f(b):\n    n = b.group_sum(b.scorable); m = b.group_sum(b.correct) / n\n"
        "    return ((b.correct - m) / (m * (1 - m)).sqrt()).where(b.scorable, 0)",
        "returned nan for a completion of a prompt with correct = [1.0, 1.0, 1.0, 1.0]",
    ),
    "unscorable ones weighted": ("def f(b): return b.correct.nan_to_num(-1.0)", "0 for unscorable completions"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        *((place, None, message) for place, message in PLACES.items()),
        *(("mine.py:f", *one) for one in CONTENTS.values()),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_before_anything_is_made(place, content, message, folder, capsys):
    if content:
        write(content)
    assert main.main([*own(place), *TINY.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --advantage") and message in error and error.count("\n") == 1
    assert not (folder / "grpo-start-ckpts").exists()


def test_it_goes_with_its_mode_alone_and_may_stand_in_a_file_of_settings(folder):
    place = write(GOOD)
    with pytest.raises(ValueError, match="--advantage is not used by --mode nsr, only by own-advantage"):
        parse_args(["--mode", "nsr", "--advantage", place])
    (folder / "run.yaml").write_text(f"mode: own-advantage\nadvantage: {place}\n")
    assert parse_args(["--config", "run.yaml"]).advantage == place


def test_what_it_does_to_its_batch_stays_there():
    place = write(
        "def f(batch):\n    batch.accuracy.fill_(1)\n    batch.correct.fill_(1)\n    return batch.correct * 0\n"
    )
    rows = scored(torch.tensor([1.0, 0, NAN]))
    OwnAdvantage(advantage=place).weights(rows)
    assert rows.correct.nan_to_num(-1).tolist() == rows.accuracy.nan_to_num(-1).tolist() == [1, 0, -1]


def test_weights_carry_no_gradient_and_whole_numbers_do():
    rows = trial(4)
    place = write("import torch\ndef f(b): return torch.ones(len(b.correct), requires_grad=True) * b.scorable\n")
    assert not OwnAdvantage(advantage=place).weights(rows).requires_grad
    assert fault(rows.scorable.long(), rows) is None and fault(rows.scorable, rows) is None


def test_the_hash_is_that_of_the_files_of_module_and_function(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    write(GOOD, "defines_it.py")
    write("from defines_it import f\n", "passes_it_on.py")
    first = load("--advantage", "passes_it_on:f")[1]
    assert first != load("--advantage", "defines_it:f")[1]
    write(GOOD + "# changed", "defines_it.py")
    forget()
    assert load("--advantage", "passes_it_on:f")[1] != first
    with pytest.raises(ValueError, match="is in no file"):
        load("--advantage", "itertools:chain")
