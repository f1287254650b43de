"""Pass@k, its relatives and its intervals, against counting by hand and brute force."""

import json
import subprocess
import sys
from fractions import Fraction
from itertools import combinations
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest

from evaluation.estimators import g_pass_at_k, mean_g_pass_at_k, pass_at_k, pass_at_k_table, pass_hat_k, powers_of_two
from evaluation.intervals import bootstrap_intervals, resampled_means
from evaluation.pass_at_k import main
from evaluation.samples import read_samples

ROOT = Path(__file__).parent.parent


def problem(name, marks, **more):
    base = {"problem_id": name, "question": f"How tall is {name}?", "answer": "7", "answers": ["7"], "kind": "value"}
    base |= {"image_id": f"chart-{name}", "run": "ab" * 8, "samples": ["7" if mark is True else "8" for mark in marks]}
    base |= {"extracted": ["7" if mark is True else "8" for mark in marks], "correct": marks}
    return base | {"num_correct": sum(mark is True for mark in marks), "num_total": len(marks)} | more


def write(path, problems, settings=None):
    path.write_text("[\n" + ",\n".join(json.dumps(one) for one in problems) + "\n]\n")
    if settings is not None:
        path.with_name(path.stem + ".settings.json").write_text(json.dumps(settings))
    return path


def of_counts(counts, n, **more):
    return [problem(f"p{i}", [True] * c + [False] * (n - c), **more) for i, c in enumerate(counts)]


def fails(capsys, *argv):
    """The one line on stderr of a command that must end with exit code 2."""
    try:
        code = main([str(word) for word in argv])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), captured.err
    return lines[0]


