"""runs/compare_modes.sh: what it runs, how it chooses, its table by hand; and the whole of it at the smallest size."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import generate_samples
from settings import arguments
from study import compare_modes, data, sweep
from study.compare_modes import (
    BLIND,
    check_data,
    choose_rates,
    complete_modes,
    measured,
    parse_args,
    table,
    table_of_kinds,
    validation,
)
from study.stages import Study, description
from trainers import METHODS

ROOT = Path(__file__).parent.parent
SMALL = ("--modes", "nsr", "ngrpo", "--rates", "1e-4", "3e-4", "--problems", "3", "--samples", "2")


def test_every_mode_that_needs_no_argument_is_compared_by_default():
    assert complete_modes() == [mode for mode in METHODS if mode != "own-advantage"]
    assert parse_args([]).modes == complete_modes()


@pytest.mark.parametrize("model", ["tiny", "qwen2-5-3b"])
def test_every_run_is_a_command_of_main_that_differs_in_mode_rate_and_seed_alone(model, tmp_path):
    args = parse_args(["--vlm-name", model, "--updates", "7", "--seeds", "1", "2"])
    study, found = Study(tmp_path, tmp_path, model), set()
    for mode in args.modes:
        for rate in args.rates:
            for seed in args.seeds:
                run = compare_modes.run(args, mode, rate, seed)
                parsed = vars(arguments.parse_args(study.train_command(run)[2:]))
                assert (parsed["mode"], parsed["learning_rate"], parsed["seed"]) == (mode, float(rate), seed)
                completions = parsed["batch_size"] * parsed["gradient_accumulation_steps"]
                assert completions == 64 and parsed["no_lora"] == (model == "tiny")
                found.add((parsed["subset_size"], parsed["max_steps"], completions))
    assert found == {(7 * 64 // 8, None, 64) if model == "tiny" else (None, 7, 64)}


def test_other_flags_go_to_main():
    args = parse_args([*SMALL, "--updates", "5", "--num-generations", "4", "--no-lora"])
    flags = ("--num-generations", "4", "--no-lora", "--max-steps", "5", "--learning-rate", "1e-4")
    assert compare_modes.run(args, "nsr", "1e-4", 1).flags == flags


def test_one_name_is_one_stage():
    """Another number of problems, samples or updates is measured beside what is there, not in its place."""
    names = set()
    for changed in ((), ("--problems", "4"), ("--samples", "3"), ("--updates", "9"), ("--validation-samples", "5")):
        args = parse_args([*SMALL, *changed])
        own = compare_modes.run(args, "nsr", "1e-4", 1)
        stages = [measured(args, one, *how) for one in (own, None) for how in ((), BLIND)]
        stages.append(validation(args, "nsr", "1e-4"))
        names |= {(one.name, repr(one)) for one in stages}
    assert len({name for name, _ in names}) == len(names)


def keep(study, stage, c, n=2):
    content = {"stage": description(study, stage), "c": c, "n": n, "problem_set": "x"}
    study.counts_of(stage).write_text(json.dumps(content))
    problems = {"ids": ["p0", "p1", "p2"], "clusters": ["a", "b", "c"], "kinds": [""] * 3, "yes_no": [False] * 3}
    (study.counts / "problems_x.json").write_text(json.dumps(problems))


def test_each_mode_gets_the_rate_with_the_most_right_answers_the_smallest_of_equal_ones(tmp_path):
    args, study = parse_args(["--modes", "nsr", "psr", "--rates", "1e-4", "3e-5", "1e-5"]), Study(tmp_path, tmp_path)
    right = {"nsr": {"1e-5": 1, "3e-5": 3, "1e-4": 2}, "psr": {"1e-5": 2, "3e-5": 4, "1e-4": 4}}
    for mode, tried in right.items():
        for rate, c in tried.items():
            keep(study, validation(args, mode, rate), [c, 0, 0])
    assert choose_rates(study, args) == {"nsr": "3e-5", "psr": "3e-5"}
    args = parse_args(["--modes", "grpo", "--rates", "3e-5"])
    assert choose_rates(study, args) == {"grpo": "3e-5"}, "one rate is taken as it is"


def test_the_table_by_hand(tmp_path):
    args, study = parse_args([*SMALL, "--seeds", "1", "2"]), Study(tmp_path, tmp_path)
    rates = {"nsr": "1e-4", "ngrpo": "3e-4"}
    keep(study, measured(args, None), [1, 0, 0])
    keep(study, measured(args, None, *BLIND), [1, 0, 0])
    for mode, seen in (("nsr", ([2, 1, 0], [2, 0, 1])), ("ngrpo", ([1, 0, 0], [1, 0, 0]))):
        for seed, c in zip((1, 2), seen, strict=True):
            own = compare_modes.run(args, mode, rates[mode], seed)
            keep(study, measured(args, own), c)
            keep(study, measured(args, own, *BLIND), [1, 0, 0])
    head, text = table(tmp_path, args, rates).split("\n\n")
    lines = text.splitlines()
    assert "seeds 1 2, 3 problems x 2 samples" in head and "*: the best rate is at an end of the grid" in head
    assert lines[0] == "|  | rate | Pass@1 | Pass@1 blind |"
    assert lines[2] == "| Base | – | 16.7 | 16.7 |"
    assert lines[3].startswith("| NSR | 1e-4* | 50.0 (**+33.3 [+25.0, +50.0]**) | 16.7 (+0.0 [")
    assert lines[4].startswith("| NGRPO | 3e-4* | 16.7 (+0.0 [")
    assert "blind" not in table(tmp_path, args, rates, sees=False)


def test_where_there_are_several_kinds_of_question_each_has_a_row(tmp_path):
    args, study = parse_args(["--modes", "nsr", "--problems", "3", "--samples", "2"]), Study(tmp_path, tmp_path)
    keep(study, measured(args, None), [0, 1, 2])
    keep(study, measured(args, compare_modes.run(args, "nsr", "1e-4", 1)), [1, 1, 2])
    assert table_of_kinds(tmp_path, args, {"nsr": "1e-4"}) == "", "all are of one kind"
    path = tmp_path / "problems_x.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kinds": ["marked", "plain", "plain"]}))
    head, *lines = table_of_kinds(tmp_path, args, {"nsr": "1e-4"}).splitlines()
    assert head == "Pass@1 / Pass@2 by kind of question, in percent:"
    assert lines[1] == "| kind | problems | Base | NSR |"
    assert lines[3:] == ["| marked | 1 | 0.0 / 0.0 | 50.0 / 100.0 |", "| plain | 2 | 75.0 / 100.0 | 75.0 / 100.0 |"]


def test_what_is_kept_is_printed_and_not_run_again(tmp_path, capsys):
    words = [*SMALL, "--folder", str(tmp_path)]
    args = parse_args(words)
    dataset = ("--dataset-name", args.dataset_name)
    study = Study(tmp_path / "counts", tmp_path / "models", args.vlm_name, dataset)
    study.counts.mkdir()
    for mode in args.modes:
        for rate in args.rates:
            keep(study, validation(args, mode, rate), [rate == "3e-4", 0, 0])
        for how in ((), BLIND):
            keep(study, measured(args, compare_modes.run(args, mode, "3e-4", 1), *how), [1, 0, 0])
            keep(study, measured(args, None, *how), [0, 0, 0])
    assert compare_modes.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "6 stages, 6 of them kept" in printed[1] and printed[-1].startswith("| NGRPO | 3e-4* | 16.7 (+16.7 [")
    assert len([line for line in printed if line.startswith("| ")]) == 5 and not list(study.work.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--modes own-advantage", "invalid choice: 'own-advantage'"),
        ("--modes nsr nsr", "one is there twice"),
        ("--rates 1e-5 0.00001", "one is there twice"),
        ("--rates x", "must be numbers"),
        ("--rates 1e-4 -1", "--learning-rate -1.0: must be above 0"),
        ("--learning-rate 1e-4", "--learning-rate is set by this program"),
        ("--seed=5", "--seed is set by this program"),
        ("--samples 0", "must be at least 1"),
        ("--validation-problems 0", "--validation-problems must be at least 1, not 0"),
        ("--vlm-name tinny", "tiny"),
        ("--dataset-name nowhere", "unknown data set 'nowhere': choose one of"),
        ("--num-generations 1", "--num-generations"),
        ("--validation-split test", "is the split that is measured"),
        ("--validation-split lost", "has no split 'lost'"),
        ("--lambda-psr 0.1", "is not used by --mode"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line_before_anything_is_made(line, message, tmp_path, capsys):
    folder = tmp_path / "results"
    assert compare_modes.main([*line.split(), "--folder", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not folder.exists()


@pytest.fixture
def own_set(tmp_path, monkeypatch):
    """A folder with three splits of text whose columns have names of their own, seen from beside it."""
    monkeypatch.chdir(tmp_path)
    rows = [{"asked": f"{n} and 1?", "said": str(n + 1)} for n in range(40)]
    (tmp_path / "sums").mkdir()
    for split, part in {"train": rows[:20], "validation": rows[20:30], "test": rows[30:]}.items():
        (tmp_path / "sums" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (tmp_path / "prompt.txt").write_text("{question} In <answer> and </answer>.")
    return tmp_path / "sums"


COLUMNS = ("--question-column", "asked", "--answer-column", "said", "--rule", "strict")
FEW = (*SMALL, "--problems", "5", "--validation-problems", "5")


def test_a_set_of_ones_own_is_told_to_both_programs(own_set, tmp_path):
    """Also from another folder, its columns and the prompt in use; the split behind @ is trained on, not sampled."""
    args = parse_args([*FEW, "--dataset-name", "sums@train", *COLUMNS, "--prompt-file", "prompt.txt"])
    study, grid, sees = compare_modes.prepare(args)
    assert not sees and not (tmp_path / "mode_results").exists()
    trained = vars(arguments.parse_args(study.train_command(grid[0].run)[2:]))
    assert trained["dataset_name"] == f"{own_set}@train"
    study.work.mkdir(parents=True)
    for stage in (grid[0], measured(args, None), measured(args, grid[0].run)):
        sampled = vars(generate_samples.parse_args(study.sample_command(stage)[2:]))
        assert sampled["dataset_name"] == [str(own_set)] and sampled["split"] == stage.split
        for name, value in {"question_column": "asked", "answer_column": "said", "rule": "strict"}.items():
            assert trained[name] == sampled[name] == value
        assert trained["prompt_file"] == sampled["prompt_file"] == str(tmp_path / "prompt.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--dataset-name sums --question-column question", "has no such column, but asked, said"),
        ("--dataset-name sums", "wanted: "),
        ("--dataset-name sums@validation --question-column asked --answer-column said", "is for evaluation"),
        ("--dataset-name sums@lost --question-column asked --answer-column said", "has no split 'lost'"),
        ("--dataset-name sums --split lost --question-column asked --answer-column said", "has no split 'lost'"),
        ("--dataset-name sums --problems 11 --question-column asked --answer-column said", "--problems 11 is larger"),
        ("--dataset-name sums --validation-problems 11 --question-column asked --answer-column said",
         "--validation-problems 11 is larger"),
        ("--dataset-name sums/test.jsonl --question-column asked --answer-column said", "split that is measured"),
        ("--dataset-name synthetic --rule strict", "is for a set without an adapter"),
        ("--dataset-name sums --answer-kind word", "--answer-kind word: unknown"),
        ("--prompt nothing", "--prompt nothing: unknown"),
        ("--prompt-file nothing.txt", "there is no such file"),
        ("--prompt short --prompt-file prompt.txt", "leave one of them out"),
    ],
)  # fmt: skip
def test_a_set_of_ones_own_is_refused_in_one_line_before_anything_is_made(line, message, own_set, capsys):
    words = [*SMALL, "--problems", "5", "--validation-problems", "4", *line.split(), "--folder", "results"]
    assert compare_modes.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not Path("results").exists()


def test_the_sweep_takes_it_too(own_set, capsys):
    words = ["--vlm-name", "tiny", "--dataset-name", "sums", "--problems", "5", "--folder", "results"]
    assert sweep.main([*words, "--question-column", "lost"]) == 2
    assert "has no such column" in capsys.readouterr().err and not Path("results").exists()
    assert data.check_data(sweep.parse_args([*words, *COLUMNS])).split == "test"


def test_one_rate_needs_no_validation_split():
    assert check_data(parse_args(["--validation-split", "lost", "--rates", "1e-4"]))


@pytest.mark.slow
def test_the_command_ends_in_a_table_and_does_nothing_twice(tmp_path):
    environment = os.environ | {"MODES": "ngrpo", "RATES": "1e-4", "UPDATES": "2", "PROBLEMS": "3"}
    environment |= {"NUM_SAMPLES": "4", "RESULTS": str(tmp_path / "results")}
    flags = ["--num-generations", "4", "--batch-size", "8", "--gradient-accumulation-steps", "1", "--subset-size", "8"]
    printed = []
    for _ in range(2):
        done = subprocess.run(
            [ROOT / "runs" / "compare_modes.sh", *flags], env=environment, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout[done.stdout.index("tiny on synthetic:") :])
        counts = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results" / "counts").iterdir()}
        if len(printed) == 1:
            before = counts
    assert printed[0] == printed[1] and counts == before
    of_modes, of_kinds = printed[0].split("Pass@1 / Pass@4 by kind of question, in percent:")
    assert "| Base | NGRPO |" in of_kinds
    rows = [line for line in of_modes.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| ", "| ---", "| Base", "| NGRPO"]
    assert len(counts) == 2 * 2 + 1, "seeing and blind of a row; the problems"
