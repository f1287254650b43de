"""Samples that no rule could mark: null in the file, no part of any score, and never in silence."""

from __future__ import annotations

import json

import pytest

from charts.record import ChartQuestion
from evaluation import report
from evaluation.pass_at_k import main
from evaluation.samples import read_samples
from sampling.engine import Samples
from sampling.problems import as_line, record

TEXTS = {r"\boxed{1}": True, r"\boxed{2}": False, "no box": False}


def problem(name: str, texts: list[str], gold: str = "1") -> dict:
    question = ChartQuestion(name, f"{name}?", (gold,), answer_kind="math", rule="math", kind="algebra")
    samples = Samples([[1]] * len(texts), [[-1.0]] * len(texts), [False] * len(texts))
    return record(question, samples, texts, prompt="boxed", image=None, run="ab" * 8)


def undecided(entry: dict, *places: int) -> dict:
    """As if math-verify had failed at these samples."""
    for name in ("correct", "correct_strict"):
        entry[name] = [None if place in places else mark for place, mark in enumerate(entry[name])]
    entry["num_correct"] = sum(map(bool, entry["correct"]))
    return entry


def write(path, *problems) -> str:
    path.write_bytes(b"".join(as_line(one) + b"\n" for one in problems))
    return str(path)


def test_the_sampler_writes_null_where_there_is_no_verdict():
    entry = problem("a", list(TEXTS), gold=r"\frac{1}{0}")
    assert entry["correct"] == entry["correct_strict"] == [None, None, False]  # without an answer there is no doubt
    assert entry["num_correct"] == 0 and entry["num_total"] == 3 and "failed" in entry["reason"][0]
    assert problem("b", list(TEXTS))["correct"] == [True, False, False]


def test_they_count_nowhere_and_their_number_is_said(tmp_path, capsys):
    entries = [problem("a", list(TEXTS)), undecided(problem("b", list(TEXTS)), 1)]
    path = write(tmp_path / "s.jsonl", *entries)
    seen = {}
    found = read_samples(path, visit=lambda one, marks: seen.update({one["problem_id"]: (one, marks)}))
    assert (found.n.tolist(), found.c.tolist(), found.undecided) == ([3, 2], [1, 1], 1)
    kept, marks = seen["b"]
    assert marks == [True, False] and kept["extracted"] == ["1", None] and kept["samples"] == [r"\boxed{1}", "no box"]
    assert main(["--samples-path", path]) == 2
    assert "1 samples could not be marked" in capsys.readouterr().err
    assert main(["--samples-path", path, "--ragged", "min", "--metrics", "all"]) == 0
    said = capsys.readouterr()
    assert "1 samples that could not be marked right or wrong are left out" in said.err and "Pass@2" in said.out
    assert report.main([path, "--output-path", str(tmp_path / "r.html")]) == 0


def test_of_several_files_each_says_what_it_leaves_out(tmp_path, capsys):
    """Pass@k of each is that of its decided samples, for the k that every file has."""
    whole = write(tmp_path / "whole.jsonl", problem("a", list(TEXTS)), problem("b", list(TEXTS)))
    short = write(tmp_path / "short.jsonl", undecided(problem("c", list(TEXTS)), 1), problem("d", list(TEXTS)))
    assert main(["--samples-path", whole, short]) == 2
    assert "1 samples could not be marked" in capsys.readouterr().err
    assert main(["--samples-path", whole, short, "--ragged", "min"]) == 0
    said = capsys.readouterr()
    rows = {line.split()[0]: line for line in said.out.splitlines()}
    assert "Pass@2" in rows["data"] and "Pass@3" not in said.out and "Pass@4" not in said.out
    assert "33.3 [" in rows["whole"] and f"{100 * (1 / 2 + 1 / 3) / 2:.1f} [" in rows["short"]
    assert "note: short.jsonl: 1 samples that could not be marked right or wrong are left out" in said.err
    assert "note: whole.jsonl: 1 samples" not in said.err
    none = write(tmp_path / "none.jsonl", undecided(problem("e", list(TEXTS)), 0, 1, 2))
    assert main(["--samples-path", whole, none]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_a_problem_without_any_verdict_is_missing_and_not_wrong(tmp_path, capsys):
    path = write(tmp_path / "s.jsonl", problem("a", list(TEXTS)), undecided(problem("b", list(TEXTS)), 0, 1, 2))
    assert main(["--samples-path", path]) == 2
    assert "b (no sample could be marked)" in capsys.readouterr().err
    assert main(["--samples-path", path, "--missing", "skip"]) == 0
    assert "Pass@1: 33.33%" in capsys.readouterr().out


def test_a_null_without_its_reason_is_refused_as_before(tmp_path, capsys):
    entry = undecided(problem("a", list(TEXTS)), 0)
    del entry["reason"]
    assert main(["--samples-path", write(tmp_path / "s.jsonl", entry)]) == 2
    assert "the first is None" in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["math", "strict"])
def test_marking_again_decides_the_stored_answers_as_math_verify_does(tmp_path, capsys, rule):
    path = write(tmp_path / "s.jsonl", undecided(problem("a", list(TEXTS)), 0), problem("b", list(TEXTS)))
    assert main(["--samples-path", path, "--rescore", rule]) == 0
    assert "Pass@1: 33.33%" in capsys.readouterr().out
    unscorable = problem("c", list(TEXTS), gold=r"\frac{1}{0}")
    assert json.loads(as_line(unscorable))["correct"][0] is None
    path = write(tmp_path / "t.jsonl", problem("a", list(TEXTS)), unscorable)
    assert main(["--samples-path", path, "--rescore", rule, "--ragged", "min"]) == 0
    assert "2 samples that could not be marked" in capsys.readouterr().err
