"""Tiny copies of the sets for counting and grounding, in the schema and layout in which they are published."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature

from tests.chart_copies import chart, png


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
