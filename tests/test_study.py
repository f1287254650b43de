"""The study of docs/reproduction.md: its statistics by hand, its stages, and that document and kept counts agree."""

import json
import math
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from charts.loading import load_questions
from evaluation.estimators import guessing_floor
from settings.arguments import parse_args
from study import ablation_tables, ablations, measurements, plan, reproduction, stages, sweep, tables, ways, words
from study.measurements import Ways, held_out, log_of, training_curves, warnings_of
from study.plan import FULL, QUICK
from study.stages import Run, Stage, Study, description, is_kept, perform
from study.summary import Arm, band, difference

CHARTS = {"ids": ["a1", "a2", "b1"], "clusters": ["a", "a", "b"], "kinds": ["max"] * 3, "yes_no": [True, False, False]}


def arm(label, *seeds, n=2):
    return Arm(label, [{"n": n, "c": list(c), "problem_set": "p", "stage": {"seed": 1}} for c in seeds], CHARTS)


def test_a_curve_is_the_mean_over_seeds_and_problems():
    both = arm("x", (2, 0, 1), (1, 0, 1))
    # Pass@1 = c/n; Pass@2 = 1 unless c = 0. Seed 1: (1, 0, .5), (1, 0, 1); seed 2: (.5, 0, .5), (1, 0, 1)
    assert both.curve([1, 2]) == pytest.approx([(1.5 + 1.0) / 6, 4 / 6])


def test_a_paired_difference_draws_charts_not_questions():
    """Chart a gains 1/2 on each of its questions, chart b nothing: resampled means are 1/2, 1/3 or 0, never between."""
    mean, bounds = difference(arm("x", (2, 1, 1)), arm("y", (1, 0, 1)), [1])
    assert mean == pytest.approx([1 / 3])
    assert bounds[0] == pytest.approx([0.0, 0.5])
    one_chart = {**CHARTS, "clusters": ["a", "a", "a"]}
    x, y = (Arm("x", [{"n": 2, "c": c, "problem_set": "p"}], one_chart) for c in ([2, 1, 1], [1, 0, 1]))
    bounds = [1 / 3 - 0.95 * (1 / 3 + 1), 1 / 3 + 0.95 * (1 - 1 / 3)]
    assert difference(x, y, [1])[1][0] == pytest.approx(bounds), "one chart says next to nothing of others"


def test_the_band_holds_the_spread_of_seeds_which_one_seed_has_not():
    flat = arm("x", (1, 1, 1))
    assert band(flat, [1])[0] == pytest.approx([0.5, 0.5])
    spread = arm("x", (0, 0, 0), (2, 2, 2))
    assert band(spread, [1])[0] == pytest.approx([0.0, 1.0]), "both seeds drawn twice is a quarter each"


def test_the_guessing_floor_is_that_of_fair_coins():
    assert guessing_floor([True, True, False, False], [1, 2, 64]) == pytest.approx([0.25, 0.375, 0.5])


def test_other_problems_are_never_compared():
    x, y = arm("x", (1, 1, 1)), arm("y", (1, 1, 1))
    y.kept[0]["problem_set"] = "q"
    with pytest.raises(ValueError, match="other problems"):
        difference(x, y, [1])


def every_stage(size):
    rates = dict.fromkeys(plan.METHODS, size.rates[-1])
    return [
        plan.validation_base(size), *plan.grid(size), *plan.finals(rates, size), *plan.on_marked(rates, size),
        *plan.finals(plan.common(size), size), *plan.paper_sampling(size), *ablations.stages(rates, size),
        *ablations.long_stages(size).values(),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [FULL, QUICK], ids=["full", "quick"])
def test_every_run_is_a_command_of_main_with_the_planned_updates(size, tmp_path):
    from settings.grpo_config import plan_steps
    from training.preparing import resolve_defaults

    study = Study(tmp_path, tmp_path)
    for run in {stage.run.name: stage.run for stage in every_stage(size) if stage.run}.values():
        args = parse_args(study.train_command(run)[2:])
        resolve_defaults(args)
        updates, _ = plan_steps(args, args.subset_size, 1)
        assert updates == size.updates * (10 if f"-{10 * size.updates}u-" in run.name else 1), run.name


