"""Which ways of answering gain and lose in the study of docs/reproduction.md, by hand."""

import json
import math
from dataclasses import replace

import pytest

from charts.loading import load_questions
from organism import measure
from study import plan, scored, ways, words
from study.measurements import Ways, keep_scored
from study.plan import FULL, QUICK
from study.stages import Study, description, is_kept
from study.summary import Arm
from tests.test_study import CHARTS, kept_stage

WAYS = {"careful": (1, 0, 4), "quick": (2, 4, 0), "reverse": (1, 0, 0)}  # of four completions of three problems


def counted(label, *seeds, right=(1, 0, 4), seed=1):
    """An arm of these ways, a dict a seed, of two plain problems on one chart and a marked one."""
    none = {way: [0, 0, 0] for way in ("careful", "quick")}
    kept = [
        {"n": 4, "c": list(right), "problem_set": "p", "stage": {"seed": seed}, "held_out": {},
         "taken": {way: list(values) for way, values in ways.items()}, "right": none | {"careful": [1, 0, 2]}}
        for ways in seeds
    ]  # fmt: skip
    return Arm(label, kept, CHARTS | {"kinds": ["sum plain", "value plain", "sum marked"]})


def test_a_part_of_an_arm_has_the_counts_of_its_problems_alone():
    part = counted("x", WAYS).only(lambda kind: kind.endswith("plain"))
    assert part.c.tolist() == [[1, 0]] and part.problems["ids"] == ["a1", "a2"]
    assert part.ways("taken")["quick"].tolist() == [[2, 4]] and part.ways("right")["careful"].tolist() == [[1, 0]]
    assert part.curve([1]) == pytest.approx([1 / 8])


def test_shares_of_ways_and_their_entropy_are_means_over_problems_and_seeds():
    other = {"quick": (4, 4, 4)}
    both = counted("PSR", WAYS, other)
    careful, quick, reverse = ways.shares(both)[:, :3].T
    assert careful == pytest.approx([5 / 12, 0]) and quick == pytest.approx([6 / 12, 1])
    assert reverse == pytest.approx([1 / 12, 0])
    of_first = -sum(p * math.log(p) for p in (5 / 12, 6 / 12, 1 / 12))
    assert ways.entropy(both) == pytest.approx([of_first, 0.0])
    rows = ways.share_table({"base": counted("Base", WAYS, seed=None), "psr": both}).splitlines()[2:]
    assert rows[0].startswith("| Base | 41.7 | 50.0 | 8.3 | 0.0 |") and rows[0].endswith("| – |"), "five careful ones"
    assert rows[1].startswith("| PSR | 20.8 | 75.0 | 4.2 |")
    assert ways.careful_right(counted("Base", WAYS, WAYS)) == "60.0"


def test_ways_of_equal_merit_are_compared_with_the_base_and_seed_by_seed():
    base, psr = counted("Base", WAYS, seed=None), counted("PSR", {"quick": (4, 4, 4)}, {"reverse": (4, 4, 4)})
    rows = ways.equal_merit({"base": base, "psr": psr}).splitlines()[2:]
    assert rows[0] == "| Base | 58.3 | 85.7 | – |"
    # quick − reverse is 0 over the seeds, and (1/4, 1, 0) of the base
    assert rows[1].startswith("| PSR | 100.0 | 100.0 / 0.0 | −41.7 [")


def test_changes_of_ways_are_paired_by_problem():
    base, psr = counted("Base", WAYS, seed=None), counted("PSR", {"quick": (4, 4, 4)})
    parts = [{"base": base.only(part), "psr": psr.only(part)} for part in (lambda kind: "plain" in kind,) * 2]
    row = ways.change_table(*parts).splitlines()[2]
    assert row.count("−12.5 [") == 4 and row.count("+25.0 [") == 2, "careful and reverse −1/8, quick +1/4, twice"


def test_ways_are_counted_from_the_texts_of_charts_that_have_them():
    counts = Ways()
    problem = {"source": "procedures", "question": "What is the sum of A and C?"}
    texts = ["Step 1: forward A 3, C 5\nStep 2: 3 + 5 = 8", "Step 1: the axis starts at 10\nStep 2: A 13, C 15", "x"]
    counts.visit(problem | {"samples": texts}, [False, True, False])
    counts.visit(problem | {"samples": ["Step 1: about 17"] * 3}, [False, False, True])
    counts.visit(problem | {"source": "synthetic", "samples": ["Step 1: about 17"]}, [True])
    assert counts.counts() == {
        "taken": {"careful": [1, 0], "quick": [1, 0], "guess": [0, 3], "other": [1, 0]},
        "right": {"careful": [1, 0], "quick": [0, 0], "guess": [0, 1], "other": [0, 0]},
    }
    assert Ways().counts() == {}


def test_marked_charts_are_sampled_of_a_model_that_is_trained_on_all(tmp_path):
    study = Study(tmp_path, tmp_path)
    stage = plan.marked(plan.run("nsr", plan.COMMON, 1, FULL), FULL)
    assert "procedures-marked" in study.sample_command(stage) and "procedures" not in study.sample_command(stage)
    assert "procedures-marked" not in study.train_command(stage.run)
    marked = load_questions("procedures-marked", purpose="evaluate", split="test", subset_size=100).questions
    every = load_questions("procedures", purpose="evaluate", split="test").questions
    assert all(question.kind.endswith("marked") for question in marked)
    assert not {question.id for question in marked} & {question.id for question in every}


