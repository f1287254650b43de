"""Samples files of other tools, damaged and ragged ones: read alike, or refused in one line."""

import json
import re

import pytest

from evaluation import json_stream
from evaluation.json_stream import json_values
from evaluation.pass_at_k import main
from tests.test_pass_at_k import fails, of_counts, problem, write


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


def test_a_problem_counted_as_wrong_keeps_its_chart_and_its_place_in_the_metrics(tmp_path, capsys):
    """One file in which a question of the first chart could not be asked, and the same problems with all of them."""
    asked = [problem(f"p{i}", [True, False], image_id=f"chart{i // 2}", question="?", answer="7") for i in range(4)]
    error = {key: asked[1][key] for key in ("problem_id", "question", "answer", "image_id", "run")} | {"error": "no"}
    whole = write(tmp_path / "whole.json", asked)
    lacking = write(tmp_path / "lacking.json", [asked[0], error, *asked[2:]])
    words = ["--missing", "wrong", "--metrics", "avg@n", "maj@k", "distinct"]
    assert main(["--samples-path", str(lacking), *words]) == 0
    printed = capsys.readouterr().out
    assert "Pass@1: 37.50%" in printed and "4 problems on 2 charts" in printed
    assert "avg@n: 37.50%" in printed and "maj@k (%): @1 37.5" in printed and "distinct: 2.00" in printed
    assert main(["--compare", str(whole), str(lacking), "--missing", "wrong"]) == 0
    assert "+12.50" in capsys.readouterr().out


def test_an_input_named_in_another_spelling_is_not_overwritten(tmp_path, capsys):
    samples = write(tmp_path / "samples_w-reinforce.json", of_counts([1], 2))
    before, typed = samples.read_bytes(), tmp_path / "samples_w_reinforce.json"
    assert "is also an input" in fails(capsys, "--samples-path", typed, "--output-path", samples)
    assert "is also an input" in fails(capsys, "--compare", typed, typed, "--output-path", samples)
    assert samples.read_bytes() == before


def test_flags_of_a_single_file_are_refused_in_a_comparison(tmp_path, capsys):
    samples = write(tmp_path / "samples.json", of_counts([1], 2))
    for flag in (["--metrics", "avg@n"], ["--method-name", "NSR"]):
        assert f"{flag[0]} goes with --samples-path" in fails(capsys, "--compare", samples, samples, *flag)


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