def test_one_name_is_one_stage_and_one_run(tmp_path):
    study, seen = Study(tmp_path, tmp_path), {}
    for stage in every_stage(FULL):
        assert seen.setdefault(stage.name, description(study, stage)) == description(study, stage)
    runs = {}
    for stage in every_stage(FULL):
        if stage.run:
            assert runs.setdefault(stage.run.name, stage.run) == stage.run


def test_methods_differ_in_the_mode_and_the_chosen_rate_alone():
    for seed in FULL.seeds:
        assert len({plan.run(mode, "3e-5", seed, FULL).flags for mode in plan.METHODS}) == 1


def kept_validation(study, mode, rate, right):
    stage = plan.validation(mode, rate, FULL)
    study.counts_of(stage).write_text(json.dumps({"stage": description(study, stage), "c": [right, 0]}))


def test_the_rate_with_the_most_right_answers_is_chosen_once_worse_ones_are_on_both_sides(tmp_path):
    study = Study(tmp_path, tmp_path)
    right = {
        "grpo": {"3e-5": 1, "1e-4": 3, "3e-4": 2},
        "psr": {"3e-5": 1, "1e-4": 2, "3e-4": 3},
        "nsr": {"3e-5": 3, "1e-4": 2, "3e-4": 1},
        "w-reinforce": {"3e-5": 1, "1e-4": 3, "3e-4": 2},
    }
    assert plan.search(study, "grpo", FULL) == (None, "3e-5"), "nothing is kept"
    for mode, tried in right.items():
        for rate, n in tried.items():
            kept_validation(study, mode, rate, n)
    assert [plan.search(study, mode, FULL) for mode in right] == [("1e-4", None), (None, "1e-3"), (None, "1e-5"),
                                                                  ("1e-4", None)]  # fmt: skip
    assert plan.choose_rates(study, FULL) is None
    kept_validation(study, "psr", "1e-3", 2)
    for rate, n in (("1e-5", 4), ("3e-6", 5)):
        kept_validation(study, "nsr", rate, n)
    assert plan.search(study, "nsr", FULL) == (None, "1e-6")
    kept_validation(study, "nsr", "1e-6", 6)
    assert plan.choose_rates(study, FULL) == {"grpo": "1e-4", "psr": "3e-4", "nsr": "1e-6", "w-reinforce": "1e-4"}


def test_counts_made_with_other_settings_are_refused(tmp_path):
    study = Study(tmp_path, tmp_path)
    stage = plan.base(QUICK)
    study.counts_of(stage).write_text(json.dumps({"stage": {**description(study, stage), "samples": 1}}))
    with pytest.raises(ValueError, match="other settings"):
        is_kept(study, stage)


def test_counts_of_another_build_of_the_model_are_refused(tmp_path):
    study, stage = Study(tmp_path, tmp_path), plan.base(QUICK)
    assert len(description(study, stage)["weights"]) == 16
    assert description(Study(tmp_path, tmp_path, "qwen2-5-3b"), stage)["weights"] is None
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    kept_stage(study, stage, 1)
    older = plan.test(plan.run("nsr", plan.COMMON, 1, QUICK), QUICK)
    kept_stage(study, older, 1)
    kept = json.loads(study.counts_of(older).read_text())
    study.counts_of(older).write_text(json.dumps(kept | {"stage": kept["stage"] | {"weights": "0" * 16}}))
    with pytest.raises(ValueError, match="other settings"):
        is_kept(study, older)
    with pytest.raises(ValueError, match="different builds"):
        tables.common_arms(tmp_path, QUICK)


@pytest.mark.slow
def test_a_stage_is_run_once_and_needs_neither_model_nor_samples_afterwards(tmp_path):
    study = Study(tmp_path / "counts", tmp_path / "work")
    flags = plan.flags(1, "1e-4", per_rollout=1, completions=8, generations=4)
    run = Run("psr", "psr", 1, flags)
    stages = [Stage("base", None, "test", 3, 4), Stage("psr", run, "test", 3, 4)]
    perform(study, [*stages, marked := Stage("marked", run, "test", 3, 4, (), plan.MARKED)])
    kept = {stage.name: json.loads(study.counts_of(stage).read_text()) for stage in stages}
    assert all(len(one["c"]) == 3 and one["n"] == 4 for one in kept.values())
    assert kept["base"]["problem_set"] == kept["psr"]["problem_set"]
    assert kept["psr"]["training"]["update"] == [1] and kept["psr"]["training"]["entropy"][0] > 0
    assert np.sum(list(kept["psr"]["taken"].values()), axis=0).tolist() == [4, 4, 4]
    of_marked = json.loads(study.counts_of(marked).read_text())["problem_set"]
    beside = json.loads((study.counts / f"problems_{of_marked}.json").read_text())
    assert all(kind.endswith("marked") for kind in beside["kinds"]) and len(beside["kinds"]) == 3
    before = study.counts_of(stages[1]).stat().st_mtime_ns
    shutil.rmtree(study.work)
    perform(study, stages)
    assert study.counts_of(stages[1]).stat().st_mtime_ns == before and not list(study.work.iterdir())


