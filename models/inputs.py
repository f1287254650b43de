"""A chart question -> what a model reads: the one way for training, sampling, estimates and the embedded models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from charts.boxes import KIND
from charts.images import fit_image, fitted_size
from charts.prompt import messages
from charts.record import ChartQuestion
from models.families import family_of
from models.registry import control_tokens, load_config

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import ProcessorMixin

GREY = (128, 128, 128)


def conversation(processor: ProcessorMixin, question: ChartQuestion, prompt: str) -> list[dict]:
    """`charts.prompt.messages`, in which the data's words are text to this processor.

    To a tokenizer a turn is one string: the templates of models that read text alone know no parts.
    """
    turns = messages(question, prompt, control_tokens(processor))
    if family_of(processor).sees:
        return turns
    return [{"role": turn["role"], "content": turn["content"][-1]["text"]} for turn in turns]


def check_seen(source: str, questions: Sequence[ChartQuestion]) -> None:
    """ValueError where a model that reads text alone is to answer questions about images."""
    with_image = sum(question.open_image is not None for question in questions)
    if with_image and not family_of(load_config(source)).sees:
        raise ValueError(
            f"model {source} reads text alone, and {with_image:,} of {len(questions):,} questions have an image: "
            "choose a vision-language model, or a data set without images, such as math"
        )


def check_limits(processor: ProcessorMixin, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
    """ValueError where no image could be given to this model: each of them would be refused, one by one, later."""
    if family_of(processor).sees:
        step = family_of(processor).image_step(processor)
        fitted_size((step, step), min_pixels, max_pixels, step)


def image_rule(
    processor: ProcessorMixin, min_pixels: int | None = None, max_pixels: int | None = None
) -> Callable[[Image.Image], Image.Image]:
    """The image as the processor is given it: its sides fit its patches, its area stays within the limits."""
    step = family_of(processor).image_step(processor)
    return partial(fit_image, min_pixels=min_pixels, max_pixels=max_pixels, step=step)


def framed(
    question: ChartQuestion, processor: ProcessorMixin, min_pixels: int | None = None, max_pixels: int | None = None
) -> ChartQuestion:
    """A question for a box, which says in what frame this model writes boxes; any other one as it is.

    The gold box stays in pixels of the stored image: answers are brought there (charts.boxes), whatever the image is
    resized to.
    """
    if question.answer_kind != KIND or question.image_size is None:
        return question
    family = family_of(processor)
    if end := family.box_range(processor):
        frame, told = (end, end), f"each from 0 to {end}"
    else:
        step = family.image_step(processor)
        frame = fitted_size(question.image_size, min_pixels, max_pixels, step)
        told = f"in pixels of the image, which is {frame[0]} wide and {frame[1]} high"
    asked = f"{question.instruction} Answer with its box as [x1, y1, x2, y2], {told}.".strip()
    return replace(question, instruction=asked, box_frame=frame)


def blind(
    question: ChartQuestion, image: Image.Image | None, how: str | None
) -> tuple[ChartQuestion, Image.Image | None]:
    """What is left to ask with when the image is not to be seen; with `how` None, what is given.

    "mask": a uniform grey image of the same size, so that the prompt has the same tokens; "remove": no image, neither
    in the conversation nor beside it. A question that has none stays as it is.
    """
    if how is None or image is None:
        return question, image
    if how == "remove":
        return replace(question, open_image=None), None
    from PIL import Image

    return question, Image.new("RGB", image.size, GREY)


def prompt_text(processor: ProcessorMixin, question: ChartQuestion, prompt: str) -> str:
    """The conversation in the model's own template, up to where its answer begins."""
    turns = conversation(processor, question, prompt)
    return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def prompt_inputs(
    processor: ProcessorMixin,
    question: ChartQuestion,
    image: Image.Image | None,
    *,
    prompt: str,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> dict[str, torch.Tensor]:
    """The processor's output for one question: a batch of one, without padding."""
    if not family_of(processor).sees:
        # the template has written the tokens that begin a text: a tokenizer must not write them again
        found = processor([prompt_text(processor, question, prompt)], add_special_tokens=False, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask")}
    images = None if image is None else [image_rule(processor, min_pixels, max_pixels)(image)]
    return dict(processor(text=[prompt_text(processor, question, prompt)], images=images, return_tensors="pt"))
