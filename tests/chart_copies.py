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


def clevr_train() -> DatasetDict:
    """leonardPKU/clevr_cogen_a_train: the answer inside its tags."""
    rows = [
        {"image": chart(i), "problem": f"How many {what} are there?", "solution": f"<answer> {i + 3} </answer>"}
        for i, what in enumerate(["objects", "red things", "cubes"])
    ]
    texts = {name: Value("string") for name in ("problem", "solution")}
    return DatasetDict(train=Dataset.from_list(rows, features=Features({"image": ImageFeature(), **texts})))


def clevr_all_kinds() -> DatasetDict:
    """MMInstruction/Clevr_CoGenT_ValB: evaluation rows in a split named train; not all are counts."""
    asked = [("How many cubes are there?", "2"), ("Is there a red cube?", "no"), ("What colour is it?", "yellow")]
    rows = [
        {"image": chart(60 + i), "problem": question, "solution": f"<answer> {answer} </answer>"}
        for i, (question, answer) in enumerate(asked)
    ]
    texts = {name: Value("string") for name in ("problem", "solution")}
    return DatasetDict(train=Dataset.from_list(rows, features=Features({"image": ImageFeature(), **texts})))


def super_clevr() -> DatasetDict:
    """jigsaw-r1/super_clevr: the image as bytes, the count as a number."""
    rows = [
        {"image_id": f"superCLEVR_new_02500{i}.png", "image": png(70 + i), "question": "How many?", "ground_truth": i}
        for i in (4, 5)
    ]
    return DatasetDict(test=Dataset.from_list(rows))


def super_clevr_files(folder: Path) -> Path:
    """R1-V's superclevr_test200_counting_problems.jsonl beside its images."""
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(png(70))
    row = {"image_path": "./images/a.png", "question": "How many different items are there?", "ground_truth": 3}
    (folder / "superclevr_test200_counting_problems.jsonl").write_text(json.dumps(row))
    return folder


def refcoco_hub() -> DatasetDict:
    """lmms-lab/RefCOCO: `question` asks for a caption, the phrases are in `answer`, boxes are x, y, width, height."""
    caption = "Please carefully observe the area circled in the image and come up with a caption for the area."
    texts = {name: Value("string") for name in ("question_id", "question", "file_name")}
    numbers = {name: List(Value("float32")) for name in ("segmentation", "bbox")}
    features = Features({"image": ImageFeature(), "answer": List(Value("string")), "iscrowd": Value("int8"),
                         **texts, **numbers})  # fmt: skip
    rows = [
        {
            "question_id": str(i),
            "image": chart(80 + i),
            "question": caption,
            "answer": ["left cup", "the cup on the left.", "left cup"],
            "segmentation": [1.0, 2.0, 3.0, 4.0],
            "bbox": [4.15, 5.2, 20.1, 10.3],
            "iscrowd": 0,
            "file_name": "COCO_train2014_000000581857_16.jpg",
        }
        for i in range(2)
    ]
    split = Dataset.from_list(rows, features=features)
    return DatasetDict(val=split, test=split, testA=split, testB=split)


def refcoco_files(folder: Path) -> Path:
    """jxu124/refcoco with COCO's images below it: boxes are corners, images are paths."""
    images = folder / "coco" / "train2014"
    images.mkdir(parents=True)
    for split, shade in (("train", 90), ("validation", 94), ("test", 95), ("testB", 96)):
        names = [f"COCO_train2014_{shade + i:012d}.jpg" for i in range(2 if split == "train" else 1)]
        for i, name in enumerate(names):
            chart(shade + i).save(images / name)
        rows = [
            {
                "sentences": [{"raw": "Left cup.", "sent": "left cup", "sent_id": 1, "tokens": ["left", "cup"]}],
                "raw_anns": json.dumps({"bbox": [4.15, 5.2, 20.1, 10.3]}),
                "raw_image_info": json.dumps({"file_name": name, "width": 40, "height": 30}),
                "image_path": f"coco/train2014/{name}",
                "bbox": [4.15, 5.2, 24.25, 15.5],
                "captions": ["left cup", "cup"],
                "split": split,
            }
            for name in names
        ]
        (folder / "data").mkdir(exist_ok=True)
        Dataset.from_list(rows).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def refcoco_rows(folder: Path) -> Path:
    """A JSON file of VLM-R1's rec_jsons_processed: the box is `solution`, corners in pixels of the image."""
    (folder / "coco").mkdir(parents=True)
    (folder / "coco" / "a.png").write_bytes(png(99))
    row = {
        "image": "coco/a.png",
        "problem": "Please provide the bounding box of: left cup",
        "normal_caption": "left cup",
    }
    (folder / "train.json").write_text(json.dumps([row | {"solution": [4.15, 5.2, 24.25, 15.5]}] * 2))
    return folder
