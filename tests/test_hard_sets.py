"""The hard chart sets but CharXiv: copies in the schema of each as published, traps, what only a judge can decide."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature

from charts.answers import grade
from charts.judged import short_items
from charts.loading import load_questions
from tests.chart_copies import chart, chartfc_files, plotqa_files, png


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def saved(data, folder: Path) -> Path:
    data.save_to_disk(str(folder))
    return folder


def evaluated(name: str, path: Path, **options):
    return load_questions(name, purpose="evaluate", path=path, **options)


def chartmuseum(folder: Path) -> Path:
    """lytang/ChartMuseum: tables with the path of a picture, the pictures in a folder beside them."""
    (folder / "images").mkdir(parents=True)
    (folder / "data").mkdir()
    for split, first in (("dev", 0), ("test", 10)):
        rows = []
        for i, (answer, kind) in enumerate(
            [("90.05", "visual"), ("Blue line", "text"), ("$x^2$", "synthesis"), ("2019", "text")]
        ):
            (folder / "images" / f"{first + i}.png").write_bytes(png(first + i))
            question = "Which year?" if answer == "2019" else "Which?"
            rows.append({"image": f"images/{first + i}.png", "question": question, "answer": answer,
                         "reasoning_type": kind, "source": "a.org", "hash": str(i)})  # fmt: skip
        Dataset.from_list(rows).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_chartmuseum_has_its_pictures_beside_its_tables(tmp_path):
    path = chartmuseum(tmp_path / "museum")
    number, text, year = evaluated("chartmuseum", path).questions
    assert [grade(said, number).correct for said in ("90.00", "90.05", "91.05")] == [True, True, False]
    assert grade("blue line", text).correct and text.kind == "text"
    assert [grade(said, year).correct for said in ("2019", "2020")] == [True, False]
    assert number.open_image().tobytes() == chart(10).tobytes()
    dev = evaluated("chartmuseum", path, split="dev")
    assert dev.questions[0].open_image().tobytes() == chart(0).tobytes()
    assert "1 of 4 questions are unscorable" in dev.notes[0]
    one_file = path / "data" / "test-00000-of-00001.parquet"
    with pytest.raises(ValueError, match=r"image file 'images/10\.png' cannot be read"):
        evaluated("chartmuseum", one_file)


def test_a_path_without_a_folder_says_what_to_do():
    from charts.images import stored_bytes

    with pytest.raises(ValueError, match="no folder of its own: download it, and give its folder by --dataset-path"):
        stored_bytes("images/10.png", None)


def test_chartverse_keeps_its_golds_in_reward_model(tmp_path):
    rows = [
        {
            "images": [chart(i)],
            "prompt": [{"role": "system", "content": "Reason."}, {"role": "user", "content": f"<image>Which {i}?"}],
            "reward_model": {"ground_truth": gold, "style": "rule"},
            "ability": "chart",
        }
        for i, gold in enumerate(["12.5", "Asia", "\\frac{1}{2}"])
    ]
    turn = {"role": Value("string"), "content": Value("string")}
    features = Features(
        {"images": List(ImageFeature()), "prompt": List(turn), "ability": Value("string"),
         "reward_model": {"ground_truth": Value("string"), "style": Value("string")}}
    )  # fmt: skip
    path = saved(DatasetDict(train=Dataset.from_list(rows, features=features)), tmp_path / "data")
    found = load_questions("chartverse", path=path)
    assert [(one.question, one.answers) for one in found.questions] == [
        ("Which 0?", ("12.5",)),
        ("Which 1?", ("Asia",)),
    ]
    assert found.questions[1].open_image().tobytes() == chart(1).tobytes() and "1 of 3" in found.notes[0]
    with pytest.raises(ValueError, match="training rows only"):
        evaluated("chartverse", path)


def test_chartrqa_reads_what_other_trainers_write(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [{"images": ["a.png"], "problem": "<image>How much?", "answer": "<think>6 + 1</think><answer>7</answer>"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (one,) = load_questions("chartrqa", path=tmp_path).questions
    assert (one.question, one.answers, one.rule) == ("How much?", ("7",), "strict")
    with pytest.raises(ValueError, match="chartrqa is not on the hub: give its local folder"):
        load_questions("chartrqa")


def reachqa() -> DatasetDict:
    answers = ["82", "Gaming, blue", "15,000 lawyers", "Poetry,red", "The total is 156%.", "25 minutes, longer than 22"]

    def split(first: int) -> Dataset:
        rows = [{"image": chart(first + i), "chart_type": "Bar Charts", "qa_type": "Recognizing", "question": "Which?",
                 "answer": answer} for i, answer in enumerate(answers)]  # fmt: skip
        return Dataset.from_list(rows, features=Features({"image": ImageFeature()} | {
            name: Value("string") for name in ("chart_type", "qa_type", "question", "answer")}))  # fmt: skip

    return DatasetDict(train=split(0), test=split(10))


def test_reachqa_scores_short_answers_and_leaves_out_sentences(tmp_path):
    path = saved(reachqa(), tmp_path / "data")
    for found in (load_questions("reachqa", path=path), evaluated("reachqa", path)):
        assert [one.answers for one in found.questions] == [
            ("82",), ("[Gaming, blue]",), ("15,000 lawyers",), ("[Poetry, red]",)
        ]  # fmt: skip
        assert found.notes == ["2 of 6 questions are unscorable and left out: 2 with an answer in sentences"]
        pair = found.questions[1]
        assert grade("Gaming; blue", pair, "strict").correct and not grade("Gaming", pair, "strict").correct
        assert (pair.kind, pair.chart_type, pair.answer_kind) == ("Recognizing", "Bar Charts", "list")


@pytest.mark.parametrize(
    ("gold", "items"),
    [
        ("Orange.", ["Orange"]), ("Desert, red.", ["Desert", "red"]), ("a; b, and c", ["a", "b", "c"]),
        ("$28,000", ["$28,000"]), ("1,234,567 units", ["1,234,567 units"]), ("approximately 10", []),
        ("Smartphones; higher than tablets.", []), ("one two three four", []), ("a, b, c, d", []), ("", []),
    ],
)  # fmt: skip
def test_what_is_a_short_answer(gold, items):
    assert short_items(gold) == items


def chartinsights(folder: Path) -> Path:
    """HKUSTDial/ChartInsights: four forms of each question, the JSON in GBK, charts named by their number."""

    def forms(question: str, gold, options: list, note: str = "") -> list[dict]:
        note = note or f" with {question}"
        return [
            {"fill_the_blank": [f"{question}?NOTE:Begin your answer with 'My answer is [your answer]'.", gold]},
            {"Multiple_choice": [
                f"{question}?NOTE:Choose your answer from the following options {options}.Begin your answer with 'My "
                "option is [Your option].'", gold[0] if isinstance(gold, list) and len(gold) == 1 else gold]},
            {"Judgement_question": [f"Is it so{note}?NOTE:You only need to answer 'Yes' or 'No'.", "Yes"]},
            {"Corrective_question": [f"It is so{note}.NOTE:Please find the error in this sentence.", gold]},
        ]  # fmt: skip

    pairs = [
        (7, "data retrieval", forms("How many bars are there", 2, [1, 2, 3])),
        (7, "order", forms("Which are the top two", ["Mon", "Tue"], [("Mon", "Tue"), ("Tue", "Mon")])),
        (8, "distribution", forms("Which range of the y-axis do most points fall within", [3, 39], [(3, 39), (0, 3)])),
        (8, "anomaly", forms("Which bar’s length is odd", ["Thur"], ["Thur", "Mon"], "’s")),
        (9, "extreme", forms("What is the largest value", "47%", ["47%", "53%"])),
    ]
    (folder / "Charts").mkdir(parents=True)
    for number in (7, 8):
        (folder / "Charts" / f"{number}.png").write_bytes(png(number))
    made = [
        {"image_index": number, "type": kind, "QA_pairs": each, "image_type": "common bar"}
        for number, kind, each in pairs
    ]
    (folder / "test_qa_pairs.json").write_bytes(json.dumps(made, ensure_ascii=False).encode("gbk"))
    return folder


def test_chartinsights_has_four_forms_of_each_question(tmp_path):
    found = evaluated("chartinsights", chartinsights(tmp_path / "insights"))
    assert len(found) == 12 and found.skipped == []
    assert found.notes == [
        "8 of 20 questions are unscorable and left out: 4 with a sentence to be corrected, 4 with a chart that is not "
        "among the files"
    ]
    blank, choice, judged, order, ordered, _, spread, ranges, _, odd, bar, _ = found.questions
    assert (blank.question, blank.answers, blank.chart_type) == ("How many bars are there?", ("2",), "common bar")
    assert choice.choices == ("A. 1", "B. 2", "C. 3") and choice.answers[0] == "B" and "letter" in choice.instruction
    assert (judged.answers, judged.answer_kind) == (("Yes",), "yes/no")
    assert (order.answers, order.answer_kind) == (("[Mon, Tue]",), "ordered list") and ordered.answers[0] == "A"
    assert (spread.answers, ranges.choices) == (("3 to 39",), ("A. 3 to 39", "B. 0 to 3"))
    assert "’" in odd.question and (odd.answers, bar.answers[0]) == (("Thur",), "A")
    assert odd.open_image().tobytes() == chart(8).tobytes()
    assert all(grade(one.answers[0], one).correct for one in found.questions)
    with pytest.raises(ValueError, match="for evaluation only"):
        load_questions("chartinsights", path=tmp_path / "insights")


def test_nothing_that_can_be_scored_is_said(tmp_path):
    folder = chartinsights(tmp_path / "insights")
    for file in (folder / "Charts").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"no question that can be scored \(a chart that is not among the files\)"):
        evaluated("chartinsights", folder)


def test_plotqa_takes_the_longer_of_two_versions_and_chartfc_the_name_of_a_table(tmp_path):
    plots = plotqa_files(tmp_path / "plots")
    pairs = json.loads((plots / "plotqa-qa-test.json").read_text())["qa_pairs"]
    (plots / "plotqa-qa-test.json").unlink()
    for name, rows in (("v1", pairs[:2]), ("v2", pairs)):
        (plots / "test" / f"qa_pairs_{name}.json").write_text(json.dumps({"qa_pairs": rows}))
    assert len(evaluated("plotqa", plots)) == 3

    claims = chartfc_files(tmp_path / "claims")
    file = claims / "test_barplot_seaborn_qa.json"
    file.write_text(file.read_text().replace('21.png"', '21.html.csv"'))
    found = evaluated("chartfc", claims).questions
    assert found[0].open_image().tobytes() == chart(21).tobytes()
