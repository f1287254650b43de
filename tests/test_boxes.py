"""Boxes: many writings are one box, what is no box is wrong, and an answer is compared in the frame it was given in."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from charts.answers import grade
from charts.boxes import answered, from_corner_and_size, gold_boxes, iou, overlap, read_box
from charts.images import fit_image, open_image, seen_size
from charts.record import ChartQuestion
from models.families import FAMILIES as RECORDS
from models.families import family_of
from models.inputs import framed
from rewards import build_rewards, check_golds, chosen
from tests.families import FAMILIES, family_processor
from trainers.method import correctness

BOX = (10.0, 20.0, 30.0, 40.0)
ASKED = ChartQuestion(
    "q", "Where is it?", ("[100, 100, 300, 400]",), answer_kind="box", rule="iou", image_size=(640, 480)
)


@pytest.mark.parametrize(
    "text",
    [
        "[10, 20, 30, 40]",
        "[10,20,30,40]",
        " [ 10 , 20 , 30 , 40 ] ",
        "10, 20, 30, 40",
        "10 20 30 40",
        "(10, 20, 30, 40)",
        "(10,20),(30,40)",
        "(10, 20), (30, 40)",
        "[(10, 20), (30, 40)]",
        "[[10, 20], [30, 40]]",
        "[[10, 20, 30, 40]]",
        "10.0, 2e1, 30., +40",
        "<box>(10,20),(30,40)</box>",
        "<ref>the cat</ref><box>[[10, 20, 30, 40]]</box>",
        "<|object_ref_start|>a 2nd cat<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>",
        '{"bbox_2d": [10, 20, 30, 40], "label": "cat no. 3"}',
        '[{"bbox_2d": [10, 20, 30, 40]}]',
        '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "cat"}\n]\n```',
        "```\n[10, 20, 30, 40]\n```",
        '{"bbox": ["10", "20", "30", "40"]}',
        '{"box": [10, 20, 30, 40]}',
        '{"x1": 10, "x2": 30, "y1": 20, "y2": 40}',
    ],
)
def test_a_box_is_read_however_it_is_written(text):
    assert read_box(text) == BOX


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "the cat",
        "42",
        "[10, 20, 30]",
        "[10, 20, 30, 40, 50]",
        "[10, 20, 30, 40], [1, 2, 3, 4]",
        "[[10, 20, 30, 40], [1, 2, 3, 4]]",
        '[{"bbox_2d": [10, 20, 30, 40]}, {"bbox_2d": [1, 2, 3, 4]}]',
        '{"bbox_2d": [10, 20, 30, 40], "bbox": [1, 2, 3, 4]}',
        "[30, 40, 10, 20]",
        "[30, 20, 10, 40]",
        "[10, 40, 30, 20]",
        "[10, 20, 10, 40]",
        "[10, 20, 30, 20]",
        "[0, 0, 0, 0]",
        "[nan, 20, 30, 40]",
        '{"bbox_2d": [NaN, 20, 30, 40]}',
        '{"bbox_2d": [10, 20, Infinity, 40]}',
        '{"bbox_2d": [false, 20, 30, 40]}',
        '{"bbox_2d": [null, 20, 30, 40]}',
        '{"bbox_2d": [[10], 20, 30, 40]}',
        '{"bbox_2d": 10}',
        '{"bbox_2d": {"x1": 10}}',
        '{"box_2d": [20, 10, 40, 30]}',
        '{"point_2d": [10, 20]}',
        "{" * 1000,
        "[" * 1900,
        "[10, 20, 1e400, 40]",
        "[1,000, 20, 30, 40]",
        "[10px, 20px, 30px, 40px]",
        "[10%, 20%, 30%, 40%]",
        "[10, 20, 30, 40",
        "10, 20, 30, 40]",
        "(10, 20), (30, 40",
        "[x1, y1, x2, y2]",
        "x: 10, y: 20, w: 30, h: 40",
        "from 10 20 to 30 40",
        "[１０, ２０, ３０, ４０]",
        "[10, 20, 30, 40] " * 200,
    ],
)
def test_what_is_no_box_is_wrong_and_breaks_nothing(text):
    assert read_box(text) is None
    assert grade(text, ASKED).correct is False and grade(text, ASKED, "strict").correct is False
    assert overlap(text, ASKED) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),  # they touch
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
    ],
)
def test_iou_is_the_shared_area_over_the_area_of_both(one, other, share):
    assert iou(one, other) == pytest.approx(share)


edges = st.tuples(*[st.floats(-1e4, 1e4)] * 4)


def box_of(values) -> tuple[float, float, float, float]:
    (x1, x2), (y1, y2) = sorted(values[:2]), sorted(values[2:])
    assume(x2 - x1 > 1e-3 and y2 - y1 > 1e-3)
    return (x1, y1, x2, y2)


@given(edges, edges, st.floats(0.01, 100), st.floats(0.01, 100))
def test_iou_is_symmetric_bounded_and_the_same_in_every_frame(first, second, wider, higher):
    one, other = box_of(first), box_of(second)
    share = iou(one, other)
    assert 0.0 <= share <= 1.0 and share == iou(other, one)
    assert iou(one, one) == pytest.approx(1.0)
    stretched = [(x1 * wider, y1 * higher, x2 * wider, y2 * higher) for x1, y1, x2, y2 in (one, other)]
    assert iou(*stretched) == pytest.approx(share, abs=1e-6)


@given(st.text(max_size=80) | st.lists(st.floats() | st.integers() | st.none(), max_size=6).map(str), edges)
@example("", (0.0, 1.0, 0.00390625, 0.0))
def test_no_answer_raises_and_every_gold_is_read_back(text, values):
    gold = gold_boxes(list(box_of(values)))
    question = replace(ASKED, answers=gold)
    assert 0.0 <= overlap(text, question) <= 1.0
    assert overlap(gold[0], question) == pytest.approx(1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_right_box_in_a_familys_own_frame_is_right_whatever_the_image_is_resized_to(family):
    """Of 640 x 480 pixels the gold box takes 100 to 300 of the width and 100 to 400 of the height."""
    processor = family_processor(family)
    for limits in ({}, {"max_pixels": 100_000}, {"min_pixels": 1_000_000}):
        question = framed(ASKED, processor, **limits)
        seen = fit_image(Image.new("RGB", (640, 480)), step=family_of(processor).image_step(processor), **limits).size
        width, height = seen if family == "qwen2_5_vl" else (1000, 1000)
        assert question.box_frame == (width, height)
        said = f"[{100 / 640 * width}, {100 / 480 * height}, {300 / 640 * width}, {400 / 480 * height}]"
        assert overlap(said, question) == pytest.approx(1.0)
        assert ("pixels" in question.instruction) == (family == "qwen2_5_vl") and str(height) in question.instruction
        assert question.answers == ASKED.answers  # one problem for every model: in its file, in its fingerprint


def test_every_family_says_in_which_frame_it_writes_boxes():
    assert {name: record.box_range(family_processor(name)) for name, record in RECORDS.items() if record.sees} == {
        "qwen2_vl": 1000,
        "qwen2_5_vl": None,
        "qwen3_vl": 1000,
        "internvl": 1000,
    }


def test_hand_worked_boxes_of_a_resized_image():
    """640 x 480 is read as 364 x 252: a factor of 0.56875 across, 0.525 down. By hand: 100, 100, 300, 400 there is
    56.875, 52.5, 170.625, 210; the stored pixels said as they are reach from 175.8, 190.5 to 527.5, 761.9 in it."""
    question = framed(ASKED, family_processor("qwen2_5_vl"), max_pixels=100_000)
    assert question.box_frame == (364, 252)
    assert answered("[56.875, 52.5, 170.625, 210]", question) == pytest.approx((100, 100, 300, 400))
    shared, union = (300 - 175.82418) * (400 - 190.47619), 200 * 300 + 351.64835 * 571.42857
    assert overlap("[100, 100, 300, 400]", question) == pytest.approx(shared / (union - shared), abs=1e-5)
    assert grade("[57, 53, 171, 210]", question) == grade("(57,53),(171,210)", question, "strict")
    assert grade("[57, 53, 171, 210]", question).correct and not grade("[100, 100, 300, 400]", question).correct


def test_right_is_half_in_passk_and_the_threshold_in_training():
    """Of the gold's width a half, its height whole: one half. A narrower box is below."""
    assert grade("[100, 100, 200, 400]", ASKED) == grade("[100, 100, 200, 400]", ASKED, "iou")
    assert grade("[100, 100, 200, 400]", ASKED).correct and not grade("[100, 100, 199, 400]", ASKED).correct
    reward = build_rewards("accuracy", {"q": ASKED})[0].function
    texts = [f"<answer>[100, 100, {edge}, 400]</answer>" for edge in (300, 250, 199)] + ["none"]
    said = reward(prompts=None, completions=texts, problem_id=["q"] * 4)
    assert said == pytest.approx([1.0, 0.75, 0.495, 0.0])
    right = {threshold: correctness(torch.tensor(said), threshold).tolist() for threshold in (0.4, 0.7, 0.8)}
    assert right == {0.4: [1.0, 1.0, 1.0, 0.0], 0.7: [1.0, 1.0, 0.0, 0.0], 0.8: [1.0, 0.0, 0.0, 0.0]}


