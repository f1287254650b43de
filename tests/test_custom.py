"""A user's own rows: columns by several names, conversations, and what is refused in them."""

from __future__ import annotations

import json

import datasets
import pytest

from charts.custom import read_custom
from charts.loading import hold_out, load_questions
from charts.sources import Rows
from tests.chart_copies import png

ROW = {"image": "a.png", "question": "How many bars?", "answer": "5"}


def read(**row):
    return next(read_custom(row, 0, 1))


def asked(**row) -> tuple:
    fields = read(image="a.png", **row)
    return fields["question"], fields["answers"]


def turns(*texts, names=("role", "content"), roles=("user", "assistant")) -> list[dict]:
    role, content = names
    return [{role: roles[i % 2], content: text} for i, text in enumerate(texts)]


BOTH = ("How many bars?", ("5",))


@pytest.mark.parametrize("question", ["question", "query", "problem", "prompt"])
@pytest.mark.parametrize("answer", ["answer", "answers", "label", "solution", "ground_truth", "response"])
def test_question_and_answer_by_their_usual_names(question, answer):
    assert asked(**{question: "<image> How many bars?", answer: "5"}) == BOTH
    assert asked(**{question: "How many bars?", answer: 5.0}) == BOTH


@pytest.mark.parametrize(
    "row",
    [
        {"messages": turns("<image>How many bars?", "5")},
        {"messages": [{"role": "system", "content": "Be brief."}, *turns("<image>\nHow many bars?", "5")]},
        {"messages": turns("How many bars?\n<image>", "<think>4 + 1</think>\n<answer> 5 </answer>")},
        {"messages": turns("How many <image> bars?", "6"), "answer": "5"},
        {"messages": turns("How many bars?"), "solution": "<answer>5</answer>"},
        {"messages": turns([{"type": "image"}, {"type": "text", "text": "How many bars?"}], [{"text": "5"}])},
        {"messages": turns([{"type": "image_url", "image_url": {"url": "x"}}, "How many bars?"], "5")},
        {"conversations": turns("<image>\nHow many bars?", "5", names=("from", "value"), roles=("human", "gpt"))},
        {"conversations": turns("How many bars?", "5", names=("from", "value"), roles=("user", "assistant"))},
        {"prompt": turns("How many bars?"), "ground_truth": "5"},
        {"prompt": turns("How many bars?"), "reward_model": {"ground_truth": "5"}},
        {"prompt": "old", "question": "How many bars?", "answer": ["5"]},
    ],
)
def test_conversations_of_one_question(row):
    assert asked(**row) == BOTH


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": turns("a", "1", "b", "2")}, "2 questions and 2 answers: one of each is read"),
        ({"messages": turns("a", "1", "b")}, "2 questions and 1 answers"),
        ({"messages": []}, "0 questions and 0 answers"),
        ({"messages": "How many?"}, "has no role and no content"),
        ({"conversations": [{"from": "function_call", "value": "x"}]}, "by 'function_call': user, human, assistant"),
        ({"messages": turns("<image><image>How many?", "5")}, "2 places for images: one is read"),
        ({"messages": turns("<video>How many?", "5")}, "has <video> in it"),
        ({"question": {"text": "How many?"}, "answer": "5"}, "the question is no text"),
        ({**ROW, "answer": [["1"], ["2"]]}, "neither text nor a number"),
        ({**ROW, "answer": b"5"}, "neither text nor a number"),
        ({**ROW, "answer": float("inf")}, "the answer inf is neither text nor a number"),
        ({**ROW, "rule": "chartqapro:YN"}, "rule 'chartqapro:YN': choose one of strict"),
        ({**ROW, "rule": "strict:Y"}, "rule 'strict:Y'"),
        ({**ROW, "answer_kind": "Number"}, "answer_kind 'Number': choose one of number, .*, or leave it out"),
        ({**ROW, "tolerance": True}, "tolerance True"),
        ({**ROW, "table": [{"year": 2010, "value": 5}]}, "the table is not of the form"),
        ({**ROW, "table": "year,value"}, "the table is not of the form"),
        ({**ROW, "tolerance": 1}, "tolerance 1: give a share"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_value(row, words):
    with pytest.raises(ValueError, match=words):
        read(**{"image": "a.png", **row})


def test_a_marker_stays_a_word_only_where_a_picture_is():
    assert asked(question="Compare the <images> tag.", answer="5")[0] == "Compare the <images> tag."
    with pytest.raises(ValueError, match="no picture in image or images"):
        read(question="<image>How many bars?", answer="5")


def test_what_is_allowed_is_kept():
    fields = read(**ROW, rule="chartqapro:Y-", answer_kind="ordered list", tolerance="0.1", chart_type=3, source=7)
    kept = [fields[name] for name in ("rule", "answer_kind", "tolerance", "chart_type", "source")]
    assert kept == ["chartqapro:Y-", "ordered list", 0.1, "3", "7"]
    assert read(**ROW, answers=[], table="")["answers"] == ("5",)
    assert read(**ROW)["tolerance"] is None and read(**ROW)["rule"] == "strict"


@pytest.mark.parametrize("box", [[1, 2, 3, 4], "[1, 2, 3, 4]", "<answer>[1, 2, 3, 4]</answer>"])
def test_a_box_is_found_wherever_an_answer_is(box):
    for row in (
        {"answer": box}, {"solution": box}, {"answers": [], "answer": box}, {"reward_model": {"ground_truth": box}},
    ):  # fmt: skip
        for about in ({"answer_kind": "box"}, {"rule": "iou"}):
            assert read(image="a.png", question="Where is it?", **row, **about)["answers"] == ("[1, 2, 3, 4]",)


def questions_file(folder, charts: int, name: str = "questions.jsonl", each: int = 3, first: int = 0):
    rows = []
    for chart in range(first, first + charts):
        (folder / f"{chart}.png").write_bytes(png(chart))
        rows += [{**ROW, "image": f"{chart}.png", "question": f"Which {number}?"} for number in range(each)]
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return rows


def both(folder) -> tuple:
    return tuple(load_questions("custom", purpose=purpose, path=folder) for purpose in ("train", "evaluate"))


@pytest.mark.parametrize(("charts", "kept"), [(2, 1), (5, 1), (10, 2), (33, 7)])
def test_a_lone_questions_file_is_divided_by_chart_the_same_way_every_time(tmp_path, charts, kept):
    rows = questions_file(tmp_path, charts)
    train, test = both(tmp_path)
    images = [{one.image_id for one in part.questions} for part in (train, test)]
    assert (len(images[0]), len(images[1])) == (charts - kept, kept) and not images[0] & images[1]
    assert len(train) + len(test) == 3 * charts
    assert train.notes == test.notes and "is the only file" in train.notes[0]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, reversed(rows))))
    again = both(tmp_path)
    assert {one.image_id for one in again[1].questions} == images[1], "whatever the order of the rows"
    named = load_questions("custom", purpose="evaluate", split="train", path=tmp_path)
    assert {one.image_id for one in named.questions} == images[0]


