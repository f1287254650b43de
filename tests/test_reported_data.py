"""What users' data did before it was mended: a table of inputs, the old outcome and the right one.

python -m tests.test_reported_data        what each input gives now
"""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path

import datasets
import pytest

from tests.chart_copies import chart, png
from tests.reported_inputs import (
    NAN,
    UNUSABLE,
    Case,
    asked,
    cells,
    chartqa_of_numbers,
    chartqa_without_imgname,
    files,
    golds,
    good,
    in_folders_of_splits,
    lines,
    linked,
    linked_chartfc,
    linked_parquet,
    notes,
    others,
    outcome,
    parquet,
    pictures,
    repeats,
    saved,
    size_and_notes,
    skipped,
)

IMAGE = datasets.Image()
BARE = {"question": "How many bars?", "answer": "5"}
READ, BLIND = "How many bars? ('5',) picture", "How many bars? ('5',) no picture"
STORED = {"bytes": png(1), "path": None}
BASE64 = "data:image/png;base64,iVBORw0KGgo="
PROBLEM = {"problem": "<image>How many bars?", "answer": "5", "images": ["0.png"]}
TURNS = [{"role": "user", "content": "<image>\nHow many bars?"}, {"role": "assistant", "content": "5"}]
SWIFT = {"messages": TURNS, "images": ["0.png"], "objects": None}
SOLUTION = {"messages": TURNS[:1], "images": ["0.png"], "solution": "<think>6</think> <answer>5</answer>"}
GROUNDED = {"messages": [{"role": "user", "content": "<image>How high is <bbox>?"}, TURNS[1]], "images": ["0.png"]}
SAID = [{"from": "human", "value": "<image>\nHow many bars?"}, {"from": "gpt", "value": "5"}]
LLAVA = {"id": "a", "image": "0.png", "conversations": SAID}
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many bars?"}]}]
TWO_PARTS = json.dumps(good(question="Which?")) + "\n" + json.dumps(good(question="What?"))
TEN = "\n".join(json.dumps(good(image=f"{n // 2}.png", question=f"Which {n}?")) for n in range(10))
ALONE = "['questions.jsonl is the only file: 1 of its 5 charts are for evaluation"
CHINESE = json.dumps(good(question="多少?"), ensure_ascii=False)
EVALUATE = {"purpose": "evaluate"}

