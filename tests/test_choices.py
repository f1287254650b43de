"""Multiple choice and prompt templates of sets of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import generate_samples
import main
from charts.answers import grade
from charts.choices import accepted_choice, read_choices
from charts.custom import read_custom
from charts.loading import load_questions
from charts.own_columns import Columns
from charts.prompt import PROMPTS, doubt, form_of, messages, of_record, prompt_hash, prompt_record, read_template
from charts.record import ChartQuestion
from checkpoints import finding
from settings.arguments import parse_args
from tests.test_own_sets import rows_of, write

pytestmark = pytest.mark.usefixtures("here")

# -- multiple choice --------------------------------------------------------------------------------------------------

FRUIT = {"A": "apple", "B": "pear", "C": "12.5"}


@pytest.mark.parametrize(
    "value",
    [
        ["apple", "pear", 12.5], '["apple", "pear", "12.5"]', FRUIT, json.dumps(FRUIT),
        ["A. apple", "B) pear", "(C) 12.5"], {"label": ["A", "B", "C"], "text": ["apple", "pear", "12.5"]},
        {"text": ["apple", "pear", "12.5"]}, "['apple', 'pear', 12.5]", "('apple', 'pear', '12.5')", str(FRUIT),
        {**FRUIT, "D": None}, ["apple", "pear", 12.5, None, float("nan")],
        {"label": ["A", "B", "C", "D"], "text": ["apple", "pear", 12.5, None]},
    ],
)  # fmt: skip
def test_options_in_every_form_are_the_same_options(value):
    assert read_choices(value) == FRUIT


@pytest.mark.parametrize("marks", ["{}. ", "{}) ", "({}) ", "{}: "])
def test_options_that_are_numbered_keep_their_numbers(marks):
    numbered = [marks.format(number) + option for number, option in enumerate(FRUIT.values(), start=1)]
    choices = read_choices(numbered)
    assert choices == {"1": "apple", "2": "pear", "3": "12.5"}
    for gold in (1, "1", "(1)", "1.", "apple", numbered[0]):
        assert accepted_choice(gold, choices)[:2] == ("1", "apple")
    with pytest.raises(ValueError, match="none of its options"):  # a place, the first being 0? or a slip?
        accepted_choice(0, choices)
    assert read_choices(["1. apple", "3. pear"]) == {"A": "1. apple", "B": "3. pear"}
    assert read_choices(["1.5", "2.5"]) == {"A": "1.5", "B": "2.5"}


def test_an_option_that_is_missing_leaves_the_others_their_letters():
    for value in (["apple", None, "pear"], {"A": "apple", "B": None, "C": "pear"}, ["A. apple", None, "C. pear"]):
        choices = read_choices(value)
        assert choices == {"A": "apple", "C": "pear"}
        assert accepted_choice(2, choices)[:2] == ("C", "pear")
        with pytest.raises(ValueError, match="none of its options"):
            accepted_choice(1, choices)


@pytest.mark.parametrize(
    "value",
    [["one"], [], "a, b", 5, {"A": "x"}, [str(i) for i in range(27)], {"text": "ab"}, ["one", None], "[" * 10_000,
     "{[1]: 2}", "'ab'"],
)  # fmt: skip
def test_options_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="the options"):
        read_choices(value)


@pytest.mark.parametrize(
    "gold", [1, "1", "B", "b", "(B)", "B.", "pear", "Pear", "B. pear", "B) Pear", "(B) pear", "B: pear"]
)
def test_a_gold_names_its_option_by_place_letter_or_text(gold):
    forms = ("B", "pear", "B. pear", "(B)", "B)", "B) pear", "(B) pear", "B: pear")
    assert accepted_choice(gold, FRUIT) == forms


@pytest.mark.parametrize(
    ("gold", "choices"),
    [
        ("plum", FRUIT),
        (3, FRUIT),
        (-1, FRUIT),
        ("D", FRUIT),
        (1, {"A": "1", "B": "2"}),
        ("A", {"A": "B", "B": "A"}),
        ("B. apple", FRUIT),
        ("D. apple", FRUIT),
        ("B. x", {"A": "B. x", "B": "x"}),
    ],
)
def test_a_gold_that_is_no_option_or_two_is_refused(gold, choices):
    with pytest.raises(ValueError, match="the answer"):
        accepted_choice(gold, choices)


def test_options_called_like_labels_are_not_answers_by_themselves():
    assert accepted_choice("2", {"1": "2 bars", "2": "3 bars"})[:4] == ("2", "3 bars", "2. 3 bars", "(2)")
    assert accepted_choice(2, {"A": "x", "B": "y", "C": "b"})[:3] == ("C", "C. b", "(C)")


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("B", True),
        ("b", True),
        ("(B)", True),
        ("pear", True),
        ("B. pear", True),
        ("A", False),
        ("12.5", False),
        ("B)", True),
        ("B) pear", True),
        ("(b) pear", True),
        ("B: Pear", True),
        ("A) pear", False),
        ("B: apple", False),
    ],
)
def test_an_answer_is_right_as_letter_or_as_text(here, said, right):
    write(here / "mine", rows_of(2, opts=["apple", "pear", "12.5"]))
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column="opts")
    one = load_questions("mine", columns=columns).questions[1]
    assert one.choices == ("A. apple", "B. pear", "C. 12.5")
    assert grade(said, one, "strict").correct is right, grade(said, one, "strict")


@pytest.mark.parametrize("names", ["ABC", ("option_1", "option_2", "option_3")])
def test_options_may_have_a_column_each(here, names):
    write(here / "mine", rows_of(2, **dict(zip(names, ["apple", "pear", None], strict=True))))
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column=",".join(names))
    one = load_questions("mine", columns=columns).questions[1]
    assert (one.choices, one.answers[:2]) == (("A. apple", "B. pear"), ("B", "pear"))
    with pytest.raises(ValueError, match=r"--choices-column A,B,D: .* has no such column"):
        load_questions("mine", columns=Columns(choices_column="A,B,D"))


def test_of_several_right_options_each_is_right_by_itself(here):
    rows = [{"question": "Which?", "answers": ["apple", "C"], "choices": list(FRUIT.values())}] * 2
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one = load_questions("rows.jsonl").questions[0]
    assert [grade(said, one, "strict").correct for said in ("A", "apple", "C) 12.5", "B", "A, C")] == [1, 1, 1, 0, 0]
    rows[1]["answers"] = ["apple", "plum"]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="'plum' is none of its options"):
        load_questions("rows.jsonl")


@pytest.mark.parametrize(("options", "label"), [(["apple", "pear"], "letter"), (["1. apple", "2. pear"], "number")])
def test_the_label_is_asked_for_by_its_name(options, label):
    row = {"question": "Which?", "answer": "pear", "choices": options}
    assert next(read_custom(row, 0, 1))["instruction"] == f"Answer with the {label} of the option."


def test_other_options_are_other_questions(here):
    prints = []
    for opts in (["x", "y"], ["x", "z"]):
        write(here / "mine", rows_of(2, opts=opts))
        columns = Columns(image_column="pic", question_column="ask", answer_column="gold", choices_column="opts")
        prints.append(load_questions("mine", columns=columns).fingerprint)
    assert prints[0] != prints[1]


# -- templates --------------------------------------------------------------------------------------------------------

ASKED = ChartQuestion("q", "How {choices}?", ("A",), choices=("A. x", "B. y"), instruction="Answer with the letter.")


def text_of(prompt: str, question: ChartQuestion = ASKED, control_tokens=()) -> str:
    return messages(question, prompt, control_tokens)[0]["content"][-1]["text"]


def test_a_template_puts_each_part_in_its_place_and_appends_what_has_none():
    assert text_of("Q: {question}\nO: {choices}\nI: {instruction}.") == (
        "Q: How {choices}?\nO: A. x\nB. y\nI: Answer with the letter.."
    )
    assert text_of("{question}!") == "How {choices}?\nA. x\nB. y\nAnswer with the letter.!"
    assert text_of("{choices}: {question}!") == "A. x\nB. y: How {choices}?\nAnswer with the letter.!"
    plain = ChartQuestion("q", "How many?", ("5",), instruction="In words.")
    assert text_of("short", plain).startswith("How many? In words.\nAnswer with")
    assert "< x>" in text_of("{question} {choices}", ChartQuestion("q", "a", ("b",), choices=("<x>", "y")), ["<x>"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Answer.", r"has no \{question\}"),
        (
            "{question} {chioces}",
            r"unknown place \{chioces\}; did you mean \{choices\}\? A template has \{question\}, \{choices",
        ),
        ("{question} {foo}", r"unknown place \{foo\} A template has"),
        (b"\xff{question}", "is not UTF-8"),
        (None, "there is no such file"),
    ],
)
def test_a_template_is_checked_before_a_model_is_loaded(here, text, words, monkeypatch, capsys):
    import models.registry

    monkeypatch.setattr(models.registry, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr(finding, "load_model", models.registry.load_model)
    if text is not None:
        Path("p.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"p.txt.*{words}"):
        read_template("p.txt")
    assert main.main(["--mode", "nsr", "--prompt-file", "p.txt", "--report-to", "none"]) == 2
    sampling = "--checkpoint-path tiny --dataset-name synthetic --output-path s.json --prompt-file p.txt"
    assert generate_samples.main(sampling.split()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") and "p.txt" in line for line in errors)


def test_braces_that_are_no_places_stay(here):
    Path("p.txt").write_text('{question} as {"columns": [...]} in \\boxed{answer} {}\n')
    text = read_template("p.txt")
    assert text_of(text).endswith('as {"columns": [...]} in \\boxed{answer} {}')
    assert prompt_record(text) == {"name": "own", "hash": prompt_hash(text), "text": text}
    assert of_record(prompt_record(text)) == text and of_record(prompt_record("short")) == "short"
    assert [doubt(one) is None for one in (*PROMPTS, text, "{question} <answer>")] == [
        *[True] * len(PROMPTS),
        False,
        True,
    ]
    assert [form_of(one) for one in (*PROMPTS, "{question} <think>", text)] == [*PROMPTS, "structured", "short"]


def test_two_prompts_are_refused():
    with pytest.raises(ValueError, match="--prompt names a prompt and --prompt-file another"):
        parse_args(["--mode", "nsr", "--prompt", "short", "--prompt-file", "p.txt"])
    with pytest.raises(ValueError, match="--prompt names a prompt and --prompt-file another"):
        line = "--checkpoint-path tiny --dataset-name x --output-path s.json --prompt short --prompt-file p"
        generate_samples.parse_args(line.split())