def test_after_a_stage_that_fails_none_is_begun_and_one_that_runs_ends(tmp_path, monkeypatch):
    """The first one runs on, the second fails in its training, its twin is of that model, the last waits for both."""
    run, failed, begun = Run("broken", "psr", 1, ()), threading.Event(), []
    wanted = [Stage(name, None if "base" in name else run, "test", 3, 4) for name in ("base", "one", "twin", "base-2")]

    def call(command, log):
        begun.append(log.name)
        if "main.py" in command:
            failed.set()
            raise ValueError("training failed")
        assert failed.wait(20)
        time.sleep(0.2)
        (tmp_path / "work" / log.name.replace(".sampling.log", ".json")).touch()

    monkeypatch.setattr(stages, "call", call)
    monkeypatch.setattr(measurements, "keep", lambda *args, **more: begun.append("kept"))
    for jobs in (2, 3):
        begun.clear()
        with pytest.raises(ValueError, match="training failed"):
            perform(Study(tmp_path / "counts", tmp_path / "work", jobs=jobs), wanted)
        assert sorted(begun) == ["base.sampling.log", "broken.training.log", "kept"], jobs


def test_models_are_trained_side_by_side_and_each_once(tmp_path, monkeypatch):
    """Though the stages of a model follow one another: none waits while another one's model is trained."""
    study, both, begun = Study(tmp_path / "counts", tmp_path / "work"), threading.Barrier(2), []
    runs = {name: Run(name, "psr", 1, ()) for name in ("one", "two")}

    def call(command, log):
        begun.append(log.name)
        if "main.py" in command:
            both.wait(20)
            folder = study.folder_of(runs[log.name.removesuffix(".training.log")])
            folder.mkdir(parents=True)
            (folder / "training_settings.json").write_text('{"finished": true}')
        else:
            (study.work / log.name.replace(".sampling.log", ".json")).touch()

    monkeypatch.setattr(stages, "call", call)
    monkeypatch.setattr(measurements, "keep", lambda *args, **more: None)
    perform(study, [Stage(f"{kind}-{name}", runs[name], "test", 3, 4) for name in runs for kind in ("test", "marked")])
    sampled = [f"{kind}-{name}.sampling.log" for name in runs for kind in ("test", "marked")]
    assert sorted(begun) == sorted([*(f"{name}.training.log" for name in runs), *sampled])


def test_the_documents_are_what_the_kept_counts_give():
    """Documents and data cannot drift apart: python -m study.reproduction brings them together again."""
    texts = {path: path.read_text(encoding="utf-8") for path in (reproduction.DOCUMENT, reproduction.README)}
    for path, text in texts.items():
        assert reproduction.BLOCK.findall(text), f"{path} has tables"
        assert reproduction.rebuilt(text, reproduction.COUNTS) == text, path
    for name, svg in reproduction.pictures(reproduction.COUNTS).items():
        assert (reproduction.DOCUMENT.parent / "reproduction" / name).read_text(encoding="utf-8") == svg, name
        assert f"reproduction/{name}" in texts[reproduction.DOCUMENT]


def test_every_table_of_the_document_is_shown_once():
    shown = [name for _, name, _ in reproduction.BLOCK.findall(reproduction.DOCUMENT.read_text(encoding="utf-8"))]
    assert len(shown) == len(set(shown)) and set(shown) < set(reproduction.TABLES)


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


def test_the_document_says_which_stages_are_kept(tmp_path):
    study = Study(tmp_path, tmp_path)
    assert tables.progress(tmp_path, FULL) is None
    kept_stage(study, plan.base(FULL), 1)
    kept_stage(study, plan.test(plan.run("nsr", plan.COMMON, 2, FULL), FULL), 1)
    rows = tables.progress(tmp_path, FULL).splitlines()
    assert "| common rate | 2 of 13 | base, nsr-lr1e-4-300u-s2 |" in rows
    assert "| own rates | rates not chosen yet | – |" in rows and "| common rate, marked | 0 of 13 | – |" in rows


