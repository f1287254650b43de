"""Tiny copies of the data sets, in the schema and layout in which they are published."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

TABLE = {"columns": ["year", "value"], "rows": [["2010", "5"], ["2011", "7"]]}


def chart(shade: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (shade % 256, shade // 256, 9))


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    chart(shade).save(buffer, "PNG")
    return buffer.getvalue()


def chart_rvr(distinct: int = 12, times: int = 3) -> Dataset:
    """Two questions a chart; the whole set several times over, as its loader delivers it."""
    rows = [
        {
            "image": chart(i // 2),
            "query": f"How large is bar {i}?" if i % 3 else f"Bar {i} is the tallest",
            "label": str(i) if i % 3 else "Yes",
            "prompt": "an old prompt",
            "reasoning": f"Step 1: bar {i} is {i}.",
            "chart_type": "bar",
            "table": TABLE if i else None,
        }
        for i in range(distinct)
    ]
    cells = {"columns": List(Value("string")), "rows": List(List(Value("string")))}
    texts = {name: Value("string") for name in ("query", "label", "prompt", "reasoning", "chart_type")}
    return Dataset.from_list(rows * times, features=Features({"image": ImageFeature(), **texts, "table": cells}))


def evochart_qa(rows: int = 6, first_shade: int = 1000) -> Dataset:
    texts = {name: Value("string") for name in ("question", "answer", "attribute", "chart_type")}
    return Dataset.from_list(
        [
            {
                "image": chart(first_shade + i),
                "question": f"What is the value of bar {i}?",
                "answer": str(100 + i),
                "attribute": "retrieval",
                "is_clear": i % 2 == 0,
                "chart_type": "bar",
            }
            for i in range(rows)
        ],
        features=Features({"image": ImageFeature(), "is_clear": Value("bool"), **texts}),
    )


def chartqa_hub() -> DatasetDict:
    """HuggingFaceM4/ChartQA: label as a list, a ClassLabel, and a split called val."""
    kinds = ClassLabel(names=["human", "machine"])
    features = Features(
        {"image": ImageFeature(), "query": Value("string"), "label": List(Value("string")), "human_or_machine": kinds}
    )

    def split(first: int, rows: int) -> Dataset:
        made = [
            {"image": chart(first + i), "query": f"Which {i}?", "label": [f"{i}%"], "human_or_machine": i % 2}
            for i in range(rows)
        ]
        return Dataset.from_list(made, features=features)

    # The first test image is also a training image.
    return DatasetDict(train=split(0, 8), val=split(100, 3), test=split(7, 4))


def chartqa_mirror() -> DatasetDict:
    """ahmed-masry/ChartQA: the image as bytes, the label as a string."""
    rows = [
        {"imgname": f"{i}.png", "query": f"Which {i}?", "label": str(i), "type": "human", "image": png(i)}
        for i in range(4)
    ]
    return DatasetDict(train=Dataset.from_list(rows), test=Dataset.from_list([{**rows[0], "image": png(50)}]))


def chartqa_test_only() -> DatasetDict:
    """lmms-lab/ChartQA."""
    rows = [
        {"type": kind, "question": "Which?", "answer": "5", "image": chart(i)}
        for i, kind in enumerate(["human_test", "augmented_test"])
    ]
    texts = {name: Value("string") for name in ("type", "question", "answer")}
    return DatasetDict(test=Dataset.from_list(rows, features=Features({"image": ImageFeature(), **texts})))


def chartqa_files(folder: Path) -> Path:
    """ChartQA Dataset/{split}/{split}_{human,augmented}.json, png/, tables/, annotations/."""
    for split, shade in (("train", 0), ("val", 20), ("test", 40)):
        root = folder / "ChartQA Dataset" / split
        for part in ("png", "tables", "annotations"):
            (root / part).mkdir(parents=True)
        for kind, number in (("human", 0), ("augmented", 1)):
            name = f"{shade + number}"
            (root / "png" / f"{name}.png").write_bytes(png(shade + number))
            with (root / "tables" / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([TABLE["columns"], *TABLE["rows"]])
            (root / "annotations" / f"{name}.json").write_text(json.dumps({"type": "v_bar"}))
            rows = [{"imgname": f"{name}.png", "query": f"Which {kind}?", "label": "5"}]
            (root / f"{split}_{kind}.json").write_text(json.dumps(rows))
    return folder


def plotqa_files(folder: Path) -> Path:
    for split, shade in (("train", 0), ("val", 10), ("test", 20)):
        images = folder / split / "png"
        images.mkdir(parents=True)
        pairs = []
        for number, answer in enumerate(["Yes", 12.5, 1995]):
            (images / f"{shade + number}.png").write_bytes(png(shade + number))
            pairs.append(
                {
                    "image_index": shade + number,
                    "qid": number,
                    "question_string": f"What is {number}?",
                    "answer": answer,
                    "template": "data_retrieval",
                    "type": "vbar_categorical",
                }
            )
        (folder / f"plotqa-qa-{split}.json").write_text(json.dumps({"qa_pairs": pairs}))
    return folder


def chartfc_files(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir(parents=True)
    for split, shade in (("train", 0), ("valid", 10), ("test", 20)):
        rows = []
        for label in (1, 0):
            (images / f"{shade + label}.png").write_bytes(png(shade + label))
            rows.append({"image_filename": f"{shade + label}.png", "question": f"claim {label}", "answer": label})
        (folder / f"{split}_barplot_seaborn_qa.json").write_text(json.dumps(rows))
    return folder


def chartqapro() -> DatasetDict:
    rows = [
        (["Which two?"], ["[Asia, Europe]."], "Factoid", ["NO", "NO"], ""),
        (["Which year?"], ["2010"], "Factoid", ["YES"], "It rained."),
        (["How many?", "And of these?", "Which year?"], ["3", "2", "1999"], "Conversational", ["NO", "NO", "YES"], ""),
        (["It grew."], ["True"], "Fact Checking", ["NO"], ""),
        (["Which? A) 1 B) 2"], ["B"], "Multi Choice", ["NO"], ""),
    ]
    made = [
        {"image": png(i), "Question": q, "Answer": a, "Question Type": kind, "Year": year, "Paragraph": text}
        for i, (q, a, kind, year, text) in enumerate(rows)
    ]
    return DatasetDict(test=Dataset.from_list(made))


def chartbench_files(folder: Path) -> Path:
    """SincereX/ChartBench, its zip files unpacked: lines with paths, statements in pairs, a value by itself."""
    for split, shade in (("train", 0), ("test", 10)):
        rows = []
        for number in range(2):
            place = Path("data", split, "bar", "vertical_single", f"chart_{number}", "image.png")
            (folder / place).parent.mkdir(parents=True)
            (folder / place).write_bytes(png(shade + number))
            drawn = {"chart": "bar", "image": "vertical_single"}
            pair = [
                {"query": "The bar is the tallest.", "label": "Yes"},
                {"query": "The bar is not the tallest.", "label": "No"},
            ]
            rows.append({"image": f"./{place}", "type": {**drawn, "task": "VC", "QA": "Acc+"}, "conversation": pair})
        value = [{"query": "How much is B?", "label": "42"}]
        rows.append({**rows[-1], "type": {**drawn, "task": "NQA", "QA": "GPT-acc"}, "conversation": value})
        lines = [json.dumps({"id": number, **row}) for number, row in enumerate(rows)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def figureqa() -> DatasetDict:
    pairs = [{"question": "Is it red?", "answer": "Yes."}, {"question": "Is it blue?", "answer": "No."}]
    turns = List({"question": Value("string"), "answer": Value("string")})
    features = Features({"image": ImageFeature(), "qa": turns})
    return DatasetDict(train=Dataset.from_list([{"image": chart(i), "qa": pairs} for i in range(2)], features=features))


def jsonl_files(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for split, shade in (("train", 0), ("test", 10)):
        rows = []
        for number in range(2):
            (folder / "images" / f"{shade + number}.png").write_bytes(png(shade + number))
            rows.append(
                {"image": f"images/{shade + number}.png", "question": "How many?", "answer": 5, "answer_kind": "count"}
            )
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