def test_words_say_what_is_kept_and_which_seeds(tmp_path):
    (tmp_path / "problems_p.json").write_text(json.dumps(counted("x", WAYS).problems))
    study = Study(tmp_path, tmp_path)
    assert words.abstract(tmp_path, QUICK) is None and words.opening(tmp_path, QUICK) is None
    for mode in (None, "psr", "nsr"):
        one = plan.run(mode, plan.COMMON, 1, QUICK) if mode else None
        of_mode = {"quick": [64, 64, 64]} if mode == "psr" else {"careful": [16, 16, 16], "quick": [48, 48, 48]}
        for stage in (plan.test(one, QUICK) if one else plan.base(QUICK), plan.marked(one, QUICK)):
            kept_stage(study, stage, 64 if mode else 16, taken=of_mode, right={})
    lines = words.abstract(tmp_path, QUICK).splitlines()
    text = " ".join(line.removeprefix("> ") for line in lines)
    assert len(lines) <= 10 and all(line.startswith("> ") and len(line) <= 120 for line in lines)
    assert "one learning rate (one seed each)" in text
    assert "Under PSR / NSR, Pass@1 went from 41.7 to 66.7 / 66.7, and" in text
    assert "share of completions there from 25.0 to 0.0 / 25.0 in 100" in text
    rows = words.opening(tmp_path, QUICK).splitlines()
    assert "| Pass@1 (41.7) |" in rows[0] and len(rows) == 2 + len(plan.METHODS)
    assert rows[2].startswith("| GRPO | 0 | – |") and rows[3] == "| PSR | 1 | 66.7 | 66.7 | 66.7 | 0.0 |"


def test_the_abstract_has_own_rates_once_all_seeds_of_them_are_kept(tmp_path):
    size = replace(FULL, seeds=(1, 2), samples=64)
    (tmp_path / "problems_p.json").write_text(json.dumps(counted("x", WAYS).problems))
    study = Study(tmp_path, tmp_path)
    best = {"grpo": "1e-4", "psr": "3e-4", "nsr": "1e-4", "w-reinforce": "3e-4"}
    for mode in plan.METHODS:
        for rate in ("3e-5", "1e-4", "3e-4", "1e-3"):
            kept_stage(study, plan.validation(mode, rate, size), 64 if rate == best[mode] else 0)
    stages = [*plan.both(plan.common(size), size, (1, 2)), *plan.both(best, size, (1, 2))]
    for stage in (stage for stage in stages if not stage.scored):
        assert stage.dataset or "own best rate" not in (words.abstract(tmp_path, size) or "")
        hits = 32 if stage.run and "lr3e-4" in stage.run.name else 16
        kept_stage(study, stage, hits, taken={"careful": [16, 16, 16], "quick": [48, 48, 48]}, right={})
    text = " ".join(line.removeprefix("> ") for line in words.abstract(tmp_path, size).splitlines())
    own = "Each at its own best rate (1e-4 / 3e-4 / 1e-4 / 3e-4), Pass@1 is 41.7 / 50.0 / 41.7 / 50.0 and Pass@64 "
    assert own in text


def test_what_forced_scoring_found_is_kept_small_and_averaged_over_problems_and_seeds(tmp_path):
    study = Study(tmp_path, tmp_path)
    base, first, second = (plan.scored(plan.run("psr", plan.COMMON, n, FULL) if n else None, FULL) for n in range(3))
    assert scored.of_common(tmp_path, FULL) is None
    for stage, careful in ((base, 0.06), (first, 0.001234567), (second, 0.5)):
        rows = [
            {"kind": "sum plain", "openings": {"careful": 0.25, "quick": 0.5, "reverse": 0.0, "guess": 0.1}},
            {"kind": "value plain", "openings": {"careful": 0.75, "quick": 0.0, "reverse": 0.0, "guess": 0.1}},
            {"kind": "sum marked", "openings": {"careful": careful, "quick": 0.2, "reverse": 0.1, "guess": 0.1}},
        ]
        measured = tmp_path / "measured.json"
        measured.write_text(json.dumps({"rows": rows, "forced": {"plain": 100.0, "marked": 90.0}, "targets": []}))
        keep_scored(measured, study.counts_of(stage), stage=description(study, stage), commands=["main.py"])
    kept = json.loads(study.counts_of(first).read_text())
    assert set(kept["openings"]) == {"careful", "quick", "reverse"} and kept["openings"]["careful"][2] == 0.001235
    assert is_kept(study, first) and not is_kept(study, plan.scored(plan.run("nsr", plan.COMMON, 1, FULL), FULL))
    of_base, of_psr = scored.of_common(tmp_path, FULL).splitlines()[2:]
    assert of_base == "| Base | 50.0 | 25.0 | 0.0 | 6.0 | 20.0 | 10.0 | 6.0 | 100.0 | 90.0 |"
    assert of_psr == "| PSR | 50.0 | 25.0 | 0.0 | 25.1 | 20.0 | 10.0 | 0.1 / 50.0 | 100.0 | 90.0 |"


def test_a_scored_stage_is_a_command_of_the_measurement(tmp_path):
    study = Study(tmp_path, tmp_path)
    stage = plan.scored(plan.run("psr", plan.COMMON, 1, FULL), FULL)
    command = study.sample_command(stage)
    args = measure.parse_args(command[3:])
    assert command[1:3] == ["-m", "organism.measure"] and args.model == str(study.folder_of(stage.run))
    assert (args.split, args.problems, args.marked, args.forced) == ("test", 120, 60, 8)
