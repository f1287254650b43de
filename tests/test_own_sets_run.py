"""Sets of one's own through the programs: shown, trained, sampled, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import generate_samples
import main
from charts.custom import read_custom
from charts.loading import load_questions
from charts.own_columns import Columns
from charts.prompt import prompt_record
from checkpoints import finding
from evaluation import pass_at_k
from examples import quiz
from settings.arguments import parse_args
from tests.test_own_sets import ROOT

pytestmark = pytest.mark.usefixtures("here")

# -- shown, trained, sampled ------------------------------------------------------------------------------------------


def example(here: Path, name: str) -> list[str]:
    """The command line of a worked example of examples/, in small."""
    if not (here / "examples").exists():
        shutil.copytree(ROOT / "examples", here / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        quiz.draw(Path("quiz"), 24)
    small = "--subset-size 4 --held-out 0 --max-steps 1 --max-completion-length 24 --max-pixels 12544 --report-to none"
    return ["--config", f"examples/{name}.yaml", *small.split()]


def test_what_was_read_is_printed_and_shown_on_a_page_without_a_model(here, monkeypatch, capsys):
    import models.registry

    monkeypatch.setattr(models.registry, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr(finding, "load_model", models.registry.load_model)
    assert main.main([*example(here, "options"), "--subset-size", "16", "--show-data", "page.html"]) == 0
    said, page = capsys.readouterr().out, Path("page.html").read_text()
    assert said.count("read as   the strict rule: text") == 10 and "10. quiz-train-" in said and "11. " not in said
    assert "options   A. " in said and "image from 'picture', question from 'ask'" in said
    assert "[user] <image>" in said and "Write the letter between" in said
    assert page.count("data:image/png;base64,") == 10 and "Write the letter between &lt;answer&gt;" in page
    assert not Path("grpo-start-ckpts").exists()
    line = "--checkpoint-path tiny --dataset-name quiz@test synthetic --show-data"
    flags = "--image-column picture --question-column ask --answer-column amount"
    assert generate_samples.main([*line.replace("quiz@test ", "").split(), *flags.split()]) == 2
    assert "--image-column is for a set without an adapter, and synthetic has one" in capsys.readouterr().err
    assert generate_samples.main(f"{line} {flags}".split()) == 0
    said = capsys.readouterr().out
    assert "quiz, split test: 24 questions" in said and "synthetic, split test: 500 questions" in said
    assert Path("quiz-test_show_data.html").is_file() and not list(here.glob("*.json"))


def test_of_several_sets_each_has_a_page_of_its_own(here, capsys):
    line = "--checkpoint-path tiny --dataset-name synthetic counting --subset-size 2 --show-data"
    assert generate_samples.main(f"{line} page.html".split()) == 2
    error = capsys.readouterr().err
    assert "--show-data page.html: of several data sets, name the files as page_{dataset}.html" in error
    assert error.count("\n") == 1 and not list(here.glob("*.html"))
    assert generate_samples.main(f"{line} page_{{dataset}}.html".split()) == 0
    titles = {name: Path(f"page_{name}.html").read_text() for name in ("synthetic", "counting")}
    assert all(f"<title>{name}, split test: 2 questions</title>" in text for name, text in titles.items())


def test_equal_rows_of_text_are_kept_once_and_others_options_are_other_questions(here, capsys):
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(6)] * 3
    rows += [{"question": "Which is right?", "answer": "A", "choices": [f"it is {n}", "none"]} for n in (1, 1, 2)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_questions("rows.jsonl").questions) == 21
    kept = load_questions("rows.jsonl", deduplicate=True).questions
    assert [one.id.rpartition("-")[2] for one in kept] == [*map(str, range(6)), "18", "20"]
    line = "--mode nsr --vlm-name tiny --dataset-name rows.jsonl --deduplicate --held-out 0 --show-data"
    assert main.main(line.split()) == 0
    assert "rows, split train: 8 questions" in capsys.readouterr().out


def test_samples_need_a_file_and_shown_data_a_way_that_is_whole(here, capsys):
    line = "--checkpoint-path tiny --dataset-name synthetic"
    assert generate_samples.main(line.split()) == 2
    assert "required: --output-path" in capsys.readouterr().err
    for wrong in ("--show-data --output-path s.txt", "--show-data --prompt short --prompt-file p.txt"):
        assert generate_samples.main(f"{line} {wrong}".split()) == 2


@pytest.mark.parametrize("flag", ["--rule", "--answer-kind"])
@pytest.mark.parametrize(("prompt", "hinted"), [("", True), ("--prompt short", True), ("--prompt boxed", False)])
def test_rows_of_mathematics_are_told_of_the_prompt_that_suits_them(here, prompt, hinted, flag, capsys):
    rows = [{"question": f"Is {n} odd?", "answer": f"\\boxed{{{n % 2}}}"} for n in range(12)]
    Path("odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = f"--dataset-name odd.jsonl {flag} math --show-data {prompt}".split()
    assert generate_samples.main(["--checkpoint-path", "tiny", *shown]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "--prompt boxed asks" in line]) == hinted
    assert "   answers   1" in lines, "what the box holds"
    assert main.main(["--mode", "nsr", "--vlm-name", "tiny", *shown]) == 0
    assert ("--prompt boxed asks" in capsys.readouterr().out) == hinted


def test_a_set_never_seen_is_trained_and_sampled_by_flags_alone(here, capsys, monkeypatch):
    from training import building

    rewards, real = [], building.build_rewards
    monkeypatch.setattr(building, "build_rewards", lambda *a, **k: rewards.append(k) or real(*a, **k))
    assert main.main([*example(here, "options"), "--output-root", "runs", "--rule", "relaxed"]) == 0
    assert [(one["rule"], one["form"]) for one in rewards] == [("relaxed", "short")], "it marks, and it rewards"
    run = "runs/tiny-prm-large-train-v2-nsr-2025"
    record = json.loads(Path(run, "training_settings.json").read_text())
    template = Path("examples/options.txt").read_text().strip()
    assert record["prompt"] == prompt_record(template) and record["settings"]["choices_column"] == "options"
    assert "prompt | own |" in Path(run, "README.md").read_text()
    Path("examples/options.txt").unlink()  # the run keeps the template

    size = "--subset-size 2 --num-samples 2 --max-new-tokens 8 --max-pixels 12544"
    line = f"--checkpoint-path {run} --dataset-name quiz synthetic --output-path s_{{dataset}}.jsonl {size}"
    capsys.readouterr()
    assert generate_samples.main(line.split()) == 0
    problem = json.loads(Path("s_quiz.jsonl").read_text().splitlines()[1])
    assert problem["answers"][0] in "ABC" and len(problem["choices"]) == 3 and problem["rule"] == "relaxed"
    settings = json.loads(Path("s_quiz.jsonl").read_text().splitlines()[0])["settings"]
    assert settings["prompt"] == record["prompt"]
    assert pass_at_k.main(["--samples-path", "s_quiz.jsonl", "s_synthetic.jsonl"]) == 0
    table = capsys.readouterr().out.splitlines()[-4:]
    assert (
        table[0].split()[:4] == ["data", "set", "method", "problems"] and "Pass@1" in table[0] and "Pass@2" in table[0]
    )
    assert [row.split()[0] for row in table[1:]] == ["quiz@test", "synthetic@test", "mean"]
    for file, correct in (("s_quiz.jsonl", [True, False]), ("s_synthetic.jsonl", [False, False])):
        head, *problems = map(json.loads, Path(file).read_text().splitlines())
        for problem, marks in zip(problems, ([True, True], correct), strict=True):
            problem |= {"correct": marks, "num_correct": sum(marks)}
        Path(f"known_{file}").write_text("".join(json.dumps(row) + "\n" for row in (head, *problems)))
    assert pass_at_k.main(["--samples-path", "known_s_quiz.jsonl", "known_s_synthetic.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["62.5", "75.0"], "of 75 and 50, of 100 and 50"

    Path("other.txt").write_text("{question} <answer>")
    for more, words in [
        ("--prompt-file other.txt", "--prompt {question} <answer> contradicts"),
        ("--answer-column amount", "--answer-column amount contradicts .* trained on that set with solution"),
        (
            "--dataset-name quiz synthetic --output-path s.json",
            "of several data sets, name the files as s_{dataset}.json",
        ),
    ]:
        assert generate_samples.main([*line.replace(" synthetic", "").split(), *more.split()]) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words.split(" .* ")) and error.count("\n") == 1, error


def test_the_example_with_a_function_of_its_own_is_trained(here):
    assert main.main([*example(here, "near"), "--output-root", "runs"]) == 0
    (folder,) = Path("runs").iterdir()
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"][0]
    assert "rewards/accuracy/mean" in log and "rewards/format/mean" in log
    from examples.near import accuracy

    said = [f"<answer>{one}</answer>" for one in ("50", "54", "70", "few", "")]
    assert accuracy(said, answers=[("50",)] * 5) == pytest.approx([1.0, 0.6, 0.09, 0.0, 0.0])


def test_several_files_refuse_what_is_for_one(capsys):
    for flags, words in [
        (["--output-path", "r.json"], "--output-path r.json goes with one file"),
        (["--method-name", "NSR"], "--method-name NSR goes with one file"),
        (["--metrics", "all"], "--metrics goes with one file"),
    ]:
        assert pass_at_k.main(["--samples-path", "a.json", "b.json", *flags]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--choices-column options --rule math", "--choices-column: the answer is one of the options"),
        ("--choices-column options --answer-kind list", "--choices-column: the answer is one of the options"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(here, flags, said, capsys):
    assert main.main([*example(here, "options"), *flags.split(), "--show-data"]) == 2
    assert said in capsys.readouterr().err


def test_a_rule_of_texts_is_refused_for_boxes():
    with pytest.raises(ValueError, match="--rule relaxed compares texts, and --answer-kind box asks for boxes"):
        Columns(answer_kind="box", rule="relaxed")


@pytest.mark.parametrize(("kind", "rule"), [("number", "iou"), ("math", "iou"), ("box", "relaxed"), ("box", "math")])
def test_boxes_alone_are_compared_by_iou_and_by_nothing_else(kind, rule):
    """Of another kind no answer would be decided by iou, and a box would be compared in the frame of its text."""
    with pytest.raises(ValueError, match=f"answer_kind {kind} and rule {rule}: boxes are compared by the rule iou"):
        list(read_custom({"question": "?", "answer": "[1, 2, 3, 4]", "answer_kind": kind, "rule": rule}, 0, 1))
    with pytest.raises(ValueError, match=f"--rule {rule} compares .*, and --answer-kind {kind}"):
        Columns(answer_kind=kind, rule=rule)


def test_charts_are_drawn_to_order_with_a_split_beside_their_name_too():
    from training.preparing import load_data, resolve_data, resolve_defaults

    sizes = {}
    for name in ("synthetic", "synthetic@train"):
        args = parse_args(["--mode", "nsr", "--dataset-name", name, "--subset-size", "2100"])
        resolve_data(args)
        resolve_defaults(args)
        sizes[name] = [len(part) for part in load_data(args)]
    assert sizes["synthetic@train"] == sizes["synthetic"] and sizes["synthetic"][0] == 2100