def test_a_question_without_a_gold_box_is_unscorable():
    lost = replace(ASKED, answers=())
    reward = build_rewards("accuracy", {"q": lost})[0].function
    assert reward(prompts=None, completions=["<answer>[1, 2, 3, 4]</answer>"], problem_id=["q"]) == [None]
    assert grade("[1, 2, 3, 4]", lost).correct is None
    assert grade("[1, 2, 3, 4]", replace(ASKED, answers=("a cat",))).correct is None


def test_of_several_gold_boxes_the_nearest_counts():
    assert overlap("[0, 0, 2, 2]", replace(ASKED, answers=("[50, 50, 60, 60]", "[0, 0, 2, 4]"))) == pytest.approx(0.5)


def test_reward_iou_stands_for_accuracy_and_wants_boxes():
    assert [(part.name, part.weight) for part in chosen(["iou", "format=0.2"])] == [
        ("iou", 1.0),
        ("format", 0.2),
        ("accuracy", 0.0),
    ]
    assert [part.name for part in chosen(["accuracy", "iou=0.5"])] == ["accuracy", "iou"]
    count = ChartQuestion("c", "How many?", ("3",), answer_kind="count")
    rewards = {one.name: one.function for one in build_rewards(["iou"], {"q": ASKED, "c": count})}
    said = {"prompts": None, "completions": ["<answer>[100, 100, 250, 400]</answer>"] * 2, "problem_id": ["q", "c"]}
    assert rewards["iou"](**said) == [0.75, None] and rewards["accuracy"](**said) == [0.75, 0.0]
    boxed = {"prompts": None, "completions": [r"so \boxed{[100, 100, 250, 400]}"], "problem_id": ["q"]}
    for one in build_rewards(["iou"], {"q": ASKED}, form="boxed"):
        assert one.function(**boxed) == [0.75], f"{one.name} is read where the prompt asks for it"
    check_golds(["iou"], [count, ASKED])
    check_golds("accuracy", [count])
    with pytest.raises(ValueError, match="--reward iou: no question asks for a box"):
        check_golds(["iou"], [count])