def test_held_out_accuracy_is_kept_with_the_updates_it_was_measured_after(tmp_path):
    log = [{"step": 1, "loss": 0.1}, {"step": 50, "eval_decomposed/accuracy": 0.41239}, {"step": 51, "loss": 0.1}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    assert held_out(tmp_path) == {"update": [50], "accuracy": [0.4124]}
    assert len(log_of(tmp_path)) == 2
    arms = {"psr": Arm("PSR", [{"held_out": {"update": [50], "accuracy": [a]}} for a in (0.4, 0.5)], CHARTS)}
    assert tables.held_out(arms).splitlines()[2] == "| PSR | 45.0 |"


def test_what_is_logged_once_per_rollout_batch_is_averaged_over_those_updates_alone():
    updates = [{"step": n, "entropy": 1.0 + n, "decomposed/kept_share": None} for n in range(1, 9)]
    for n, length in ((0, 10.0), (4, 30.0)):  # 8 updates on 2 rollout batches
        updates[n] |= {"decomposed/negative": 1, "completions/mean_length": length}
    curves = training_curves(updates)
    assert curves["update"] == [4, 8] and curves["length"] == [10.0, 30.0] and curves["entropy"] == [3.5, 7.5]
    assert set(curves) == {"update", "length", "entropy"}, "no curve of what was not logged"
    assert json.loads(json.dumps(curves, allow_nan=False)) == curves


def test_a_kept_log_says_when_the_early_warnings_would_have_come():
    calm = {"decomposed/negative": 1, "entropy": 0.1, "ratio/max": 1.0}
    updates = [{**calm, "step": n} for n in range(1, 100)]
    for entry in updates[59:]:
        entry |= {"entropy": 0.5, "ratio/max": 11.0}
    # the mean of the last 20 passes twice 0.1 with the fifth and is above it with the sixth: 0.1 + 0.4 x 6 / 20
    assert warnings_of(updates, "nsr") == {"ratio": 60, "entropy": 65}


def kept_factor(study, name, mode, rates, right):
    for stage in ablations.of_factor(name, mode, rates, QUICK):
        kept_stage(study, stage, right)


def kept_stage(study, stage, hits, **more):
    training = {"update": [1, 2], "entropy": [0.1, 0.2], "length": [70.0, 80.0]}
    content = {
        "stage": description(study, stage),
        "problem_set": "p",
        "n": 64,
        "c": [hits, 0, 64],
        "training": training,
        **more,
    }
    study.counts_of(stage).write_text(json.dumps(content))


def test_the_tables_of_factors_and_long_runs_compare_what_is_kept_with_the_base(tmp_path):
    study, size, rates = Study(tmp_path, tmp_path), QUICK, dict.fromkeys(plan.METHODS, "1e-4")
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    assert ablation_tables.factor_table(tmp_path, size) is None
    kept_stage(study, plan.base(size), 0)
    kept_factor(study, "own-rates", "psr", rates, 64)
    kept_factor(study, "own-rates", "nsr", rates, 32)
    kept_factor(study, "on-policy", "psr", rates, 32)
    kept_factor(study, "on-policy", "nsr", rates, 64)
    kept_factor(study, "unclipped", "nsr", rates, 64)  # without PSR's no row
    first, same, again, second = ablation_tables.factor_table(tmp_path, size).splitlines()[2:]
    assert same.startswith("| both at 1e-4 | 1 | +33.3 ["), "the rate chosen is the study's own run, measured once"
    assert again.startswith("| both at 1e-4, first seed | 1 | +33.3 [")
    assert first.startswith(f"| each at its own rate | 1 {'| +33.3 [+0.0, +50.0] ' * 3}| +16.7 [")
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[:2] == ["one update per rollout batch", "1"]
    assert cells[2].startswith("+16.7") and cells[5].startswith("+33.3") and cells[8].startswith("+16.7")
    assert cells[10].startswith("+0.0"), "Pass@64 of 32 and of 64 right samples is 1"
    training = ablation_tables.factor_training(tmp_path, size)
    assert "| each at its own rate | 0.100 → 0.200; 80 | 0.100 → 0.200; 80 |" in training
    size = replace(size, seeds=(1, 2))
    kept_stage(study, ablations.long_stages(size)["nsr", 1], 0, warnings={"entropy": 400})
    kept_stage(study, ablations.long_stages(size)["nsr", 2], 0)
    row, again = ablation_tables.long_table(tmp_path, size).splitlines()[2:]
    assert row.endswith("| 0.100 → 0.200; 80 | entropy at 400 |") and row.startswith("| NSR − base | 2 |")
    assert again.startswith("| NSR, seed 2 − base | 2 |") and again.endswith("| none |")


def test_draws_of_the_same_are_averaged_once_all_are_kept(tmp_path):
    size = replace(QUICK, seeds=(1, 2, 3))
    study, rates = Study(tmp_path, tmp_path), dict.fromkeys(plan.METHODS, "1e-4")
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    kept_stage(study, plan.base(size), 0)
    stages = {mode: ablations.of_factor("rate-1e-4", mode, rates, size) for mode in ablations.CONTRASTED}
    for psr, nsr, right in zip(stages["psr"], stages["nsr"], (64, 32, 0), strict=True):
        assert "rate-1e-4" not in ablation_tables.factor_arms(tmp_path, size)
        kept_stage(study, psr, right)
        kept_stage(study, nsr, 0)
    rows = [line.strip("| ").split(" | ") for line in ablation_tables.factor_table(tmp_path, size).splitlines()[2:]]
    gains = [(label, seeds, gain.split(" ")[0].strip("*")) for label, seeds, gain, *_ in rows]
    assert gains == [
        ("each at its own rate", "3", "+16.7"),
        ("both at 1e-4", "3", "+16.7"),
        ("both at 1e-4, first seed", "1", "+33.3"),
        ("both at 1e-4, second seed", "1", "+16.7"),
        ("both at 1e-4, third seed", "1", "+0.0"),
    ]


def test_a_difference_is_shown_for_every_seed_too():
    found = {"base": arm("Base", (1, 0, 1)), "psr": arm("PSR", (2, 0, 1), (1, 0, 1)), "nsr": arm("NSR", (0, 0, 1))}
    text = tables.by_seed(found)
    assert "| PSR − base | +16.7 / +0.0 |" in text and "NSR" not in text, "NSR has one seed"
    found["nsr"] = arm("NSR", (0, 0, 1), (2, 2, 2))
    assert "| NSR − PSR | −33.3 / +66.7 |" in tables.by_seed(found)


def test_bold_is_what_leaves_zero_out_as_shown():
    assert tables.signed(0.008, (0.0004, 0.017)) == "+0.8 [+0.0, +1.7]"
    assert tables.signed(0.008, (0.0006, 0.017)) == "**+0.8 [+0.1, +1.7]**"
    assert tables.signed(-0.008, (-0.017, -0.0006)) == "**−0.8 [−1.7, −0.1]**"


@pytest.mark.parametrize(
    ("line", "message"),
    [("--counts nowhere", "no kept counts there"), ("--counts {there}", "add --print"), ("--quick", "add --print")],
)
def test_a_document_of_other_counts_is_refused(line, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "validation-base.json").write_text("{}")
    document = tmp_path / "document.md"
    shutil.copy(reproduction.DOCUMENT, document)
    monkeypatch.setattr(reproduction, "DOCUMENT", document)
    before = document.read_bytes()
    assert reproduction.main(line.format(there=tmp_path).split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert document.read_bytes() == before


def test_a_study_widens_the_grid_before_it_measures_a_rate_of_a_methods_own(tmp_path, monkeypatch):
    """Right answers rise with the rate for PSR, up to the end of what a grid may be widened to."""
    done = []

    def keep(study, stages):
        for stage in stages:
            if stage.split == "validation" and stage.run:
                rate = float(stage.run.flags[stage.run.flags.index("--learning-rate") + 1])
                right = rate if stage.run.mode == "psr" else -abs(rate - 1e-4)
                study.counts_of(stage).write_text(json.dumps({"stage": description(study, stage), "c": [right]}))
            done.append(stage)

    monkeypatch.setattr(plan, "perform", keep)
    rates = plan.reproduce(Study(tmp_path, tmp_path), FULL)
    assert rates == {"grpo": "1e-4", "psr": "3e-3", "nsr": "1e-4", "w-reinforce": "1e-4"}
    tried = [stage.name for stage in done if stage.split == "validation"]
    assert tried[13:] == ["validation-psr-lr1e-3-300u-s1", "validation-psr-lr3e-3-300u-s1"]
    last = max(place for place, stage in enumerate(done) if stage.split == "validation")
    for chosen in (rates, plan.common(FULL)):
        assert {stage.name for stage in plan.both(chosen, FULL, FULL.seeds)} <= {stage.name for stage in done}
    own = {stage.name for stage in plan.finals(rates, FULL)} - {s.name for s in plan.finals(plan.common(FULL), FULL)}
    assert not own & {stage.name for stage in done[:last]}, "no rate of a method's own is measured before it is chosen"


def test_kept_counts_of_another_stage_choose_no_rate(tmp_path):
    study = Study(tmp_path, tmp_path)
    for rate in FULL.rates:
        kept_validation(study, "psr", rate, 1)
    study.counts_of(plan.grid(FULL)[0]).write_text('{"c": [9]}')
    with pytest.raises(ValueError, match="no file of counts"):
        plan.search(study, "psr", FULL)


def test_factors_are_changed_at_one_rate_for_both_methods():
    rates = {"psr": "1e-4", "nsr": "1e-5"}
    for name, change in ablations.FACTORS.items():
        psr, nsr = (ablations.runs(name, mode, rates, FULL) for mode in ablations.CONTRASTED)
        assert [run.seed for run in psr] == [run.seed for run in nsr] and psr
        for one, other in zip(psr, nsr, strict=True):
            assert (one.flags == other.flags) == (name != "own-rates")
            if "rate" not in change:
                assert one.flags[one.flags.index("--learning-rate") + 1] == ablations.RATE


def test_factors_before_the_rates_are_chosen_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not chosen there"):
        ablations.perform_all(Study(tmp_path, tmp_path), FULL)


@pytest.mark.parametrize("size", [FULL, QUICK], ids=["full", "quick"])
def test_nothing_kept_is_no_table(size, tmp_path):
    assert [name for name, table in reproduction.TABLES.items() if table(tmp_path / "counts", size)] == []


def test_the_base_and_the_chosen_rates_stand_out_among_the_learning_rates(tmp_path):
    study = Study(tmp_path, tmp_path)
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    for stage in plan.grid(FULL):
        kept_stage(study, stage, 64 if "lr3e-4" in stage.name else 32)
    kept_stage(study, plan.validation_base(FULL), 0)
    assert tables.learning_rates(tmp_path, FULL).splitlines()[4] == "| PSR | 50.0 | 50.0 | 66.7 |", "none chosen yet"
    for mode in plan.METHODS:
        kept_stage(study, plan.validation(mode, "1e-3", FULL), 0)
    lines = tables.learning_rates(tmp_path, FULL).splitlines()
    assert lines[2] == "| Base | 33.3 | 33.3 | 33.3 | 33.3 |"
    assert lines[4] == "| PSR | 50.0 | 50.0 | **66.7** | 33.3 |"


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no table best"):
        reproduction.rebuilt("<!-- table best -->\n<!-- end -->", tmp_path)


def test_the_sweep_hands_other_flags_to_main_and_keeps_its_own():
    args = sweep.parse_args(["--vlm-name", "tiny", "--learning-rate", "1e-3", "--lambdas", "0", "0.5"])
    own = sweep.stages(args)
    assert list(own) == ["base", "0", "0.5"]
    assert own["0.5"][0].run.flags == ("--lambda-psr", "0.5", "--learning-rate", "1e-3")


@pytest.mark.parametrize(
    ("line", "message"),
    [("--lambdas x", "must be numbers"), ("--mode nsr", "set by this program"), ("--seed=5", "--seed is set")],
)
def test_the_sweep_refuses_in_one_line(line, message, capsys):
    assert sweep.main(line.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_table_of_a_sweep_compares_every_lambda_with_the_first():
    found = {value: arm(f"λ = {value}", c) for value, c in {"0": (1, 0, 1), "0.5": (2, 1, 1)}.items()}
    text = sweep.table(found)
    assert "| λ = 0.5 − λ = 0 | +33.3 [+0.0, +50.0] |" in text
    assert {axes.get_title(loc="left") for axes in sweep.picture(found).axes} == {"Pass@1 (%)", "Pass@2 (%)"}
