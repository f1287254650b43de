"""Every data set loads its local copy, in the schema in which it is published, with its traps handled."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import pytest

from charts.adapters import ADAPTERS
from charts.drawn import DRAWN
from charts.loading import DATASETS, load_questions
from tests import chart_copies as copies
from tests.chart_copies import TABLE


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def saved(data, folder):
    data.save_to_disk(str(folder))
    return folder


def the_only(questions):
    assert len(questions) == 1
    return questions[0]


@pytest.mark.parametrize("store", ["save_to_disk", "parquet", "one parquet file"])
def test_chart_rvr_loads_however_it_was_stored(tmp_path, store):
    data, path = copies.chart_rvr(), tmp_path / "data"
    if store == "save_to_disk":
        saved(data, path)
    else:
        path.mkdir()
        data.to_parquet(path / "train-00000.parquet")
        path = path if store == "parquet" else path / "train-00000.parquet"
    found = load_questions("chart-rvr", path=path)
    assert len(found) == 36
    assert found.notes == ["36 rows, 12 distinct: one epoch passes each three times"]
    assert found.questions[1].answers == ("1",)
    assert found.questions[1].table == TABLE
    assert found.questions[0].table is None
    assert found.questions[0].reasoning == "Step 1: bar 0 is 0."
    assert found.questions[2].open_image().tobytes() == copies.chart(1).tobytes()
    assert found.questions[0].image_id == found.questions[1].image_id != found.questions[2].image_id
    assert len({question.id for question in found.questions}) == 36


def test_chart_rvr_asks_claims_for_yes_or_no(tmp_path):
    found = load_questions("chart-rvr", path=saved(copies.chart_rvr(), tmp_path / "data"))
    claim, other = found.questions[0], found.questions[1]
    assert (claim.source, claim.answer_kind) == ("chartfc", "yes/no")
    assert "Yes or No" in claim.instruction
    assert (other.source, other.instruction) == ("chart-rvr", "")


def test_chart_rvr_knows_its_three_parts_by_position():
    from charts.adapters import read_chart_rvr

    row = {"query": "Which?", "label": "5", "chart_type": "bar"}
    sources = [next(read_chart_rvr(row, index, 34_194))["source"] for index in (0, 7_397, 7_398, 9_398, 11_398)]
    assert sources == ["chartqa-human", "chartqa-human", "plotqa", "chartfc", "chartqa-human"]


def test_evochart_trains_on_chart_rvr_and_evaluates_on_evochart_qa(tmp_path):
    train = load_questions("evochart", path=saved(copies.chart_rvr(), tmp_path / "train"))
    evaluation = load_questions("evochart", purpose="evaluate", path=saved(copies.evochart_qa(), tmp_path / "test"))
    assert (len(train), len(evaluation)) == (36, 6)
    clear, unclear = evaluation.questions[:2]
    assert (clear.rule, clear.tolerance, unclear.tolerance) == ("evochart", 0.0, None)
    assert (clear.kind, clear.chart_type) == ("retrieval", "bar")


def test_evochart_refuses_to_train_on_its_test_questions(tmp_path):
    path = saved(copies.evochart_qa(), tmp_path / "data")
    with pytest.raises(ValueError, match="for evaluation only"):
        load_questions("evochart", path=path)
    with pytest.raises(ValueError, match="for evaluation only"):
        load_questions("chart-rvr", path=path)


def test_evochart_refuses_to_evaluate_on_training_rows_unless_told(tmp_path):
    path = saved(copies.chart_rvr(), tmp_path / "data")
    with pytest.raises(ValueError, match="training rows"):
        load_questions("evochart", purpose="evaluate", path=path)
    assert len(load_questions("evochart", purpose="evaluate", split="train", path=path)) == 36


def test_chartqa_of_the_hub_has_lists_classes_and_val(tmp_path):
    path = saved(copies.chartqa_hub(), tmp_path / "data")
    test = load_questions("chartqa", purpose="evaluate", path=path)
    assert [question.kind for question in test.questions] == ["human", "augmented"] * 2
    assert test.questions[1].answers == ("1%",)
    assert len(load_questions("chartqa", purpose="evaluate", split="val", path=path)) == 3
    assert len(load_questions("chartqa", purpose="evaluate", split="validation", path=path)) == 3


def test_training_images_that_are_test_images_are_dropped_and_counted(tmp_path):
    train = load_questions("chartqa", path=saved(copies.chartqa_hub(), tmp_path / "data"))
    assert len(train) == 7
    assert train.notes == ["1 training rows dropped: their images are also in an evaluation split"]


def test_chartqa_mirrors_store_bytes_and_strings(tmp_path):
    found = load_questions("chartqa", path=saved(copies.chartqa_mirror(), tmp_path / "a"))
    assert found.questions[3].answers == ("3",)
    assert found.questions[3].open_image().tobytes() == copies.chart(3).tobytes()
    test_only = saved(copies.chartqa_test_only(), tmp_path / "b")
    assert [q.kind for q in load_questions("chartqa", purpose="evaluate", path=test_only).questions] == [
        "human",
        "augmented",
    ]
    with pytest.raises(ValueError, match="has no split 'train': it has test"):
        load_questions("chartqa", path=test_only)


def test_chartqa_files_have_true_tables_and_types(tmp_path):
    path = copies.chartqa_files(tmp_path)
    for purpose, split, count in (("train", None, 2), ("evaluate", None, 2), ("evaluate", "validation", 2)):
        found = load_questions("chartqa", purpose=purpose, split=split, path=path)
        assert len(found) == count
        assert found.questions[1].kind == "augmented"
        assert (found.questions[0].table, found.questions[0].chart_type) == (TABLE, "v_bar")
        assert found.questions[0].open_image().size == (40, 30)


def test_plotqa_files(tmp_path):
    found = load_questions("plotqa", path=copies.plotqa_files(tmp_path))
    assert [question.answers for question in found.questions] == [("Yes",), ("12.5",), ("1995",)]
    assert [question.answer_kind for question in found.questions] == ["yes/no", "", ""]
    assert found.questions[1].kind == "data_retrieval"
    assert found.questions[1].open_image().tobytes() == copies.chart(1).tobytes()


def test_chartfc_asks_for_yes_or_no_in_training_and_evaluation_alike(tmp_path):
    path = copies.chartfc_files(tmp_path)
    for purpose in ("train", "evaluate"):
        found = load_questions("chartfc", purpose=purpose, path=path)
        assert [question.answers for question in found.questions] == [("Yes",), ("No",)]
        assert {question.instruction for question in found.questions} == {"Answer Yes or No."}
        assert found.questions[0].open_image().size == (40, 30)


def test_chartqapro_asks_the_last_question_and_keeps_the_history(tmp_path):
    found = load_questions("chartqapro", purpose="evaluate", path=saved(copies.chartqapro(), tmp_path / "data"))
    several, year, conversation, claim, choice = found.questions
    assert (several.answers, several.answer_kind, several.rule) == (("[Asia, Europe]",), "list", "chartqapro")
    assert (year.answer_kind, year.rule) == ("year", "chartqapro:Y")
    assert "It rained." in year.instruction
    assert (conversation.question, conversation.answers) == ("Which year?", ("1999",))
    assert conversation.history == (("How many?", "3"), ("And of these?", "2"))
    assert conversation.rule == "chartqapro:Y"
    assert (claim.answer_kind, choice.answer_kind) == ("yes/no", "text")
    with pytest.raises(ValueError, match="evaluation only"):
        load_questions("chartqapro")


def test_chartbench_asks_every_statement_of_a_pair(tmp_path):
    path = copies.chartbench_files(tmp_path / "data")
    for purpose, shade in (("train", 1), ("evaluate", 11)):
        found = load_questions("chartbench", purpose=purpose, path=path)
        assert [question.answers for question in found.questions] == [("Yes",), ("No",)] * 2 + [("42",)]
        assert len({question.id for question in found.questions}) == 5
        assert len({question.image_id for question in found.questions}) == 2
        value = found.questions[-1]
        assert (value.kind, value.rule, value.chart_type) == ("value", "chartbench:value", "bar")
        assert value.open_image().tobytes() == copies.chart(shade).tobytes()


def test_figureqa_answers_lose_their_full_stop_and_it_only_trains(tmp_path):
    path = saved(copies.figureqa(), tmp_path / "data")
    assert [question.answers for question in load_questions("figureqa", path=path).questions] == [("Yes",), ("No",)] * 2
    with pytest.raises(ValueError, match="training rows only"):
        load_questions("figureqa", purpose="evaluate", path=path)


def test_custom_data_load_from_jsonl_and_from_columns(tmp_path):
    lines = copies.jsonl_files(tmp_path / "lines")
    for purpose in ("train", "evaluate"):
        found = load_questions("custom", purpose=purpose, path=lines)
        assert [question.answers for question in found.questions] == [("5",), ("5",)]
        assert found.questions[0].answer_kind == "count"
        assert found.questions[0].open_image().size == (40, 30)
    columns = copies.chartqa_test_only()
    columns["train"] = columns["test"]
    del columns["test"]
    assert len(load_questions("custom", path=saved(columns, tmp_path / "columns"))) == 2


def test_custom_data_may_have_no_images_at_all(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "2 + 2?", "answer": "4", "tolerance": 0}\n')
    question = the_only(load_questions("custom", path=tmp_path).questions)
    assert question.open_image is None
    assert question.image_id is None
    assert question.tolerance == 0.0


def jsonl(folder, rows):
    copies.jsonl_files(folder)
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_bad_row_is_skipped_and_named(tmp_path):
    good = {"image": "images/0.png", "question": "How many?", "answer": "5"}
    bad = [{**good, "image": None}, {**good, "answer": ""}]
    found = load_questions("custom", path=jsonl(tmp_path, [*[good] * 198, *bad]))
    assert len(found) == 198
    assert found.skipped == [("train row 198", "no image"), ("train row 199", "no answer")]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "no image"),
        ("images/missing.png", "cannot be read"),
        ("../0.png", "leaves its folder"),
        ("/etc/passwd", "leaves its folder"),
        ("train.jsonl", "not an image"),
    ],
)
def test_more_than_one_percent_of_bad_rows_is_fatal(tmp_path, image, reason):
    good = {"image": "images/0.png", "question": "How many?", "answer": "5"}
    with pytest.raises(ValueError, match=rf"2 of 100 rows cannot be used.*{reason}"):
        load_questions("custom", path=jsonl(tmp_path, [*[good] * 98, *[{**good, "image": image}] * 2]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "chartqb"}, "unknown data set 'chartqb': choose one of synthetic"),
        ({"name": "synthetic", "purpose": "test"}, "unknown purpose"),
        ({"name": "synthetic", "split": "test"}, "for evaluation: train on the split train"),
        ({"name": "synthetic", "purpose": "evaluate", "split": "gold"}, "has no split 'gold'"),
        ({"name": "synthetic", "subset_size": 0}, "--subset-size 0"),
        ({"name": "synthetic", "subset_order": "random"}, "--subset-order"),
        ({"name": "synthetic", "path": "x"}, "drawn, not read"),
        ({"name": "chartqa", "path": "does/not/exist"}, "no such file or folder"),
        ({"name": "plotqa"}, "--dataset-path"),
        ({"name": "custom"}, "--dataset-path"),
    ],
)
def test_bad_settings_get_one_clear_line(settings, words):
    with pytest.raises(ValueError, match=words) as error:
        load_questions(settings.pop("name"), **settings)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub_is_one_line_that_names_the_way_out(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="--dataset-path") as error:
        load_questions("chartqa")
    assert "HuggingFaceM4/ChartQA" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--dataset-path"):
        load_questions("chartqa", path=tmp_path)


def test_every_data_set_says_what_it_is():
    assert all(about and "\n" not in about for about in DATASETS.values())


def test_the_table_of_the_readme_names_every_set_and_a_file_that_tests_it():
    tests = Path(__file__).parent
    text = (tests.parent / "charts" / "README.md").read_text(encoding="utf-8")
    rows = text.partition("| name | hub id, or files |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert {len(row) for row in cells} == {6}
    named = {name: row[-1].strip("`") for row in cells for name in re.findall(r"`([^`]+)`", row[0])}
    assert set(named) == {*ADAPTERS, *DRAWN}
    untested = [name for name, file in named.items() if f'"{name}"' not in (tests / f"{file}.py").read_text()]
    assert untested == []
