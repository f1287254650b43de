"""The verdict table: its figures, and cases that are no cases."""

from __future__ import annotations

import json

import pytest

from charts import compare_matchers

CASE = {
    "id": "1", "category": "year", "question": "Which year?", "answers": ["2010"], "answer_kind": "", "tolerance": None,
    "given": "2010", "correct": True, "why": "same",
}  # fmt: skip


def test_the_strict_rule_errs_in_no_case_that_was_decided_by_hand(capsys):
    assert compare_matchers.main([]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[:5] == ["all", "373", "410", "0", "0"]


@pytest.mark.parametrize("name", CASE)
def test_a_case_that_lacks_a_column_is_named(name, tmp_path, capsys):
    cases = [CASE, {key: value for key, value in CASE.items() if key != name}]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    assert compare_matchers.main(["--cases", str(tmp_path / "cases.jsonl")]) == 2
    assert f"cases.jsonl: case 2 lacks {name} (" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["[1]", "5", "{"])
def test_a_line_that_is_no_case_is_one_line_of_error(line, tmp_path, capsys):
    (tmp_path / "cases.jsonl").write_text(line)
    assert compare_matchers.main(["--cases", str(tmp_path / "cases.jsonl")]) == 2
    assert capsys.readouterr().err.startswith("error: --cases ")
