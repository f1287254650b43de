"""The two tasks beside charts: their sets in the schemas that are published, and those that are drawn."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import datasets
import numpy as np
import pytest
from PIL import Image

from charts import counting, grounding
from charts.answers import grade
from charts.boxes import gold_boxes, read_box
from charts.loading import load_questions
from charts.parsing import parse_completion
from charts.synthetic import COLORS, bars, random_chart
from tests import counting_and_grounding_copies as copies
from tests.test_adapters import saved


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_clevr_asks_for_exact_counts_and_says_what_else_it_asks(tmp_path):
    train = load_questions("clevr", path=saved(copies.clevr_train(), tmp_path / "train"))
    assert [question.answers for question in train.questions] == [("3",), ("4",), ("5",)]
    assert {(question.answer_kind, question.rule) for question in train.questions} == {("count", "strict")}
    assert grade("three", train.questions[0]).correct and not grade("4", train.questions[0]).correct
    other = load_questions(
        "clevr", purpose="evaluate", split="train", path=saved(copies.clevr_all_kinds(), tmp_path / "b")
    )
    assert [question.answer_kind for question in other.questions] == ["count", "yes/no", "text"]
    assert [question.kind for question in other.questions] == ["count", "yes/no", "attribute"]


def test_super_clevr_is_read_from_the_hubs_rows_and_from_r1vs_file(tmp_path):
    hub = load_questions("clevr", purpose="evaluate", path=saved(copies.super_clevr(), tmp_path / "hub"))
    assert [question.answers for question in hub.questions] == [("4",), ("5",)]
    assert hub.questions[0].open_image().tobytes() == copies.chart(74).tobytes()
    own = load_questions("clevr", purpose="evaluate", path=copies.super_clevr_files(tmp_path / "files"))
    assert own.questions[0].answers == ("3",) and own.questions[0].open_image().size == (40, 30)


def test_clevr_is_not_evaluated_on_its_training_rows_unless_told(tmp_path):
    path = saved(copies.clevr_train(), tmp_path / "train")
    with pytest.raises(ValueError, match="no split 'test'"):
        load_questions("clevr", purpose="evaluate", path=path)


PHRASES = ["Where is this in the image: left cup?", "Where is this in the image: cup?"]


@pytest.mark.parametrize("split", [None, "testA", "testB"])
def test_refcoco_of_the_hub_has_corner_and_size_and_a_question_for_every_phrase(tmp_path, split):
    path = saved(copies.refcoco_hub(), tmp_path / "hub")
    found = load_questions("refcoco", purpose="evaluate", split=split, path=path)
    assert [question.question for question in found.questions[:2]] == [
        "Where is this in the image: left cup?",
        "Where is this in the image: the cup on the left?",
    ]
    assert len(found) == 4, "phrases that are alike are one"
    one = found.questions[0]
    assert (one.answers, one.image_size, one.rule, one.answer_kind) == (
        ("[4.15, 5.2, 24.25, 15.5]",),
        (40, 30),
        "iou",
        "box",
    )
    with pytest.raises(ValueError, match="has no split 'train': it has val, test, testA, testB"):
        load_questions("refcoco", path=path)


def test_refcoco_with_corners_and_paths_is_the_same_boxes(tmp_path):
    path = copies.refcoco_files(tmp_path / "files")
    train = load_questions("refcoco", path=path)
    assert [question.question for question in train.questions] == PHRASES * 2
    for split in ("validation", "val", "test"):
        held = load_questions("refcoco", purpose="evaluate", split=split, path=path)
        assert {question.answers for question in held.questions} == {("[4.15, 5.2, 24.25, 15.5]",)}
    own = load_questions("refcoco", path=copies.refcoco_rows(tmp_path / "rows"))
    assert {(question.question, question.answers) for question in own.questions} == {
        (PHRASES[0], ("[4.15, 5.2, 24.25, 15.5]",))
    }


def test_refcoco_of_the_hub_has_no_rows_to_train_on():
    with pytest.raises(ValueError, match="--dataset-path"):
        load_questions("refcoco")


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([4, 5, 39, 29], "is not in the image of 40 x 30"),  # in truth corners: as a size they lead out of the image
        ([20, 5, -3, 10], "is not left, top, right and bottom"),
        ([500, 500, 100, 100], "is not in the image of 40 x 30"),  # from 0 to 1000
        ([4, 5, 9], "is not x, y, width and height"),
        (None, "is not x, y, width and height"),
    ],
)
def test_boxes_of_another_form_or_frame_are_refused_with_the_reason(tmp_path, box, reason):
    rows = [{"image": copies.png(1), "answer": ["a cup"], "question": "?", "bbox": box}]
    path = saved(datasets.DatasetDict(val=datasets.Dataset.from_list(rows)), tmp_path / "hub")
    with pytest.raises(ValueError, match=reason):
        load_questions("refcoco", purpose="evaluate", path=path)


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": [1, 2, 30, 20], "answer_kind": "box"},
        {"solution": "<answer>(1,2),(30,20)</answer>", "rule": "iou"},
        {"answers": [[1, 2, 30, 20], [5, 5, 6, 6]], "answer_kind": "box"},
    ],
)
def test_own_rows_may_ask_for_boxes(tmp_path, fields):
    (tmp_path / "a.png").write_bytes(copies.png(1))
    row = {"image": "a.png", "question": "Where is the cup?", **fields}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    one = load_questions("custom", path=tmp_path).questions[0]
    assert (one.answers[0], one.answer_kind, one.image_size) == ("[1, 2, 30, 20]", "box", (40, 30))
    assert grade("[1, 2, 30, 20]", one).correct and not grade("[1, 2, 9, 9]", one).correct


def test_a_box_without_an_image_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text(
        json.dumps({"question": "Where?", "answer": [1, 2, 3, 4], "answer_kind": "box"})
    )
    with pytest.raises(ValueError, match="there is no image"):
        load_questions("custom", path=tmp_path)


def test_a_bars_box_is_what_the_picture_shows_of_its_colour():
    """Measured in the picture, without a look at how it is drawn."""
    for question, _ in [next(stream) for stream in [grounding.worked_examples("test", 7)] for _ in range(40)]:
        pixels, box = np.asarray(question.open_image()), read_box(question.answers[0])
        shade = pixels[int(box[3]) - 1, int(box[0] + box[2]) // 2]
        assert tuple(shade) in COLORS.values()
        rows, columns = np.nonzero((pixels == shade).all(axis=2))
        assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_the_bar_that_is_asked_for_is_the_one_whose_box_is_gold():
    for question, completion in [next(stream) for stream in [grounding.worked_examples("train", 7)] for _ in range(60)]:
        values = {label: int(value) for label, value in question.table["rows"]}
        label = re.search(r'Step 1: \["(\w)"', completion)[1]
        if question.kind in ("tallest", "shortest"):
            assert values[label] == (max if question.kind == "tallest" else min)(values.values())
        elif question.kind == "label":
            assert question.question == f"Where is bar {label}?"
        else:
            colour = next(name for name in COLORS if name in question.question)
            box = read_box(question.answers[0])
            middle = (int(box[0] + box[2]) // 2, int(box[1] + box[3]) // 2)
            assert question.open_image().getpixel(middle) == COLORS[colour]
        assert grade(parse_completion(completion).answer, question).correct and parse_completion(completion).well_formed


def test_a_count_is_the_number_of_pieces_in_the_picture():
    """Pieces of one colour, counted by flooding: what is drawn is what is asked."""
    for question, completion in [next(stream) for stream in [counting.worked_examples("train", 7)] for _ in range(12)]:
        image, pieces = question.open_image(), []
        for y in range(0, image.height):
            for x in range(0, image.width):
                shade = image.getpixel((x, y))
                if shade != (255, 255, 255):
                    before = np.asarray(image)
                    flood(image, (x, y))
                    pieces.append((shade, int((before != np.asarray(image)).any(axis=2).sum())))
        assert len(pieces) == len(question.table["rows"])
        colours = Counter(
            next(name for name, shade in counting.COLORS.items() if shade == piece[0]) for piece in pieces
        )
        assert colours == Counter(color for color, _ in question.table["rows"])
        words = question.question.removeprefix("How many ").removesuffix(" are there?").split()
        meant = [
            row for row in question.table["rows"] if all(word in ("objects", row[0], f"{row[1]}s") for word in words)
        ]
        assert question.answers == (str(len(meant)),)
        assert grade(parse_completion(completion).answer, question).correct and parse_completion(completion).well_formed


def flood(image: Image.Image, place: tuple[int, int]) -> None:
    from PIL import ImageDraw

    ImageDraw.floodfill(image, place, (255, 255, 255))


@pytest.mark.parametrize("name", ["counting", "grounding"])
def test_splits_share_no_picture_and_guessing_helps_little(name):
    parts = {
        split: load_questions(name, purpose="evaluate", split=split, subset_size=300).questions
        for split in ("train", "validation", "test")
    }
    pictures = [{question.image_id for question in part} for part in parts.values()]
    assert not pictures[0] & pictures[1] and not pictures[0] & pictures[2] and not pictures[1] & pictures[2]
    for part in parts.values():
        commonest = Counter(question.answers for question in part).most_common(1)[0][1]
        assert commonest < (0.35 if name == "counting" else 0.02) * len(part)
        assert len({question.id for question in part}) == len(part)


def test_a_scenes_pieces_do_not_touch_and_stay_inside():
    for seed in range(50):
        scene = counting.random_scene("test", random.Random(seed))
        places = [(one.x, one.y, one.x + one.side, one.y + one.side) for one in scene.things]
        assert all(0 <= low < high <= 112 for x1, y1, x2, y2 in places for low, high in ((x1, x2), (y1, y2)))
        for i, (x1, y1, x2, y2) in enumerate(places):
            assert all(x2 < a or c < x1 or y2 < b or d < y1 for a, b, c, d in places[:i])


def test_bars_have_boxes_in_the_order_of_their_labels():
    chart = random_chart("test", random.Random(3))
    found = bars(chart)
    assert list(found) == list(chart.labelled)
    assert all(gold_boxes(list(box)) for box in found.values())
    edges = [edge for box in found.values() for edge in (box[0], box[2])]
    assert edges == sorted(edges) and edges[-1] <= 111
