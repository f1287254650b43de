"""MATH, GSM8K, AMC and AIME in their exact schemas: questions, golds, splits and the prompt they are asked with."""

from __future__ import annotations

import json

import datasets
import pytest

from charts.adapters import ADAPTERS
from charts.custom import read_custom
from charts.loading import default_prompt, hold_out, load_questions
from charts.math_sets import read_contest, read_gsm8k, read_math
from charts.prompt import messages
from charts.subsets import distinct
from charts.synthetic import synthetic_questions
from tests.math_copies import AIME, AMC, AMC_OF_THE_PAPER, GSM8K, math_row, save_math


def one(read, row) -> dict:
    (fields,) = read(row, 0, 1)
    return fields


def test_the_gold_of_math_is_what_the_last_box_holds(tmp_path):
    folder = save_math(tmp_path / "math")
    train, test = load_questions("math", path=folder), load_questions("math", path=folder, purpose="evaluate")
    assert (train.split, len(train), test.split, len(test)) == ("train", 48, "test", 4)
    first, second = train.questions[:2]
    assert (first.answers, second.answers) == (("0",), (r"\frac{1}{2}",))
    assert (second.kind, second.answer_kind, second.rule, second.source) == ("Algebra", "math", "math", "math")
    assert second.open_image is None and second.image_id is None and second.reasoning == math_row(1)["solution"]
    assert test.questions[0].answers == ("2000",)


@pytest.mark.parametrize(
    ("read", "row", "answers"),
    [
        (read_math, math_row(3, answer="\\frac{3}{2}", solution="no box"), (r"\frac{3}{2}",)),  # MATH-500
        (read_math, math_row(3, solution=r"so \fbox{7}"), ("7",)),
        (read_math, math_row(3, solution=r"so $\boxed 7$"), ("7",)),
        (read_gsm8k, GSM8K[0], ("1200",)),
        (read_gsm8k, GSM8K[1], ("-8",)),
        (read_contest, AMC[0], ("149",)),
        (read_contest, AIME[0], ("25",)),
        (read_contest, {"question": "?", "answer": "27.0"}, ("27",)),
        (read_contest, {"question": "?", "answer": 0}, ("0",)),
        (read_contest, {"question": "?", "answer": None}, ()),
        (read_contest, {"question": "?", "answer": "5\\sqrt{2}"}, ("5\\sqrt{2}",)),
    ],
)
def test_golds(read, row, answers):
    fields = one(read, row)
    assert fields["answers"] == answers and fields["question"] and fields["answer_kind"] == fields["rule"] == "math"


def test_notes_for_a_calculator_are_no_part_of_a_solution():
    assert one(read_gsm8k, GSM8K[0])["reasoning"] == "Ann has 3*400=1200 beads."


def test_rows_that_hold_no_gold_are_skipped_with_the_reason(tmp_path):
    for read, row, reason in (
        (read_math, math_row(3, solution="nothing"), "no box"),
        (read_math, math_row(3, solution=""), "no solution"),
        (read_gsm8k, {"question": "?", "answer": "5"}, "no ####"),
    ):
        with pytest.raises(ValueError, match=reason):
            one(read, row)
    rows = [math_row(n) for n in range(200)] + [math_row(1, solution="nothing")]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    found = load_questions("math", path=tmp_path)
    assert len(found) == 200 and found.skipped == [("train row 200", "no box in the solution")]