@pytest.mark.parametrize("bad", [[1, 2, 3], "left", [3, 2, 1, 4], [1, 2, math.nan, 4], [True, 2, 3, 4], None, 5])
def test_a_gold_box_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=r"^the box .* is not left, top, right and bottom edge"):
        gold_boxes(bad)


def test_gold_boxes_are_written_alike():
    assert gold_boxes([103.93000030517578, 299.99, 238.15, 477.4]) == ("[103.93, 299.99, 238.15, 477.4]",)
    assert gold_boxes([[1, 2, 3, 4], (5, 6, 700, 8.0)]) == ("[1, 2, 3, 4]", "[5, 6, 700, 8]")
    assert gold_boxes("(1,2),(3,4)") == ("[1, 2, 3, 4]",)
    assert gold_boxes(from_corner_and_size([1, 2, 3, 4])) == ("[1, 2, 4, 6]",)


def test_the_size_of_an_image_is_that_of_the_picture_that_is_seen(tmp_path):
    picture, turned = Image.new("RGB", (40, 30)), Image.Exif()
    picture.save(tmp_path / "plain.png")
    turned[0x0112] = 6  # a quarter turn
    picture.save(tmp_path / "turned.jpg", exif=turned)
    for name, size in (("plain.png", (40, 30)), ("turned.jpg", (30, 40))):
        assert seen_size(name, tmp_path) == size == open_image(name, tmp_path).size


def test_questions_without_a_box_are_put_as_they_were():
    count = ChartQuestion("c", "How many?", ("3",), answer_kind="count", image_size=(640, 480))
    assert framed(count, family_processor("qwen2_5_vl")) is count


def test_a_samples_record_is_marked_again_in_its_own_frame():
    from evaluation.rescore import marker

    row = {"problem_id": "q", "extracted": ["[0, 0, 500, 500]", None], "answers": ["[0, 0, 320, 240]"], "rule": "iou"}
    row |= {"answer_kind": "box", "image_size": [640, 480], "box_frame": [1000, 1000]}
    for rule in ("iou", "strict"):
        assert marker(rule)(json.loads(json.dumps(row))) == [True, False]
    assert marker("iou")(row | {"box_frame": None}) == [False, False]
