"""Chart questions as the rows that TRL's GRPOTrainer reads: conversation, image, problem id."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from functools import lru_cache

import datasets
from PIL import Image
from transformers import ProcessorMixin

from charts.record import ChartQuestion
from common.terminal import printable
from models.inputs import conversation, image_rule

BLANK_SIDE = 56  # pixels of the stand-in for an unreadable image


class ImageRows:
    """Transform that opens and resizes a row's image when the row is drawn.

    TRL draws a prompt once per completion, and its whole rollout batch again at every micro-batch (RepeatSampler): the
    last `at_hand` images stay open.

    A row whose image cannot be read keeps its place, so that processes stay in step, with a blank image and no gold
    answer: it is unscorable and moves nothing. That is said once per row; ending a run hours after its start would lose
    more than the row (headers are checked before training, where more than 1 % of bad rows is fatal).
    """

    def __init__(
        self,
        questions: MutableMapping[str, ChartQuestion],
        rule: Callable[[Image.Image], Image.Image],
        at_hand: int = 1,
    ):
        self.questions, self.rule = questions, rule
        self.unreadable: dict[str, str] = {}
        self._image = lru_cache(at_hand)(self._open)

    def __reduce__(self):
        # `datasets` hashes a transform by pickling it; the questions hold open files and are not needed for a hash.
        return (ImageRows, ({}, self.rule))

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        images = [self._image(problem_id) for problem_id in batch["problem_id"]]
        return {**batch, "image": images} if any(image is not None for image in images) else batch

    def _open(self, problem_id: str) -> Image.Image | None:
        question = self.questions[problem_id]
        if question.open_image is None:
            return None
        try:
            return self.rule(question.open_image())
        except ValueError as error:
            if problem_id not in self.unreadable:
                self.unreadable[problem_id] = str(error)
                line = f"Row {problem_id}: unreadable image, the row teaches nothing: {error}"
                print(printable(line), flush=True)
            self.questions[problem_id] = replace(question, answers=())
            return Image.new("RGB", (BLANK_SIDE, BLANK_SIDE), "white")


def check_images(questions: Sequence[ChartQuestion]) -> None:
    """ValueError when only some questions have an image.

    TRL 1.16 cannot put both kinds into one batch, and under ZeRO-3 a process whose rows have no image leaves out the
    vision tower, whose weights the others wait for.
    """
    without = sum(question.open_image is None for question in questions)
    if 0 < without < len(questions):
        raise ValueError(
            f"{without} of {len(questions)} questions have no image: rows with and without one cannot be trained on "
            "together; leave one kind out of the data"
        )


def training_rows(
    ids: list[str],
    questions: MutableMapping[str, ChartQuestion],
    processor: ProcessorMixin,
    *,
    prompt: str,
    min_pixels: int,
    max_pixels: int,
    at_hand: int = 1,
) -> datasets.Dataset:
    """Rows {"prompt": conversation, "problem_id": str, "image": PIL image} of the questions with these ids.

    Conversation and image are those of `models.inputs`. The last `at_hand` images stay open: the questions of a
    process's rollout batch. The text of a conversation is one string per turn; TRL puts the image in front of the first
    turn, where `models.inputs.conversation` has it too.
    """
    conversations = []
    for problem_id in ids:
        turns = conversation(processor, questions[problem_id], prompt)
        conversations.append([{"role": turn["role"], "content": _words(turn["content"])} for turn in turns])
    rows = datasets.Dataset.from_dict({"prompt": conversations, "problem_id": ids})
    return rows.with_transform(ImageRows(questions, image_rule(processor, min_pixels, max_pixels), at_hand))


def _words(content: str | list[dict]) -> str:
    return content if isinstance(content, str) else content[-1]["text"]


def build_rows(args: Namespace, config, train, held_out, questions: dict, processor):
    """(training rows, held-out rows or None) for TRL; `questions` by id, shared with the rewards."""
    options = {"prompt": args.prompt, "min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    # a process's share of the rollout batch may begin and end amid a question's completions: two questions more
    at_hand = config.per_device_train_batch_size * config.steps_per_generation // config.num_generations + 2
    train_rows = training_rows([one.id for one in train.questions], questions, processor, at_hand=at_hand, **options)
    if not held_out.questions:
        return train_rows, None
    return train_rows, training_rows([one.id for one in held_out.questions], questions, processor, **options)
