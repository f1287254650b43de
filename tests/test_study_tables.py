"""The tables of docs/reproduction.md from kept counts, by hand; factors and the sweep of lambda."""

import json
import shutil
from dataclasses import replace

import pytest

from study import ablation_tables, ablations, plan, reproduction, sweep, tables
from study.plan import FULL, QUICK
from study.stages import Study
from tests.test_study import CHARTS, arm, kept_factor, kept_stage


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


def test_the_ways_of_every_factor_stand_beside_the_bases_a_number_a_seed(tmp_path):
    study, size, rates = Study(tmp_path, tmp_path), replace(QUICK, seeds=(1, 2)), dict.fromkeys(plan.METHODS, "1e-4")
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    kept_stage(study, plan.base(size), 0, taken={"careful": [0, 16, 32], "quick": [48, 0, 0], "reverse": [0, 16, 0]})
    for mode in ablations.CONTRASTED:
        for seed, stage in enumerate(ablations.of_factor("rate-1e-4", mode, rates, size)):
            taken = {"careful": [0, 0, 48 * seed], "quick": [16, 16, 16], "reverse": [0, 16 * seed, 0]}
            kept_stage(study, stage, 0, **({"taken": taken} if mode == "nsr" else {}))
    base, *rows = ablation_tables.factor_ways(tmp_path, size).splitlines()[2:]
    assert base == "| Base | 25.0 | 75.0 | 25.0 | 75.0 |"
    assert "| both at 1e-4 | 0.0 / 0.0 | 0.0 / 0.0 | 0.0 / 25.0 | 100.0 / 75.0 |" in rows
    assert not any("second seed" in row for row in rows), "the row of all seeds shows each"


def test_longer_runs_are_compared_with_the_base_once_one_is_kept(tmp_path):
    study, size = Study(tmp_path, tmp_path), replace(QUICK, seeds=(1, 2, 3))
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    kept_stage(study, plan.base(size), 0, held_out={})
    kept_stage(study, plan.marked(None, size), 0)
    assert ablation_tables.long_arms(tmp_path, size) == {} == ablation_tables.long_marked(tmp_path, size)
    of_psr, of_nsr = (
        [plan.test(run, size, samples=64) for run in ablations.long(mode, size)] for mode in ("psr", "nsr")
    )
    assert {*of_psr, *of_nsr} < set(ablations.long_stages(size)) and len(of_psr) == 2
    way = {"update": list(range(50, 401, 50)), "accuracy": [n / 10 for n in range(7)] + [0.96]}
    fell = {"update": [100, 200, 300, 400], "accuracy": [0.96, 0.3, 0.95, 0.97]}
    ended = {name: values[:5] for name, values in way.items()}
    early = {"update": [1], "entropy": [0.3], "length": [60.0]}
    kept_stage(study, of_psr[0], 64, held_out=way)
    kept_stage(study, of_psr[1], 0, held_out=fell, warnings={"ratio": 7}, training=early)
    kept_stage(study, of_nsr[0], 0, warnings={"entropy": 400}, held_out=ended)
    found = ablation_tables.long_arms(tmp_path, size)
    psr, nsr = ablation_tables.long_table(found).splitlines()[2:]
    assert psr.startswith("| PSR − base | 2 | 2 / 1 | +16.7 [")
    assert psr.endswith("| 0.200 → 0.250; 70 | 400 / 100, for good after 400 | none / ratio at 7 |")
    assert nsr.startswith("| NSR − base | 1 | 2 | +0.0 [") and nsr.endswith("| – | entropy at 400 |")
    header, _, *rows = ablation_tables.long_held_out(found).splitlines()
    assert header == "| held-out accuracy after update | 200 | 400 |"
    assert rows == ["| PSR, seed 1 | 30.0 | 96.0 |", "| PSR, seed 2 | 30.0 | 97.0 |", "| NSR, seed 1 | 30.0 | – |"]
    assert set(ablation_tables.long_marked(tmp_path, size)) == {"base"}


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