# the estimator


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_and_its_relatives_equal_brute_force_over_all_subsets(n):
    for c in range(n + 1):
        marks = [1] * c + [0] * (n - c)
        for k in range(1, n + 1):
            hits = np.array([sum(marks[i] for i in drawn) for drawn in combinations(range(n), k)])
            counts = (np.array([n]), np.array([c]), [k])
            assert pass_at_k(*counts)[0, 0] == pytest.approx((hits >= 1).mean(), abs=1e-15)
            assert pass_hat_k(*counts)[0, 0] == pytest.approx((hits == k).mean(), abs=1e-15)
            for share in (0.25, 0.5, 0.75, 1.0):
                needed = (hits >= max(1, -(-share * k // 1))).mean()
                assert g_pass_at_k(*counts, share)[0, 0] == pytest.approx(needed, abs=1e-13)
            upper = np.mean([(hits >= t).mean() for t in range(k // 2 + 1, k + 1)])
            assert mean_g_pass_at_k(*counts)[0, 0] == pytest.approx(upper, abs=1e-13)


def test_pass_at_k_equals_exact_fractions_for_256_samples():
    ks = [1, 2, 3, 16, 100, 255, 256]
    table = pass_at_k_table(256, ks)
    for c in range(257):
        for i, k in enumerate(ks):
            exact = 1 - Fraction(comb(256 - c, k), comb(256, k))
            assert abs(Fraction(float(table[c, i])) - exact) < Fraction(1, 10**15)


def test_hand_worked_cases():
    def one(n, c, k):
        return pass_at_k(np.array([n]), np.array([c]), [k])[0, 0]

    assert one(4, 4, 1) == 1.0 and one(4, 4, 4) == 1.0  # all right
    assert one(4, 0, 1) == 0.0 and one(4, 0, 4) == 0.0  # none right
    assert one(1, 1, 1) == 1.0 and one(1, 0, 1) == 0.0  # a single sample
    assert one(4, 1, 2) == 0.5  # 3 of the 6 pairs hold the right one
    assert one(5, 2, 2) == pytest.approx(0.7)  # 1 - 3/10
    assert one(6, 1, 6) == 1.0  # k = n asks whether any is right
    assert one(5, 2, 4) == 1.0  # four of five samples always hold a right one when two are


def test_k_above_n_and_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="between 1 and the 4 samples"):
        pass_at_k(np.array([4]), np.array([1]), [5])
    with pytest.raises(ValueError, match="between 1 and the 3 samples"):
        pass_at_k(np.array([4, 3]), np.array([1, 1]), [4])
    with pytest.raises(ValueError, match="c <= n"):
        pass_at_k(np.array([4]), np.array([5]), [1])


def test_problems_of_different_size_each_use_their_own_table():
    table = pass_at_k(np.array([4, 2, 4]), np.array([1, 1, 3]), [1, 2])
    assert table == pytest.approx(np.array([[0.25, 0.5], [0.5, 1.0], [0.75, 1.0]]))


def test_curves_are_drawn_at_powers_of_two_up_to_n():
    assert powers_of_two(1) == [1] and powers_of_two(24) == [1, 2, 4, 8, 16] and powers_of_two(256)[-1] == 256


# intervals


def test_the_bootstrap_equals_a_loop_that_gathers_whole_charts():
    rng = np.random.default_rng(0)
    values, clusters = rng.random((7, 2)), ["a", "b", "a", "c", "c", "c", "d"]
    found = bootstrap_intervals(values, clusters, resamples=300, seed=5)
    charts = [[0, 2], [1], [3, 4, 5], [6]]
    means = []
    for drawn in np.random.default_rng(5).integers(4, size=(300, 4)):
        rows = [row for chart in drawn for row in charts[chart]]
        means.append(values[rows].mean(axis=0))
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975], axis=0).T)


def test_strata_are_drawn_in_the_numbers_there_are():
    """Two strata that are constant inside have no spread; charts that differ inside one have that stratum's alone."""
    clusters = [f"chart {n // 2}" for n in range(40)]
    strata = ["marked"] * 8 + ["plain"] * 32
    constant = np.array([[0.0]] * 8 + [[1.0]] * 32)
    free, held = (resampled_means(constant, clusters, strata=strata if given else None) for given in (False, True))
    assert free.std() > 0.05 and np.allclose(held, 0.8)
    one = np.column_stack([constant, np.arange(40) % 3])
    assert np.array_equal(resampled_means(one, clusters), resampled_means(one, clusters, strata=["same"] * 40))
    inside = np.array([[float(n % 4 < 2)] for n in range(8)] + [[1.0]] * 32)  # two of four marked charts
    found = resampled_means(inside, clusters, resamples=20_000, strata=strata)
    assert found.std() == pytest.approx(0.2 * (0.25 / 4) ** 0.5, rel=0.03)
    with pytest.raises(ValueError, match="two strata"):
        resampled_means(constant, clusters, strata=["a", *strata[1:]])


def test_intervals_have_the_width_that_theory_gives_for_single_problems_and_for_charts():
    rng = np.random.default_rng(1)
    values = np.repeat(rng.random(150), 4)[:, None]  # four questions a chart, all equally hard
    spread = 2 * 1.96 * values.std() / sqrt(600)
    low, high = bootstrap_intervals(values, [f"p{i}" for i in range(600)])[0]
    assert high - low == pytest.approx(spread, rel=0.08)
    low, high = bootstrap_intervals(values, [f"chart{i // 4}" for i in range(600)])[0]
    assert high - low == pytest.approx(2 * spread, rel=0.08)


def test_the_same_draws_serve_every_column_so_differences_are_paired():
    values = np.random.default_rng(2).random((40, 1))
    shifted = values + 0.1
    low, high = bootstrap_intervals(shifted - values, list("abcdefghij") * 4)[0]
    assert low == pytest.approx(0.1) and high == pytest.approx(0.1)


def test_memory_blocks_do_not_change_the_draws(monkeypatch):
    values, clusters = np.random.default_rng(3).random((30, 2)), [str(i) for i in range(30)]
    whole = bootstrap_intervals(values, clusters, resamples=100)
    monkeypatch.setattr("evaluation.intervals.BLOCK_CELLS", 70)
    assert bootstrap_intervals(values, clusters, resamples=100) == pytest.approx(whole)


# the command


def test_the_printed_table_and_the_results_file(tmp_path, capsys):
    samples = write(
        tmp_path / "samples_nsr.json",
        of_counts([0, 1, 2, 4], 4),
        {"run": "ab" * 8, "method": "nsr", "sampling": {"num_samples": 4, "temperature": 1.0, "seed": 2025}},
    )
    output = tmp_path / "results_nsr.json"
    assert main(["--samples-path", str(samples), "--output-path", str(output), "--method-name", "NSR"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pass@k Results:"
    # hand-worked: Pass@1 (0 + 1/4 + 2/4 + 1)/4, Pass@2 (0 + 3/6 + 5/6 + 1)/4, Pass@4 3/4
    assert [line.split("   ")[0] for line in lines[1:4]] == ["  Pass@1: 43.75%", "  Pass@2: 58.33%", "  Pass@4: 75.00%"]
    saved = json.loads(output.read_text())
    assert saved["pass_at_k"] == pytest.approx({"1": 0.4375, "2": 7 / 12, "4": 0.75})
    assert saved["k_values"] == [1, 2, 4]
    assert all(saved["intervals"][k][0] <= saved["pass_at_k"][k] <= saved["intervals"][k][1] for k in "124")
    meta = saved["metadata"]
    assert (meta["method"], meta["num_problems"], meta["samples_per_problem"]) == ("NSR", 4, 4)
    assert meta["sampling"]["temperature"] == 1.0 and len(meta["problem_set"]) == 16
    assert saved["problems"]["c"] == [0, 1, 2, 4]


def test_it_runs_as_a_script_and_as_a_module_and_loads_neither_torch_nor_matplotlib(tmp_path):
    samples = str(write(tmp_path / "samples.json", of_counts([1], 2)))
    for start in (["evaluation/pass_at_k.py"], ["-m", "evaluation.pass_at_k"]):
        done = subprocess.run(
            [sys.executable, *start, "--samples-path", samples], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0 and "  Pass@1: 50.00%" in done.stdout, done.stderr
    code = "import sys; from evaluation.pass_at_k import main; main(sys.argv[1:]); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--samples-path", samples], cwd=ROOT, capture_output=True, text=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "numpy" in loaded and not loaded & {"torch", "trl", "transformers", "matplotlib", "PIL", "charts"}


def test_the_problem_set_is_known_by_its_questions_and_not_by_their_order(tmp_path):
    a = read_samples(write(tmp_path / "a.json", of_counts([1, 2], 2)))
    b = read_samples(write(tmp_path / "b.json", of_counts([2, 0], 2)[::-1]))
    c = read_samples(write(tmp_path / "c.json", of_counts([1, 2], 2, answer="9")))
    assert a.fingerprint() == b.fingerprint() != c.fingerprint()


def test_strict_marks_are_chosen_with_a_flag(tmp_path, capsys):
    one = problem("p", [True, True], correct_strict=[True, False])
    samples = str(write(tmp_path / "samples.json", [one]))
    main(["--samples-path", samples, "--marks", "correct_strict"])
    assert "  Pass@1: 50.00%" in capsys.readouterr().out


def test_rescore_marks_the_stored_answers_again(tmp_path, capsys):
    one = problem("p", [False, False], extracted=["7.2", "7"])
    samples = str(write(tmp_path / "samples.json", [one]))
    main(["--samples-path", samples, "--rescore", "relaxed"])  # within 5 % of 7
    assert "  Pass@1: 100.00%" in capsys.readouterr().out
    assert "'kind' is no rule" in fails(capsys, "--samples-path", samples, "--rescore", "kind")
    for field in ({"extracted": [["7"], "7"]}, {"tolerance": "x"}):
        damaged = str(write(tmp_path / "damaged.json", [one | field]))
        assert "--rescore cannot read problem p" in fails(capsys, "--samples-path", damaged, "--rescore", "strict")
    number = str(write(tmp_path / "number.json", [one | {"answers": [7]}]))
    assert main(["--samples-path", number, "--rescore", "strict"]) == 0


def test_compare_gives_the_paired_difference_and_who_solves_what_alone(tmp_path, capsys):
    a = write(tmp_path / "samples_nsr.json", of_counts([0, 1, 2, 4], 4))
    b = write(tmp_path / "samples_psr.json", of_counts([1, 0, 2, 4], 4))
    main(["--samples-path", str(b), "--output-path", str(tmp_path / "results_psr.json")])
    capsys.readouterr()
    output = tmp_path / "compared.json"
    assert main(["--compare", str(a), str(tmp_path / "results_psr.json"), "--output-path", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "only NSR solves 1: p1" in printed and "only PSR solves 1: p0" in printed
    saved = json.loads(output.read_text())
    assert saved["difference"] == pytest.approx({"1": 0, "2": 0, "4": 0})
    assert main(["--compare", str(a), str(a)]) == 0
    assert "43.75% - 43.75% = +0.00   [-52.71, +52.71]" in capsys.readouterr().out  # 1 - 0.05^(1/4)


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ("s1/samples_nsr.json", "s2/samples_nsr.json", ("s1/samples_nsr.json", "s2/samples_nsr.json")),
        ("a/s/nsr.json", "b/s/nsr.json", ("a/s/nsr.json", "b/s/nsr.json")),
        ("nsr.json", "nsr.jsonl", ("nsr.json", "nsr.jsonl")),
        ("nsr.json", "seed_2.json", ("nsr", "seed_2")),
    ],
)
def test_compared_files_of_one_method_are_told_apart_by_their_names(one, other, labels, tmp_path, capsys):
    for name in (one, other):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, of_counts([0, 1, 2, 4], 4), {"method": "nsr"})
    assert main(["--compare", str(tmp_path / one), str(tmp_path / other)]) == 0
    printed = capsys.readouterr().out
    assert f"{labels[0]} minus {labels[1]}, 4 problems" in printed and f"only {labels[1]} solves 0" in printed


def test_compare_refuses_other_problems_unless_forced(tmp_path, capsys):
    a = write(tmp_path / "a.json", of_counts([1, 2], 2))
    b = write(tmp_path / "b.json", of_counts([1, 2, 0], 2))
    assert "differ in problem set" in fails(capsys, "--compare", a, b)
    assert main(["--compare", str(a), str(b), "--force"]) == 0
    assert "2 problems" in capsys.readouterr().out
