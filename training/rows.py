"""Chart questions as the rows that TRL's GRPOTrainer reads: conversation, image, problem id."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from functools import lru_cache

import datasets
from PIL import Image

from charts.images import fit_image
from charts.prompt import messages
from charts.record import ChartQuestion
from common.terminal import printable
from models.registry import control_tokens, image_step

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
        min_pixels: int,
        max_pixels: int,
        step: int,
        at_hand: int = 1,
    ):
        self.questions, self.limits = questions, (min_pixels, max_pixels, step)
        self.unreadable: dict[str, str] = {}
        self._image = lru_cache(at_hand)(self._open)

    def __reduce__(self):
        # `datasets` hashes a transform by pickling it; the questions hold open files and are not needed for a hash.
        return (ImageRows, ({}, *self.limits))

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        images = [self._image(problem_id) for problem_id in batch["problem_id"]]
        return {**batch, "image": images} if any(image is not None for image in images) else batch

    def _open(self, problem_id: str) -> Image.Image | None:
        question = self.questions[problem_id]
        if question.open_image is None:
            return None
        try:
            return fit_image(question.open_image(), *self.limits)
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
    *,
    prompt: str,
    min_pixels: int,
    max_pixels: int,
    step: int = 28,
    at_hand: int = 1,
    control_tokens: Sequence[str] = (),
) -> datasets.Dataset:
    """Rows {"prompt": conversation, "problem_id": str, "image": PIL image} of the questions with these ids.

    Images keep their shape, their sides become multiples of `step` and their area stays within the limits. The last
    `at_hand` of them stay open: the questions of a process's rollout batch.

    The text of a conversation is one string per turn; TRL puts the image in front of the first turn, where
    charts.prompt.messages has it too. `control_tokens` are those that the questions' text must not be read as.
    """
    conversations = []
    for problem_id in ids:
        turns = messages(questions[problem_id], prompt, control_tokens)
        conversations.append([{"role": turn["role"], "content": turn["content"][-1]["text"]} for turn in turns])
    rows = datasets.Dataset.from_dict({"prompt": conversations, "problem_id": ids})
    return rows.with_transform(ImageRows(questions, min_pixels, max_pixels, step, at_hand))


def build_rows(args: Namespace, config, train, held_out, questions: dict, processor):
    """(training rows, held-out rows or None) for TRL; `questions` by id, shared with the rewards."""
    options = {"prompt": args.prompt, "min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    options |= {"step": image_step(processor), "control_tokens": control_tokens(processor)}
    # a process's share of the rollout batch may begin and end amid a question's completions: two questions more
    at_hand = config.per_device_train_batch_size * config.steps_per_generation // config.num_generations + 2
    train_rows = training_rows([one.id for one in train.questions], questions, at_hand=at_hand, **options)
    if not held_out.questions:
        return train_rows, None
    return train_rows, training_rows([one.id for one in held_out.questions], questions, **options)
