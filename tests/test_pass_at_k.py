"""Pass@k, its relatives and its intervals, against counting by hand and brute force; and the files they come from."""

import json
import re
import subprocess
import sys
from fractions import Fraction
from itertools import combinations
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation import json_stream
from evaluation.estimators import g_pass_at_k, mean_g_pass_at_k, pass_at_k, pass_at_k_table, pass_hat_k, powers_of_two
from evaluation.intervals import bootstrap_intervals
from evaluation.json_stream import json_values
from evaluation.metrics import majority, same_answer_key
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


def test_compare_refuses_other_problems_unless_forced(tmp_path, capsys):
    a = write(tmp_path / "a.json", of_counts([1, 2], 2))
    b = write(tmp_path / "b.json", of_counts([1, 2, 0], 2))
    assert "differ in problem set" in fails(capsys, "--compare", a, b)
    assert main(["--compare", str(a), str(b), "--force"]) == 0
    assert "2 problems" in capsys.readouterr().out


# further metrics


def test_majority_votes_by_hand():
    rng = np.random.default_rng(0)
    codes, right = np.array([0, 0, 1, -1]), np.array([False, False, True, False])
    assert majority(codes, right, [4], rng) == [0.0]  # the wrong answer has two votes
    assert majority(np.array([0, 1]), np.array([True, False]), [2], rng) == [0.5]  # a tie is shared
    assert majority(np.array([-1, -1, 0]), np.array([False, False, True]), [3], rng) == [1.0]  # silence does not vote
    assert majority(np.array([-1, -1]), np.array([False, False]), [1, 2], rng).tolist() == [0.0, 0.0]
    one_of_eight = majority(np.array([0] + [-1] * 7), np.array([True] + [False] * 7), [1], rng)
    assert one_of_eight < 0.4  # a draw without any answer is wrong, whatever the others say


def test_answers_that_are_one_vote():
    assert same_answer_key("1,200") == same_answer_key(" 1200.0 ") == same_answer_key("$1200")
    assert same_answer_key("Red.") == same_answer_key("red")
    assert same_answer_key("12%") != same_answer_key("12")
    assert same_answer_key(None) is None and same_answer_key(" ") is None
    assert same_answer_key("-0") == same_answer_key("0")
    assert same_answer_key(".5") == same_answer_key("0.50") == same_answer_key("5e-1")


@given(st.text(alphabet="0123456789.,e+-$% '", max_size=8))
@example("e0")  # a completion of the embedded model has said so
def test_any_answer_has_a_key(answer):
    key = same_answer_key(answer)
    assert key is None or key == key.strip()


def test_all_metrics_of_a_small_file(tmp_path):
    problems = of_counts(
        [0, 2, 4], 4, well_formed=[True, True, True, False], truncated=[False] * 4, tokens=[1, 2, 3, 4]
    )
    samples, output = write(tmp_path / "samples.json", problems), tmp_path / "out.json"
    assert main(["--samples-path", str(samples), "--output-path", str(output), "--metrics", "all"]) == 0
    found = json.loads(output.read_text())["metrics"]
    assert found["avg@n"][""]["value"] == 0.5
    assert found["pass^k"]["2"]["value"] == pytest.approx((0 + 1 / 6 + 1) / 3, abs=1e-6)
    assert found["shares"]["all right"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["rates"]["well-formed"]["value"] == 0.75 and found["rates"]["mean tokens"]["value"] == 2.5
    assert found["distinct"][""]["value"] == pytest.approx(4 / 3, abs=1e-6)
    assert found["maj@k"]["4"]["value"] == 0.5  # none, a tie of two answers, all
    assert found["kinds"]["value"]["num_problems"] == 3


def test_yes_no_questions_come_with_their_guessing_floor(tmp_path, capsys):
    problems = of_counts([1, 2], 2, kind="yes/no", answer="Yes", answers=["Yes"])
    main(["--samples-path", str(write(tmp_path / "s.json", problems)), "--metrics", "kinds"])
    assert "yes/no by guessing (%): @1 50.0  @2 75.0" in capsys.readouterr().out


def test_a_metric_without_its_data_is_refused_by_name(tmp_path, capsys):
    path = tmp_path / "h.jsonl"
    path.write_text('{"task_id": "t", "completion": "x", "passed": true}\n')
    assert "no data for --metrics maj@k" in fails(capsys, "--samples-path", path, "--metrics", "maj@k")
    assert "'speed' is unknown" in fails(capsys, "--samples-path", path, "--metrics", "speed")
    assert main(["--samples-path", str(path), "--metrics", "all"]) == 0


# reading


def test_pretty_printed_lists_lines_and_our_own_files_read_alike_at_any_chunk_size(tmp_path, monkeypatch):
    problems = of_counts([0, 1, 2], 2, question='quotes " \\ and → λ, [brackets], {braces}')
    write(tmp_path / "ours.json", problems)
    (tmp_path / "pretty.json").write_text(json.dumps(problems, indent=4))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in problems))
    for chunk in (1 << 20, 1, 7, 64):
        monkeypatch.setattr(json_stream, "CHUNK", chunk)
        for name in ("ours.json", "pretty.json", "lines.jsonl"):
            assert list(json_values(tmp_path / name)) == problems