def test_a_questions_file_serves_the_side_that_has_none(tmp_path):
    for other, sizes in (("train.jsonl", (6, 15)), ("test.jsonl", (15, 6))):
        folder = tmp_path / other
        folder.mkdir()
        questions_file(folder, 5)
        questions_file(folder, 2, name=other, first=5)
        found = both(folder)
        assert (len(found[0]), len(found[1])) == sizes
        assert found[0].notes == found[1].notes == []


def test_charts_shared_by_two_files_are_dropped_and_all_of_them_is_an_error(tmp_path):
    questions_file(tmp_path, 5, name="train.jsonl")
    questions_file(tmp_path, 4, name="test.jsonl")
    assert [one.question for one in both(tmp_path)[0].questions] == ["Which 0?", "Which 1?", "Which 2?"]
    with pytest.raises(ValueError, match="3 questions are too few to hold out charts: use more rows; 12 training rows"):
        hold_out(both(tmp_path)[0])
    questions_file(tmp_path, 5, name="validation.jsonl")
    with pytest.raises(ValueError, match="every chart of the 15 training rows is also a chart of the evaluation split"):
        load_questions("custom", path=tmp_path)


def test_text_alone_is_divided_too_and_can_be_held_out(tmp_path):
    rows = [{"question": f"{number} + 1?", "answer": number + 1} for number in range(50)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train, test = both(tmp_path)
    assert (len(train), len(test)) == (40, 10)
    assert not {one.question for one in train.questions} & {one.question for one in test.questions}
    assert "No row has an image: the questions are asked as text alone" in train.notes
    assert len(hold_out(train)[1]) == 2


@pytest.mark.parametrize("place", ["", "train"])
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("beside", [True, False])
def test_metadata_names_pictures_from_where_it_stands(tmp_path, monkeypatch, place, linked, beside):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data" / place
    (folder if beside else folder / "charts").mkdir(parents=True)
    names = [f"{chart}.png" if beside else f"charts/{chart}.png" for chart in range(3)]
    for chart, name in enumerate(names):
        (folder / name).write_bytes(png(chart))
    rows = ["file_name,question,answer", *(f"{name},Which?,007" for name in names)]
    (folder / "metadata.csv").write_text("\n".join(rows))
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    found = load_questions("custom", path="alias" if linked else "data/../data")
    assert [one.answers for one in found.questions] == [("007",)] * 3 and found.questions[0].open_image()
    assert [note.partition(" is ")[2][:9] for note in found.notes] == ([] if place else ["one split"])


def test_answers_that_nothing_can_equal_are_told(tmp_path):
    said = "The chart shows that the value of the red bar has grown in every single year from 2010 to 2020, by far."
    rows = [{"question": f"Describe {number}.", "answer": said if number < 3 else "5"} for number in range(100)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    notes = load_questions("custom", path=tmp_path).notes
    assert "3 answers have over 20 words: hardly a completion is equal to such a text" in notes


def test_narrow_floats_in_lists_keep_all_their_digits_too(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    narrow, text = datasets.Value("float32"), datasets.Value("string")
    features = {
        "question": text, "answers": datasets.List(narrow), "choices": {"A": narrow, "B": narrow, "C": text},
        "table": {"columns": datasets.List(text), "rows": datasets.List(datasets.List(datasets.Value("float16")))},
    }  # fmt: skip
    row = {
        "question": "q", "answers": [12.1, None, 0.3], "choices": {"A": 12.1, "B": 0.3, "C": "x"},
        "table": {"columns": ["a"], "rows": [[0.1], [None]]},
    }  # fmt: skip
    datasets.Dataset.from_list([row], features=datasets.Features(features)).save_to_disk(str(tmp_path / "data"))
    (found,) = load_questions("custom", path=tmp_path / "data").questions
    assert found.choices == ("A. 12.1", "B. 0.3", "C. x") and found.answers[:2] == ("A", "12.1")
    assert found.table == {"columns": ["a"], "rows": [["0.1"], [""]]} and "0.3" in found.answers
    boxed = {"question": text, "answer": datasets.List(narrow), "rule": text}
    rows = [{"question": "q", "answer": [1.1, 2.2, 30.3, 40.4], "rule": "iou"}]
    datasets.Dataset.from_list(rows, features=datasets.Features(boxed)).save_to_disk(str(tmp_path / "boxes"))
    fields = next(iter(Rows("train", [], datasets.load_from_disk(str(tmp_path / "boxes")))))
    assert fields["answer"] == [1.1, 2.2, 30.3, 40.4]


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?"])
def test_names_with_marks_of_a_pattern_are_names(tmp_path, monkeypatch, name):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / name
    folder.mkdir()
    for file in (folder / "train.parquet", folder / f"{name}.parquet", tmp_path / "a1.parquet"):
        datasets.Dataset.from_list([{"question": file.stem, "answer": "5"}]).to_parquet(str(file))
    for file in (folder / "train.parquet", folder / f"{name}.parquet"):
        assert [one.question for one in load_questions("custom", path=file).questions] == [file.stem]
    with pytest.raises(ValueError, match=r"holds no data set that can be read: .* for a pattern: rename it"):
        load_questions("custom", path=folder)


def test_narrow_floats_keep_all_their_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"question": datasets.Value("string"), "answer": datasets.Value("float32")})
    rows = [{"question": "q", "answer": value} for value in (12.1, 12345678.0, -0.5, 1e-7)]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "data"))
    found = load_questions("custom", path=tmp_path / "data").questions
    assert [one.answers for one in found] == [("12.1",), ("12345678",), ("-0.5",), ("1e-07",)]
