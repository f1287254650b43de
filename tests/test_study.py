"""The study of docs/reproduction.md: its statistics and its plan by hand, and that document and kept counts agree."""

import json

import numpy as np
import pytest

from evaluation.estimators import guessing_floor
from settings.arguments import parse_args
from study import ablations, plan, reproduction, tables
from study.measurements import held_out, log_of, training_curves, warnings_of
from study.plan import FULL, QUICK
from study.stages import Study, description, is_kept
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


@pytest.mark.parametrize(("marked", "by_mark"), [(10, True), (9, True), (10, False)])
def test_as_many_marked_charts_are_drawn_as_there_are_unless_they_are_few(marked, by_mark):
    """Plain charts gain 1/2, marked ones nothing: that gain varies with their number alone, and each has its bound."""
    kinds = ["sum marked"] * marked + ["value plain"] * 30
    names = [f"p{n}" for n in range(len(kinds))]
    problems = {"ids": names, "clusters": names, "kinds": kinds, "yes_no": [False] * len(kinds)}
    counts = ([0] * marked + [right] * 30 for right in (2, 1))
    x, y = (Arm("", [{"n": 2, "c": c, "problem_set": "p"}], problems, by_mark) for c in counts)
    share, unseen = marked / len(kinds), [1 - 0.05 ** (1 / charts) for charts in (marked, 30)]
    by_hand = [[share * unseen[0] * end + (1 - share) * (gain + unseen[1] * (end - gain)) for end in ends]
               for gain, ends in ((0.5, (-1, 1)), (1.0, (0, 1)))]  # fmt: skip
    held = by_mark and marked == 10
    for found, exact in zip((difference(x, y, [1])[1][0], band(x, [1])[0]), by_hand, strict=True):
        assert (found == pytest.approx(exact)) == held


def test_the_band_holds_the_spread_of_seeds_which_one_seed_has_not():
    one = arm("x", (2, 2, 0))  # a chart of two questions solved, one of one question not
    assert band(one, [1])[0] == pytest.approx([0.0, 1.0])
    assert band(arm("x", (2, 2, 1)), [1])[0] == pytest.approx([0.5, 1.0])
    spread = arm("x", (0, 0, 0), (2, 2, 2))
    assert band(spread, [1])[0] == pytest.approx([0.0, 1.0]), "both seeds drawn twice is a quarter each"


def test_where_all_charts_agree_a_band_is_not_narrower_than_what_so_few_charts_can_say():
    unseen = 1 - 0.05 ** (1 / 2)  # of two charts
    for seeds in (((2, 2, 2),), ((2, 2, 2), (2, 2, 2))):
        assert band(arm("x", *seeds), [1, 2]) == pytest.approx(np.array([[1 - unseen, 1.0]] * 2))
    assert band(arm("x", (1, 1, 1)), [1])[0] == pytest.approx([0.5 - unseen / 2, 0.5 + unseen / 2])


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
        *plan.finals(plan.common(size), size), *plan.paper_sampling(size), *plan.on_scored(rates, size),
        *plan.on_scored(plan.common(size), size), *ablations.stages(rates, size),
        *ablations.long_stages(size), *ablations.long_marked(size),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [FULL, QUICK], ids=["full", "quick"])
def test_every_run_is_a_command_of_main_with_the_planned_updates(size, tmp_path):
    from settings.grpo_config import plan_steps
    from training.preparing import resolve_data, resolve_defaults

    study = Study(tmp_path, tmp_path)
    for run in {stage.run.name: stage.run for stage in every_stage(size) if stage.run}.values():
        args = parse_args(study.train_command(run)[2:])
        resolve_data(args)
        resolve_defaults(args)
        updates, _ = plan_steps(args, args.subset_size, 1)
        assert updates == size.updates * (4 if f"-{4 * size.updates}u-" in run.name else 1), run.name


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
    logs = [([50], [0.4]), ([0, 50, 100], [0.1, 0.5, 0.7])]  # before training it is measured too, but not always
    kept = [{"held_out": {"update": updates, "accuracy": accuracy}} for updates, accuracy in logs]
    arms = {"psr": Arm("PSR", kept, CHARTS), "nsr": Arm("NSR", kept[:1], CHARTS)}
    assert tables.held_out(arms).splitlines()[0] == "| held-out accuracy after update | 50 | 100 |"
    assert tables.held_out(arms).splitlines()[2:] == ["| PSR | 45.0 | 70.0 |", "| NSR | 40.0 | – |"]


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