def test_gsm8k_is_read_from_its_own_lines_amc_and_aime_from_a_table(tmp_path):
    for split in ("train", "test"):
        lines = "".join(json.dumps(row) + "\n" for row in GSM8K)
        (tmp_path / "gsm8k").mkdir(exist_ok=True)
        (tmp_path / "gsm8k" / f"{split}.jsonl").write_text(lines)
    for purpose in ("train", "evaluate"):
        assert len(load_questions("gsm8k", path=tmp_path / "gsm8k", purpose=purpose)) == 2
    datasets.DatasetDict({"train": datasets.Dataset.from_list(AMC)}).save_to_disk(str(tmp_path / "amc"))
    found = load_questions("amc", path=tmp_path / "amc", purpose="evaluate", split="train")
    assert [question.answers for question in found.questions] == [("149",), ("9",)]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(AMC_OF_THE_PAPER)}).save_to_disk(str(tmp_path / "amc23"))
    found = load_questions("amc", path=tmp_path / "amc23", purpose="evaluate")
    assert [question.answers for question in found.questions] == [("23",), ("3\\sqrt{2}",)]
    datasets.Dataset.from_list(AIME).to_parquet(tmp_path / "test.parquet")
    assert load_questions("aime", path=tmp_path / "test.parquet", purpose="evaluate").questions[0].answers == ("25",)
    with pytest.raises(ValueError, match="amc is for evaluation only"):
        load_questions("amc", path=tmp_path / "amc")


def test_the_hub_sets_are_the_papers_with_their_splits():
    places = {name: (ADAPTERS[name].train, ADAPTERS[name].evaluate) for name in ("math", "gsm8k", "amc", "aime")}
    named = {name: [place and (place.hub_id, place.split) for place in both] for name, both in places.items()}
    assert named == {
        "math": [("TianHongZXY/MATH", "train"), ("TianHongZXY/MATH", "test")],
        "gsm8k": [("openai/gsm8k", "train"), ("openai/gsm8k", "test")],
        "amc": [None, ("TianHongZXY/amc23", "test")],
        "aime": [None, ("TianHongZXY/AIME2025", "test")],
    }


def test_they_are_asked_in_the_words_of_the_paper(tmp_path):
    question = load_questions("math", path=save_math(tmp_path / "math")).questions[0]
    assert default_prompt("math") == default_prompt("aime") == "boxed"
    assert default_prompt("chartqa") == default_prompt("synthetic") == default_prompt("no such set") == "structured"
    turns = [(turn["role"], turn["content"][-1]["text"]) for turn in messages(question, "boxed")]
    assert turns == [
        ("system", "You are a helpful assistant."),
        ("user", "Compute $0 + 0$.\nPlease reason step by step, and put your final answer within \\boxed{}."),
    ]


def test_rows_of_ones_own_have_the_rule_by_a_column():
    for answer in (r"\frac12", r"It is half: $\boxed{\frac12}$."):
        fields = one(read_custom, {"question": "?", "answer": answer, "rule": "math"})
        assert (fields["answers"], fields["answer_kind"], fields["rule"]) == ((r"\frac12",), "math", "math")
        fields |= one(read_custom, {"question": "?", "answer": answer, "answer_kind": "math"})
        assert (fields["answers"], fields["answer_kind"], fields["rule"]) == ((r"\frac12",), "math", "math")
        fields |= one(read_custom, {"question": "?", "answer": answer, "answer_kind": "math", "rule": "relaxed"})
        assert (fields["answers"], fields["answer_kind"], fields["rule"]) == ((r"\frac12",), "math", "relaxed")
    assert one(read_custom, {"question": "?", "answer": r"\boxed{5}"})["answers"] == (r"\boxed{5}",)


def test_an_image_stands_in_the_first_turn_of_the_user():
    system, user = messages(synthetic_questions("test", 1)[0], "boxed")
    assert [part["type"] for part in system["content"]] == ["text"]
    assert [part["type"] for part in user["content"]] == ["image", "text"]


def test_a_problem_that_occurs_twice_is_never_both_trained_on_and_held_out(tmp_path):
    rows = [math_row(n % 20) for n in range(60)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    found = load_questions("math", path=tmp_path)
    assert len(distinct(found.questions)) == 20 and any("20 distinct" in note for note in found.notes)
    train, held_out = hold_out(found, 0.2)
    assert held_out.questions
    assert not {q.question for q in train.questions} & {q.question for q in held_out.questions}


def test_a_split_beside_the_name_changes_no_prompt():
    assert default_prompt("math@test") == default_prompt("math") == "boxed"
    assert default_prompt("synthetic@test") == default_prompt("own.jsonl") == "structured"
