"""Training rows: images are opened when a row is drawn, once for all of the times that TRL draws it in a row."""

from dataclasses import replace

from PIL import Image

from charts.record import ChartQuestion
from models.registry import load_processor
from settings.arguments import parse_args
from settings.grpo_config import build_config
from training import rows
from training.building import build_trainer
from training.preparing import load_data, resolve_data, resolve_defaults

LIMITS = {"min_pixels": 3136, "max_pixels": 28 * 28 * 16}


def questions(opened, broken=()):
    def opener(name):
        def open_image():
            opened.append(name)
            if name in broken:
                raise ValueError("image file is truncated")
            return Image.new("RGB", (60, 60), "red")

        return open_image

    return {name: ChartQuestion(name, "How high?", ("7",), open_image=opener(name)) for name in "abc"}


def drawn(opened, broken=(), at_hand=2):
    known = questions(opened, broken)
    processor = load_processor("tiny")
    return rows.training_rows(list(known), known, processor, prompt="short", at_hand=at_hand, **LIMITS), known


def test_an_image_is_opened_when_its_row_is_drawn_and_once_for_the_rows_and_repeats_of_a_rollout_batch():
    opened = []
    data, _ = drawn(opened)
    assert opened == [], "nothing is opened before it is drawn"
    for _ in range(3):  # TRL's sampler: every prompt twice, the batch again at every micro-batch
        batch = data[[0, 0, 1, 1]]
        assert [image.size for image in batch["image"]] == [(56, 56)] * 4
    assert opened == ["a", "b"]


def test_only_the_last_images_stay_at_hand():
    opened = []
    data, _ = drawn(opened)
    for index in (0, 1, 2, 0):
        data[index]
    assert opened == ["a", "b", "c", "a"]


def test_a_run_opens_every_image_once_an_epoch(tmp_path):
    """Through TRL's sampler: two rollout batches of four questions, eight micro-batches each."""
    opened = []

    def counted(question):
        return replace(question, open_image=lambda: opened.append(question.id) or question.open_image())

    line = "--mode nsr --subset-size 8 --batch-size 2 --num-generations 4 --gradient-accumulation-steps 4"
    args = parse_args([*line.split(), "--updates-per-rollout", "2", "--held-out", "0"])
    resolve_data(args)
    resolve_defaults(args)
    train, held_out = load_data(args)
    train = replace(train, questions=[counted(question) for question in train.questions])
    trainer = build_trainer(args, build_config(args, tmp_path, "fp32", False), train, held_out)
    assert [len(batch) for batch in trainer.get_train_dataloader()] == [16] * 16
    assert sorted(opened) == sorted(question.id for question in train.questions)


def test_an_unreadable_image_is_told_once_and_its_row_keeps_its_place_without_an_answer(capsys):
    opened = []
    data, known = drawn(opened, broken=("b",))
    batch = data[[1, 1, 2]]
    data[[1]]
    assert [image.size for image in batch["image"][:2]] == [(rows.BLANK_SIDE, rows.BLANK_SIDE)] * 2
    assert known["b"].answers == () and known["a"].answers == ("7",)
    assert capsys.readouterr().out == "Row b: unreadable image, the row teaches nothing: image file is truncated\n"
