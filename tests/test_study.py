"""The study of docs/reproduction.md: its statistics by hand, its stages, and that document and kept counts agree."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from evaluation.estimators import guessing_floor
from settings.arguments import parse_args
from study import ablation_tables, ablations, plan, reproduction, sweep, tables
from study.measurements import training_curves, warnings_of
from study.plan import FULL, QUICK
from study.stages import Run, Stage, Study, description, is_kept, perform
from study.summary import Arm, band, difference, read_arm

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
    rates = dict.fromkeys(plan.METHODS, size.rates[0])
    return [
        plan.validation_base(size), *plan.grid(size), *plan.finals(rates, size), *plan.paper_sampling(rates, size),
        *ablations.stages(rates, size), *ablations.long_stages(size).values(),
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
        "grpo": {"1e-5": 1, "3e-5": 3, "1e-4": 2},
        "psr": {"1e-5": 1, "3e-5": 2, "1e-4": 3},
        "nsr": {"1e-5": 3, "3e-5": 2, "1e-4": 1},
        "w-reinforce": {"1e-5": 1, "3e-5": 3, "1e-4": 2},
    }
    assert plan.search(study, "grpo", FULL) == (None, "1e-5"), "nothing is kept"
    for mode, tried in right.items():
        for rate, n in tried.items():
            kept_validation(study, mode, rate, n)
    assert [plan.search(study, mode, FULL) for mode in right] == [("3e-5", None), (None, "3e-4"), (None, "3e-6"),
                                                                  ("3e-5", None)]  # fmt: skip
    assert plan.choose_rates(study, FULL) is None
    kept_validation(study, "psr", "3e-4", 2)
    kept_validation(study, "nsr", "3e-6", 4)
    assert plan.search(study, "nsr", FULL) == (None, "1e-6")
    kept_validation(study, "nsr", "1e-6", 5)
    assert plan.choose_rates(study, FULL) == {"grpo": "3e-5", "psr": "1e-4", "nsr": "1e-6", "w-reinforce": "3e-5"}


def test_counts_made_with_other_settings_are_refused(tmp_path):
    study = Study(tmp_path, tmp_path)
    stage = plan.base(QUICK)
    study.counts_of(stage).write_text(json.dumps({"stage": {**description(study, stage), "samples": 1}}))
    with pytest.raises(ValueError, match="other settings"):
        is_kept(study, stage)


@pytest.mark.slow
def test_a_stage_is_run_once_and_needs_neither_model_nor_samples_afterwards(tmp_path):
    study = Study(tmp_path / "counts", tmp_path / "work")
    flags = plan.flags(1, "1e-4", per_rollout=1, completions=8, generations=4)
    stages = [Stage("base", None, "test", 3, 4), Stage("psr", Run("psr", "psr", 1, flags), "test", 3, 4)]
    perform(study, stages)
    kept = {stage.name: json.loads(study.counts_of(stage).read_text()) for stage in stages}
    assert all(len(one["c"]) == 3 and one["n"] == 4 for one in kept.values())
    assert kept["base"]["problem_set"] == kept["psr"]["problem_set"]
    assert kept["psr"]["training"]["update"] == [1] and kept["psr"]["training"]["entropy"][0] > 0
    before = study.counts_of(stages[1]).stat().st_mtime_ns
    shutil.rmtree(study.work)
    perform(study, stages)
    assert study.counts_of(stages[1]).stat().st_mtime_ns == before and not list(study.work.iterdir())


def test_the_document_is_what_the_kept_counts_give():
    """Document and data cannot drift apart: python -m study.reproduction brings them together again."""
    text = reproduction.DOCUMENT.read_text(encoding="utf-8")
    assert reproduction.BLOCK.findall(text), "the document has tables"
    assert reproduction.rebuilt(text, reproduction.COUNTS) == text
    for name, svg in reproduction.pictures(reproduction.COUNTS).items():
        assert (reproduction.DOCUMENT.parent / "reproduction" / name).read_text(encoding="utf-8") == svg, name
        assert f"reproduction/{name}" in text


def test_the_abstract_is_what_the_kept_counts_give():
    """Ten lines at most, to be quoted; and the sentence about it with which the README opens."""
    text = reproduction.DOCUMENT.read_text(encoding="utf-8").partition("## Abstract\n")[2].partition("\n## ")[0]
    lines = [line.removeprefix("> ") for line in text.strip().splitlines()]
    abstract = " ".join(lines)
    readme = (reproduction.ROOT / "README.md").read_text(encoding="utf-8").partition("## The methods")[0]
    opening = " ".join(readme.split())
    assert len(lines) <= 10
    found = tables.final_arms(reproduction.COUNTS, FULL)
    assert set(found) == {"base", *plan.METHODS}
    assert {len(arm.kept) for mode, arm in found.items() if mode != "base"} == {3} and "three seeds" in abstract
    for mode, arm in found.items():
        if mode != "base":
            moved, bounds = difference(arm, found["base"], [1, 256])
            assert (bounds[1, 0] > 0 or bounds[1, 1] < 0) == (mode == "psr"), "of Pass@256 only PSR's"
            one, many = (f"{100 * value:+.1f}".replace("-", "−") for value in moved)
            said = f"{one} and {many}"
            assert re.search(rf"by {re.escape(said)}( points)? under {arm.label}\b", abstract), said
        if mode == "psr":
            assert f"(three seeds), PSR moved Pass@1 by {one} and Pass@256 by {many} points" in opening
        if mode == "nsr":
            assert f"points, NSR by {one} and {many}:" in opening
    assert "of Pass@256 only PSR's change is significant" in abstract
    changed = ablation_tables.factor_arms(reproduction.COUNTS, FULL)
    same, large = changed["rate-3e-5"], changed["rate-1e-4"]
    assert {one.seeds for one in (*same.values(), *large.values())} == {3}
    values, bounds = difference(same["nsr"], same["psr"], [1, 64])
    accuracy, diversity = (tables.signed(*both).strip("*") for both in zip(values, bounds, strict=True))
    assert f"NSR − PSR is {accuracy} at Pass@1 and {diversity} at Pass@64" in abstract
    nsr, psr = (-100 * difference(large[mode], found["base"], [64])[0][0] for mode in ("nsr", "psr"))
    assert f"NSR loses {nsr:.1f} points of Pass@64 and PSR {psr:.1f}" in abstract
    long = {one: stage.name for one, stage in ablations.long_stages(FULL).items()}
    psr = read_arm(reproduction.COUNTS, "PSR", [long["psr", 1]])
    gained, lost = 100 * difference(psr, found["base"], [1, 64])[0]
    assert f"PSR gains {gained:.1f} points of Pass@1 and loses {-lost:.1f} of Pass@64" in abstract
    assert "Over three thousand updates at 3e-5" in abstract and psr.kept[0]["training"]["update"][-1] == 3000
    assert "NSR, and W-REINFORCE at lambda 0.1, lose every right answer at about two thousand" in abstract
    for one in (("nsr", 1), ("nsr", 2), ("w-reinforce", 1)):
        kept = json.loads((reproduction.COUNTS / f"{long[one]}.json").read_text())
        assert not any(kept["c"]) and kept["training"]["update"][-1] > 2000


def test_the_kept_counts_tell_two_points_up_to_pass_at_64_and_three_at_256():
    found = tables.final_arms(reproduction.COUNTS, FULL)
    for label, one, other in tables.pairs(found):
        _, bounds = difference(one, other, [1, 4, 16, 64, 256])
        half = 100 * (bounds[:, 1] - bounds[:, 0]) / 2
        assert half[:4].max() <= 2.0 and half[4] <= 3.0, label


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


def kept_stage(study, stage, right, **more):
    training = {"update": [1, 2], "entropy": [0.1, 0.2], "length": [70.0, 80.0]}
    content = {
        "stage": description(study, stage),
        "problem_set": "p",
        "n": 64,
        "c": [right, 0, 64],
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
    first, same, second = ablation_tables.factor_table(tmp_path, size).splitlines()[2:]
    assert same.startswith("| both at 1e-4 | 1 | +33.3 ["), "the rate chosen is the study's own run, measured once"
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
    size = replace(QUICK, seeds=(1, 2, 3), rates=("1e-4",))
    study, rates = Study(tmp_path, tmp_path), dict.fromkeys(plan.METHODS, "1e-4")
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    kept_stage(study, plan.base(size), 0)
    stages = {mode: ablations.of_factor("rate-3e-5", mode, rates, size) for mode in ablations.CONTRASTED}
    for psr, nsr, right in zip(stages["psr"], stages["nsr"], (64, 32, 0), strict=True):
        assert "rate-3e-5" not in ablation_tables.factor_arms(tmp_path, size)
        kept_stage(study, psr, right)
        kept_stage(study, nsr, 0)
    rows = [line.strip("| ").split(" | ") for line in ablation_tables.factor_table(tmp_path, size).splitlines()[2:]]
    gains = [(label, seeds, gain.split(" ")[0].strip("*")) for label, seeds, gain, *_ in rows]
    assert gains == [
        ("both at 3e-5", "3", "+16.7"),
        ("both at 3e-5, first seed", "1", "+33.3"),
        ("both at 3e-5, second seed", "1", "+16.7"),
        ("both at 3e-5, third seed", "1", "+0.0"),
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


def test_a_study_widens_the_grid_before_it_samples_the_test_split(tmp_path, monkeypatch):
    """Right answers rise with the rate for PSR, up to the end of what a grid may be widened to."""
    done = []

    def keep(study, stages):
        for stage in stages:
            if stage.split == "validation" and stage.run:
                rate = float(stage.run.flags[stage.run.flags.index("--learning-rate") + 1])
                right = rate if stage.run.mode == "psr" else -abs(rate - 3e-5)
                study.counts_of(stage).write_text(json.dumps({"stage": description(study, stage), "c": [right]}))
            done.append(stage)

    monkeypatch.setattr(plan, "perform", keep)
    rates = plan.reproduce(Study(tmp_path, tmp_path), FULL)
    assert rates == {"grpo": "3e-5", "psr": "1e-3", "nsr": "3e-5", "w-reinforce": "3e-5"}
    first_test = next(i for i, stage in enumerate(done) if stage.split == "test")
    assert [stage.name for stage in done[13:first_test]] == [
        "validation-psr-lr3e-4-300u-s1",
        "validation-psr-lr1e-3-300u-s1",
    ]
    assert all(stage.split == "test" for stage in done[first_test:])


def test_kept_counts_of_another_stage_choose_no_rate(tmp_path):
    study = Study(tmp_path, tmp_path)
    for rate in FULL.rates:
        kept_validation(study, "psr", rate, 1)
    study.counts_of(plan.grid(FULL)[1]).write_text('{"c": [9]}')
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
        kept_stage(study, stage, 64 if "lr1e-4" in stage.name else 32)
    kept_stage(study, plan.validation_base(FULL), 0)
    assert tables.learning_rates(tmp_path, FULL).splitlines()[4] == "| PSR | 50.0 | 50.0 | 66.7 |", "none chosen yet"
    for mode in plan.METHODS:
        kept_stage(study, plan.validation(mode, "3e-4", FULL), 0)
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
    [("--lambdas x", "must be numbers"), ("--mode nsr", "set by the sweep"), ("--seed=5", "--seed is set")],
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
