"""The metrics beside Pass@k (--metrics): majority votes, which answers are one vote, rates, what guessing gets."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation.metrics import majority, same_answer_key
from evaluation.pass_at_k import main
from tests.test_pass_at_k import fails, of_counts, write


def test_majority_votes_by_hand():
    rng = np.random.default_rng(0)
    codes, right = np.array([0, 0, 1, -1]), np.array([False, False, True, False])
    assert majority(codes, right, [4], rng) == [0.0]  # the wrong answer has two votes
    assert majority(np.array([0, 1]), np.array([True, False]), [2], rng) == [0.5]  # a tie is shared
    assert majority(np.array([-1, -1, 0]), np.array([False, False, True]), [3], rng) == [1.0]  # silence does not vote
    assert majority(np.array([-1, -1]), np.array([False, False]), [1, 2], rng).tolist() == [0.0, 0.0]
    one_of_eight = majority(np.array([0] + [-1] * 7), np.array([True] + [False] * 7), [1], rng)
    assert one_of_eight == 0.125  # exact, as Pass@1 is; a draw without any answer is wrong, whatever the others say


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