def test_json_lines_may_begin_with_their_settings(tmp_path, capsys):
    path = tmp_path / "s.jsonl"
    settings = {"method": "psr", "run": "ab" * 8, "sampling": {"num_samples": 2}}
    rows = [{"settings": settings}, *of_counts([1, 2], 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["--samples-path", str(path)])
    assert "PSR: 2 problems" in capsys.readouterr().out


def test_human_eval_lines_are_gathered_into_problems(tmp_path, capsys):
    rows = [{"task_id": f"HumanEval/{i % 2}", "completion": "pass", "passed": i == 0, "result": "x"} for i in range(4)]
    path = tmp_path / "samples.jsonl_results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["--samples-path", str(path)])
    printed = capsys.readouterr().out
    assert "  Pass@1: 25.00%" in printed and "  Pass@2: 50.00%" in printed


def test_evalplus_results_old_and_new(tmp_path, capsys):
    new = {"eval": {"Mbpp/1": [{"base_status": "pass", "plus_status": s} for s in ("pass", "fail")]}}
    old = {"eval": {"Mbpp/1": {"nfiles": 2, "base": [["pass", []]] * 2, "plus": [["pass", []], ["fail", []]]}}}
    for content in (new, old):
        path = tmp_path / "eval_results.json"
        path.write_text(json.dumps({"date": "x", "hash": "y", **content}))
        main(["--samples-path", str(path)])
        assert "  Pass@1: 50.00%" in capsys.readouterr().out
        main(["--samples-path", str(path), "--marks", "base"])
        assert "  Pass@1: 100.00%" in capsys.readouterr().out


def rlvr_rows():
    for question in range(2):
        for generation in range(2):
            yield {"question_id": question, "generation_id": generation, "question": "?", "gold_answer": "7",
                   "pred_answer": "7", "response": "...", "label": question == generation == 0}  # fmt: skip


def test_rlvr_decomposed_lines_are_gathered_and_a_repeated_generation_is_refused(tmp_path, capsys):
    path = tmp_path / "MATH-test-temp_0.6.jsonl"
    rows = [json.dumps(row) + "\n" for row in rlvr_rows()]
    path.write_text("".join(rows))
    main(["--samples-path", str(path)])
    assert "  Pass@1: 25.00%" in capsys.readouterr().out
    path.write_text("".join(rows + rows[:1]))
    assert "repeats generation_id 0 of question_id 0" in fails(capsys, "--samples-path", path)


# bad input


def damaged(path, kind):
    problems = of_counts([1, 2], 2)
    whole = "[\n" + ",\n".join(json.dumps(one) for one in problems) + "\n]\n"
    path.write_text({
        "empty": "", "empty list": "[]", "cut in a problem": whole[:-40], "not closed": whole[:-3],
        "cut after a comma": whole[: whole.index("\n{", 3)], "two lists": whole + whole, "not json": "samples: 3",
        "missing comma": whole.replace("},\n{", "}\n{"), "numbers": "[1, 2]", "no id": '[{"problem_id": ""}]',
        "foreign": '[{"prompt": "x"}]', "results": '{"pass_at_k": {}}',
    }[kind])  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "is empty"),
        ("empty list", "is an empty list"),
        ("cut in a problem", "is truncated"),
        ("not closed", "the list is not closed"),
        ("cut after a comma", "the list is not closed"),
        ("two lists", "goes on after its list"),
        ("not json", "truncated|not JSON at character 0"),
        ("missing comma", "',' or ']' expected"),
        ("numbers", "int values"),
        ("no id", "problem number 1 has no problem_id"),
        ("foreign", "known are our own files, human-eval"),
        ("results", "is a results file"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, capsys, kind, message):
    assert re.search(message, fails(capsys, "--samples-path", damaged(tmp_path / "samples.json", kind)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": [True, 1]}, "problem p1 has 1 marks in 'correct' that are not true or false, the first is 1"),
        ({"correct": [True, None]}, "the first is None"),
        ({"correct": ["true", False]}, "the first is 'true'"),
        ({"run": "cd" * 8}, "mixed from 2 runs"),
        ({"run": None}, "mixed from 2 runs"),
        ({"problem_id": "p0"}, "problem p0 occurs more than once"),
        ({"num_correct": 2}, "says num_correct = 2, but its marks give 1"),
        ({"num_total": 3}, "says num_total = 3, but its marks give 2"),
        ({"samples": ["7"]}, "has 2 marks in 'correct' but 1 'samples'"),
        ({"correct": None}, "has no list 'correct'"),
        ({"correct": [], "samples": [], "extracted": [], "num_total": 0, "num_correct": 0}, r"no samples: p1"),
    ],
)
def test_files_that_would_score_something_else_are_refused_by_name(tmp_path, capsys, change, message):
    problems = of_counts([1, 1], 2)
    problems[1] |= change
    assert message in fails(capsys, "--samples-path", write(tmp_path / "samples.json", problems))