# fmt: off
COLUMNS = [
    Case("images: one path", lines({**BARE, "images": ["0.png"]}), asked, BLIND, READ),
    Case("images: one decoded picture", saved({**BARE, "images": [chart(1)]}, images=datasets.List(IMAGE)), asked,
         BLIND, READ),
    Case("images: bytes and path", parquet({**BARE, "images": [STORED]}), asked, BLIND, READ),
    Case("images: several", lines({**BARE, "images": ["0.png", "1.png"]}), asked,
         BLIND, "train row 0: 2 images in the column images"),
    Case("image: a list of one", lines(good(image=["0.png"])), asked, "refused", READ),
    Case("image: base64", lines(good(image=BASE64)), asked, UNUSABLE + "image file", "image as base64 text"),
    Case("image: an address", lines(good(image="https://host/0.png")), asked,
         UNUSABLE + "image file", "is an address: download it"),
    Case("no picture anywhere", lines(BARE), notes, "[]", "No row has an image"),
    Case("images: empty everywhere", lines({**BARE, "images": []}), notes,
         "[]", "no row has an image (leave the column out to ask about text alone); columns found: answer, images"),
    Case("other name: paths", lines({**BARE, "chart": "0.png"}), notes, "[]", "and chart looks like pictures"),
    Case("other name: features", saved({**BARE, "figure": chart(1)}, figure=IMAGE), notes,
         "[]", "and figure looks like pictures"),
    Case("other name: bytes", parquet({**BARE, "photo": png(1)}), notes, "[]", "and photo looks like pictures"),
    Case("other name: base64", lines({**BARE, "img": BASE64}), notes, "[]", "and img looks like pictures"),
    Case("a second picture", lines(good(thumbnail="1.png")), notes,
         "[]", "The column thumbnail looks like pictures and is not read"),
    Case("EasyR1", lines(PROBLEM), asked, UNUSABLE + "no question", READ),
    Case("ms-swift", lines(SWIFT), asked, UNUSABLE + "no question", READ),
    Case("ms-swift: solution", lines(SOLUTION), asked, UNUSABLE + "no question", READ),
    Case("ms-swift: grounding", lines(GROUNDED), asked, UNUSABLE + "no question", "the question has <bbox> in it"),
    Case("LLaVA", files(train__json=json.dumps([LLAVA])), asked, "refused", READ),
    Case("TRL: a prompt of parts", lines({"prompt": PARTS, "image": "0.png", "solution": "5"}), asked,
         UNUSABLE + "no question", READ),
    Case("several turns", lines({**SWIFT, "messages": TURNS * 2}), asked,
         UNUSABLE + "no question", "a conversation of 2 questions and 2 answers"),
    Case("a marker and no picture", lines({**SWIFT, "images": []}), asked,
         UNUSABLE + "no question", "<image> in it and the row no picture"),
    Case("other columns", lines({"img": "0.png", "q": "How many?", "a": "5"}), asked, UNUSABLE + "no question",
         "columns found: a, img, q (img looks like pictures and is not read); wanted: image or images; question"),
]
VALUES = [
    Case("NaN as an answer", lines(good(answer=NAN)), golds, "[('nan',)]", "train row 0: no answer"),
    Case("NaN in a column of numbers", parquet(*[{**BARE, "answer": 7.5}] * 200, {**BARE, "answer": NAN}), skipped,
         "[]", "[('train row 200', 'no answer')]"),
    Case("NaN among accepted answers", lines(good(answers=["5", NAN])), golds, "[('5', 'nan')]", "[('5',)]"),
    Case("NaN beside an answer", lines(good(chart_type=NAN, instruction=NAN, tolerance=NAN)), others,
         "(nan, 'nan', nan)", "(None, '', None)"),
    Case("a whole float", lines(good(answer=2015.0)), golds, "[('2015.0',)]", "[('2015',)]"),
    Case("a whole float of a column", chartqa_of_numbers, golds,
         "[('2015.0',), ('7.5',)]", "[('2015',), ('7.5',)]", "chartqa", settings=EVALUATE),
    Case("JSON: whole numbers beside others", files(train__json=json.dumps([good(answer=2015), good(answer=7.5)])),
         golds, "[('2015.0',), ('7.5',)]", "[('2015',), ('7.5',)]"),
    Case("a float of 32 bits", parquet({**BARE, "answer": 12.1}, answer=datasets.Value("float32")), golds,
         "[('12.100000381469727',)]", "[('12.1',)]"),
    Case("a date", parquet({**BARE, "answer": datetime(2007, 1, 1)}), golds,
         "[('2007-01-01 00:00:00',)]", "[('2007-01-01',)]"),
    Case("CSV: null elsewhere", cells("NA", "None", "null", "nan"), golds,
         "refused", "[('NA',), ('None',), ('null',), ('nan',)]"),
    Case("CSV: leading zeros", cells("007", "12"), golds, "[('7',), ('12',)]", "[('007',), ('12',)]"),
    Case("CSV: long integers", cells("12345678901234567890", "2.50"), golds,
         "[('1.2345678901234567e+19',), ('2.5',)]", "[('12345678901234567890',), ('2.50',)]"),
    Case("CSV: exponents", cells("1e5", "3"), golds, "[('100000.0',), ('3.0',)]", "[('1e5',), ('3',)]"),
    Case("CSV: true and false", cells("True", "FALSE"), golds, "[('Yes',), ('No',)]", "[('True',), ('FALSE',)]"),
    Case("CSV: one file", cells("007", "12", name="test__csv"), golds,
         "[('7',), ('12',)]", "[('007',), ('12',)]", path="test.csv"),
    Case("CSV: an image folder", cells("NA", "7", name="metadata__csv", head="file_name,question,answer"), golds,
         "refused", "[('NA',), ('7',)]"),
    Case("a rule", lines(good(rule="exact")), golds, "[('5',)]", "row 0: rule 'exact': choose one of strict, relaxed"),
    Case("a kind of answer", lines(good(answer_kind="float")), golds,
         "[('5',)]", "train row 0: answer_kind 'float': choose one of number, year"),
    Case("a negative tolerance", lines(good(tolerance=-0.1)), golds,
         "[('5',)]", "train row 0: tolerance -0.1: give a share of the answer, at least 0 and below 1"),
    Case("a tolerance of 5", lines(good(tolerance=5)), golds, "[('5',)]", "row 0: tolerance 5: give a share"),
    Case("a tolerance of infinity", lines(good(tolerance=float("inf"))), golds, "[('5',)]", "tolerance inf: give"),
    Case("a tolerance in words", lines(good(tolerance="5%")), golds, UNUSABLE + "could not", "tolerance '5%': give a"),
    Case("a list as the answer", lines(good(answer=["blue", "red"])), golds,
         "[('blue', 'red')]", "the answer is a list of 2: call the column answers"),
    Case("an object as the answer", lines(good(answer={"value": 5})), golds,
         "[(\"{'value': 5}\",)]", "the answer {'value': 5} is neither text nor a number"),
    Case("semicolons", cells("3,5", head="image;question;answer", mark=";"), golds,
         "refused", "train.csv: its columns are separated by semicolons (';')"),
    Case("GBK", files(train__jsonl=CHINESE.encode("gbk")), golds,
         "refused: ", "in line 1 is not UTF-8; if it is GBK, Latin-1 or Windows-1252, convert it"),
    Case("UTF-16 with its mark", files(train__jsonl=TWO_PARTS.encode("utf-16")), golds,
         "refused: ", "[('5',), ('5',)]"),
    Case("UTF-16 without", files(train__csv=TWO_PARTS.encode("utf-16-le")), golds,
         "refused: ", "if it is UTF-16 without a mark"),
]
FILES = [
    Case("links to pictures", linked("files"), pictures, "refused", "3 pictures", path="snapshots/abc"),
    Case("a link to their folder", linked("folder"), pictures, "refused", "3 pictures", path="snapshots/abc"),
    Case("a link to the data", linked_parquet, pictures, "refused", "1 pictures", path="alias"),
    Case("a link in a published layout", linked_chartfc, pictures, "refused", "2 pictures", "chartfc", "set"),
    Case("JSON beside pictures", files(data__json=f"[{TEN.replace(chr(10), ',')}]"), pictures,
         "refused", "10 pictures"),
    Case("JSON beside splits of pictures", in_folders_of_splits("json"), golds,
         "refused", "[('2',)]", settings=EVALUATE),
    Case("metadata above the splits", in_folders_of_splits("metadata"), golds, "refused", "[('0',), ('1',)]"),
    Case("image for imgname", chartqa_without_imgname, pictures, "refused", "2 pictures", "chartqa"),
    Case("questions.jsonl, training", files(questions__jsonl=TEN), size_and_notes, "(10, [])", f"(8, {ALONE}"),
    Case("questions.jsonl, evaluation", files(questions__jsonl=TEN), size_and_notes,
         "(10, [])", f"(2, {ALONE}", settings=EVALUATE),
    Case("questions.jsonl of one chart", files(questions__jsonl=TWO_PARTS), notes,
         "[]", "training and evaluation share its questions"),
    Case("one file for both", files(mine__jsonl=TWO_PARTS), notes,
         "[]", "mine.jsonl is one split: training and evaluation on it share their questions", path="mine.jsonl"),
    Case("one file in a folder", files(mine__jsonl=TWO_PARTS), notes,
         "[]", "data is one split: training and evaluation on it share their questions"),
    Case("one file in a folder, evaluation", files(mine__jsonl=TWO_PARTS), notes,
         "refused", "data is one split: training and evaluation on it share their questions", settings=EVALUATE),
    Case("all charts shared", files(train__jsonl=TWO_PARTS, test__jsonl=TWO_PARTS), golds,
         "[]", "every chart of the 2 training rows is also a chart of the evaluation split"),
    Case("repeats below 1 %", repeats(3), notes, "['1,000 rows, 997 distinct", "[]"),
]
# fmt: on


@pytest.mark.parametrize("case", [*COLUMNS, *VALUES, *FILES], ids=lambda case: case.id)
def test_reported_data_have_the_right_outcome(case, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    assert case.right in outcome(case, folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        datasets.config.HF_DATASETS_CACHE = Path(place) / "cache"
        datasets.disable_progress_bars()
        for number, case in enumerate([*COLUMNS, *VALUES, *FILES]):
            (Path(place) / f"{number}").mkdir()
            found = outcome(case, Path(place) / f"{number}")
            state = "right" if case.right in found else "as before" if found.startswith(case.old) else "neither"
            print(f"{state:<10}{case.id:<34}{found[:200]}")
