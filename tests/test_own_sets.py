"""A set that nobody has written an adapter for: its name, and its columns by flags."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from charts.answers import grade
from charts.loading import load_questions
from charts.named import file_name, find_set, is_here, same_set
from charts.own_columns import Columns
from charts.prompt import read_template
from checkpoints.finding import find_checkpoint
from checkpoints.run_folder import run_folder
from common.own_code import load
from models.registry import resolve_model
from tests.chart_copies import chart, png

ROOT = Path(__file__).parent.parent
COLUMNS = Columns(image_column="pic", question_column="ask", answer_column="gold")
pytestmark = pytest.mark.usefixtures("here")


def rows_of(count: int, first: int = 0, **more) -> list[dict]:
    """Rows with columns of their own; `question` and `answer` stand there too and mean something else."""
    other = {"question": "another", "answer": "other", "messages": []}
    return [
        {"pic": f"{i}.png", "ask": f"How high is {i}?", "gold": i, **other, **more} for i in range(first, first + count)
    ]


def write(folder: Path, rows: list[dict], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    for row in rows:
        if isinstance(row.get("pic"), str):
            (folder / row["pic"]).write_bytes(png(int(row["pic"].removesuffix(".png"))))
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return folder


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "split", "hub"),
    [
        ("chartqa", "chartqa", None, None),
        ("chartqa@val", "chartqa", "val", None),
        ("org/set", "org/set", None, ("org/set", None)),
        ("org/set@dev", "org/set", "dev", ("org/set", None)),
        ("org/my.set:part@train", "org/my.set", "train", ("org/my.set", "part")),
        ("mine@validation", "mine", "validation", (None, None)),
        ("./mine", "mine", None, (None, None)),
        ("rows.jsonl", "rows", None, (None, None)),
        ("a@b", "a@b", None, (None, None)),
    ],
)
def test_a_name_says_which_set_which_split_and_where(here, name, found, split, hub):
    for folder in ("mine", "a@b"):
        Path(folder).mkdir()
    Path("rows.jsonl").touch()
    Path("chartqa").mkdir()  # a folder called like a set is not that set
    one = find_set(name, None, None)
    assert (one.name, one.split) == (found, split)
    assert (one.own and (one.own.train.hub_id, one.own.train.config)) == hub
    assert is_here(name, None) == (hub == (None, None))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("chartq", {}, "unknown data set 'chartq': .* did you mean chartqa?"),
        ("rows.jsonl", {}, "unknown data set 'rows.jsonl': .* file or folder that is there"),
        ("data/rows.csv", {}, "unknown data set 'data/rows.csv'"),
        ("a/b/c", {}, "unknown data set 'a/b/c'"),
        ("mine", {"path": "."}, "or give the place by --dataset-name . alone"),
        ("org/set@test", {"split": "train"}, "--dataset-name org/set@test and --split train name two splits"),
        ("org/set@test", {}, "split 'test' is for evaluation"),
        ("synthetic@test", {}, "split 'test' is for evaluation"),
        ("chartqa@old", {}, "split 'old' is for evaluation"),
        ("chartqa", {"columns": COLUMNS}, "--image-column is for a set without an adapter, and chartqa has one"),
        ("synthetic", {"columns": Columns(rule="strict")}, "--rule is for a set without an adapter"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(name, options, words):
    with pytest.raises(ValueError, match=words) as error:
        load_questions(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "path"), [("", None), ("", "mine"), ("@test", None), ("custom", ""), ("chartqa", "")])
def test_a_name_left_empty_is_not_the_current_folder(here, name, path):
    write(here, rows_of(2))
    flag = "name" if name in ("", "@test") else "path"
    with pytest.raises(ValueError, match=f"--dataset-{flag} is empty"):
        load_questions(name, path=path, columns=COLUMNS if flag == "name" else None)


def test_a_home_of_nobody_is_a_place_that_is_not_there(here):
    for read in (
        lambda: load_questions("~nobody-here/set"),
        lambda: load_questions("custom", path="~nobody-here/set"),
        lambda: read_template("~nobody-here/prompt.txt"),
        lambda: resolve_model("~nobody-here/model"),
        lambda: find_checkpoint("~nobody-here/run"),
        lambda: load("--reward", "~nobody-here/reward.py:f"),
    ):
        with pytest.raises(ValueError, match="~nobody-here"):
            read()
    assert file_name("~nobody-here/set") == "nobody-here-set" and not is_here("~nobody-here/set", None)
    assert same_set("~nobody-here/set", "~nobody-here/set@test")
    assert run_folder("runs", "~nobody-here/model", "nsr", 1).name == "model-prm-large-train-v2-nsr-1"
    Path("~nobody-here").mkdir()
    write(here / "~nobody-here", rows_of(2))
    assert len(load_questions("~nobody-here", columns=COLUMNS)) == 2


def test_a_set_of_the_hub_that_cannot_be_had_is_one_line(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"org/set cannot be loaded from the hub .*--dataset-path") as error:
        load_questions("org/set@train", columns=COLUMNS)
    assert "\n" not in str(error.value)


def test_what_the_hub_says_is_told(monkeypatch):
    def load_dataset(*place):
        raise ValueError("Config name is missing. Please pick one among: ['a', 'b']\nExample of usage: ...")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=r"\(ValueError: Config name is missing.*'b'\]\); go online") as error:
        load_questions("org/set@train", columns=COLUMNS)
    assert "\n" not in str(error.value)


def test_names_of_files_and_of_one_set(here):
    assert [file_name(one) for one in ("chartqa", "org/set:c@dev", "../x/../y")] == [
        "chartqa",
        "org-set-c-dev",
        "x-..-y",
    ]
    assert same_set("org/set@train", "org/set") and not same_set("org/set", "org/other")
    one, *others = "x/set", "./x/set/", str(here / "x" / "set"), "x/other/../set@test"
    assert all(same_set(one, other) and same_set(other, f"{one}@train") for other in others)
    assert same_set("chartqa@val", "chartqa") and not same_set("./chartqa", "chartqa")


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["jsonl", "one file", "parquet", "save_to_disk"])
def test_columns_are_read_as_the_flags_say_however_the_set_is_stored(here, store):
    rows = rows_of(5)
    name = "mine"
    if store in ("jsonl", "one file"):
        write(here / "mine", rows)
        name = "mine/train.jsonl" if store == "one file" else "mine"
    else:
        data = datasets.Dataset.from_list([{**row, "pic": None} for row in rows]).remove_columns(["pic", "messages"])
        data = data.add_column("pic", [{"bytes": png(i), "path": None} for i in range(5)]).cast_column(
            "pic", datasets.Image()
        )
        Path("mine").mkdir()
        data.to_parquet("mine/train.parquet") if store == "parquet" else data.save_to_disk("mine")
    found = load_questions(name, columns=COLUMNS)
    assert [one.question for one in found.questions] == [f"How high is {i}?" for i in range(5)]
    assert [one.answers for one in found.questions] == [(str(i),) for i in range(5)]
    assert found.questions[3].open_image().tobytes() == chart(3).tobytes()
    assert found.name == ("train" if store == "one file" else "mine") and "image from 'pic'" in " ".join(found.notes)


def test_a_lone_file_is_divided_by_the_picture_that_the_flag_names(here):
    rows = [{**row, "ask": f"{row['ask']} {turn}"} for row in rows_of(10) for turn in range(3)]
    write(here / "mine", rows, "questions.jsonl")
    train, test = (load_questions("mine", purpose=purpose, columns=COLUMNS) for purpose in ("train", "evaluate"))
    assert (len(train), len(test)) == (24, 6)
    assert not {one.image_id for one in train.questions} & {one.image_id for one in test.questions}


def test_a_test_chart_under_another_column_is_dropped_from_training(here):
    write(here / "mine", rows_of(6))
    write(here / "mine", rows_of(3, first=4), "test.jsonl")
    assert [one.question for one in load_questions("mine", columns=COLUMNS).questions] == [
        f"How high is {i}?" for i in range(4)
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"answer_kind": "numbers"}, "--answer-kind numbers: unknown; choose one of number, year"),
        ({"rule": "exact"}, "--rule exact: unknown; choose one of strict"),
        ({"image_column": "a", "answer_column": "a"}, "--image-column a: another flag names that column as well"),
    ],
)
def test_flags_without_meaning_are_refused_before_anything_is_read(values, words):
    with pytest.raises(ValueError, match=words):
        Columns(**values)


def test_a_column_that_is_not_there_is_named_with_those_that_are(here):
    write(here / "mine", rows_of(3))
    with pytest.raises(
        ValueError, match=r"--answer-column golds: .*mine has no such column, but .*gold.*did you mean gold\?"
    ):
        load_questions("mine", columns=Columns(answer_column="golds"))
    with pytest.raises(ValueError, match=r"has no split 'test': it has train; name one as .*mine@train"):
        datasets.Dataset.from_list([{"a": "b"}]).to_parquet("mine/train.parquet")
        Path("mine/train.jsonl").unlink()
        load_questions("mine", purpose="evaluate")


@pytest.mark.parametrize(
    ("kind", "answers"), [("list", ("[3, 4]",)), ("ordered list", ("[3, 4]",)), ("number", ("3", "4")), (None, None)]
)
def test_a_list_of_answers_means_what_its_kind_says(here, kind, answers):
    write(here / "mine", [{**row, "gold": [3, 4]} for row in rows_of(2)])
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", answer_kind=kind, rule="relaxed")
    if answers is None:
        with pytest.raises(ValueError, match="--answer-kind list means all of them"):
            load_questions("mine", columns=columns)
        return
    one = load_questions("mine", columns=columns).questions[0]
    assert (one.answers, one.answer_kind, one.rule) == (answers, kind, "relaxed")


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (["Paris, France", "Rome, Italy"], '["Rome, Italy", "Paris, France"]', "Paris, France, Rome, Italy, x"),
        (["1,234", "5"], "5; 1,234", "1; 234; 5"),
        (["a; b", "c"], '["c", "a; b"]', "a, b"),
        (['5" pipe', "x, y"], '["5\\" pipe", "x, y"]', "5, x, y"),
    ],
)
def test_an_item_of_a_list_may_have_commas_in_it(here, gold, right, wrong):
    write(here / "mine", [{**row, "gold": gold} for row in rows_of(2)])
    columns = Columns(image_column="pic", question_column="ask", answer_column="gold", answer_kind="list")
    one = load_questions("mine", columns=columns).questions[0]
    assert grade(right, one, "strict").correct and grade(one.answers[0], one, "strict").correct
    assert not grade(wrong, one, "strict").correct