def test_bad_flags_are_refused_in_one_line(tmp_path, capsys):
    samples = write(tmp_path / "samples.json", of_counts([1, 2], 4), {"method": "nsr"})
    path = ("--samples-path", samples)
    assert "whole numbers from 1 up, got '1.5'" in fails(capsys, *path, "--k-values", "1.5")
    assert "got '0'" in fails(capsys, *path, "--k-values", "0")
    assert "got '-1'" in fails(capsys, *path, "--k-values=-1")
    assert "8, 16 is more than the 4 samples" in fails(capsys, *path, "--k-values", "1,8", "16")
    assert "does not exist" in fails(capsys, *path, "--output-path", tmp_path / "no" / "r.json")
    assert "also an input" in fails(capsys, *path, "--output-path", samples)
    assert "contradicts" in fails(capsys, *path, "--method-name", "PSR")
    assert "does not exist" in fails(capsys, "--samples-path", tmp_path / "none.json")
    assert "--samples-path is needed" in fails(capsys)
    assert "unrecognized" in fails(capsys, *path, "--colour", "red")


def test_large_k_is_left_out_on_request(tmp_path, capsys):
    samples = write(tmp_path / "samples.json", of_counts([1, 2], 4))
    assert main(["--samples-path", str(samples), "--k-values", "1", "256", "--drop-large-k"]) == 0
    printed = capsys.readouterr().out
    assert "Pass@1: 37.50%" in printed and "256" not in printed


def test_ragged_files_are_refused_with_counts_and_settled_by_a_flag(tmp_path, capsys):
    problems = [problem("p0", [True, False, False, False]), problem("p1", [True, False])]
    samples = write(tmp_path / "samples.json", problems)
    message = fails(capsys, "--samples-path", samples)
    assert "1 of 2 problems have fewer than 4 samples: p1 (2)" in message
    main(["--samples-path", str(samples), "--ragged", "min"])
    printed = capsys.readouterr().out
    assert "Pass@1: 37.50%" in printed and "Pass@2: 75.00%" in printed and "Pass@4" not in printed
    main(["--samples-path", str(samples), "--ragged", "drop"])
    assert "Pass@4: 100.00%" in capsys.readouterr().out


def test_problems_without_samples_are_refused_and_settled_by_a_flag(tmp_path, capsys):
    broken = {"problem_id": "x", "question": "?", "answer": "7", "run": "ab" * 8, "error": "unreadable image"}
    samples = write(tmp_path / "samples.json", [*of_counts([2], 2), broken], {"data": {"num_questions": 2}})
    assert "x (unreadable image)" in fails(capsys, "--samples-path", samples)
    main(["--samples-path", str(samples), "--missing", "skip"])
    assert "Pass@1: 100.00%" in capsys.readouterr().out
    main(["--samples-path", str(samples), "--missing", "wrong"])
    assert "Pass@1: 50.00%" in capsys.readouterr().out


def test_a_file_that_lacks_problems_its_run_announced_is_refused(tmp_path, capsys):
    settings = {"data": {"num_questions": 5}, "sampling": {"num_samples": 2}}
    samples = write(tmp_path / "samples.json", of_counts([1, 2], 2), settings)
    assert "3 of the run's 5 problems are not in the file" in fails(capsys, "--samples-path", samples)


def test_settings_of_another_run_beside_the_file_are_refused(tmp_path, capsys):
    samples = write(tmp_path / "samples.json", of_counts([1, 2], 2), {"run": "cd" * 8})
    assert "the settings beside it are of run cdcd" in fails(capsys, "--samples-path", samples)


def test_either_spelling_of_a_file_name_is_found(tmp_path, capsys):
    write(tmp_path / "samples_w-reinforce.json", of_counts([1], 2))
    assert main(["--samples-path", str(tmp_path / "samples_w_reinforce.json")]) == 0
    write(tmp_path / "samples_W-REINFORCE.json", of_counts([1], 2))
    assert "name one" in fails(capsys, "--samples-path", tmp_path / "samples_w_reinforce.json")


@pytest.mark.parametrize("junk", [None, True, [1], {}, "\ud800"])
@pytest.mark.parametrize("key", [*problem("p", [True]), "well_formed", "tokens", "settings"])
def test_any_field_of_any_type_is_used_or_refused_in_one_line(tmp_path, capsys, key, junk):
    settings = {"method": "nsr", "data": {"num_questions": 2}, "sampling": {"num_samples": 1}}
    problems = [problem("p", [True]), problem("q", [False])]
    if key == "settings":
        settings["data"] = settings["sampling"] = junk
    else:
        problems[1][key] = junk
    samples = write(tmp_path / "samples.json", problems, settings)
    code = main(["--samples-path", str(samples), "--metrics", "all", "--output-path", str(tmp_path / "r.json")])
    error = capsys.readouterr().err.splitlines()
    assert code == 0 or (code == 2 and len(error) == 1 and error[0].startswith("error: "))
