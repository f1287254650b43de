"""How long the prompts of a run are, by a sample of its questions."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from models.shapes import CHARACTERS

SAMPLE = 8  # questions whose prompts are measured


@dataclass(frozen=True)
class Prompts:
    """Prompts of a sample of the training questions, through the real processor."""

    lengths: list[int]  # tokens, image included
    patches: list[int]
    patch_width: int
    image_tokens: int  # of the largest image


def measure_prompts(processor, questions, args: argparse.Namespace, stand_in: bool = False) -> Prompts:
    """Prompts of `SAMPLE` questions spread evenly over the data, as the trainer will see them.

    `stand_in`: the tokenizer is none of the model's, so text is counted by its characters.
    """
    from models.families import family_of
    from models.inputs import prompt_inputs, prompt_text

    limits = {"prompt": args.prompt, "min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    lengths, patches, width, spatial = [], [], 0, family_of(processor).patches_per_token(processor)
    for question in questions[:: max(1, len(questions) // SAMPLE)][:SAMPLE]:
        try:
            image = question.open_image() if question.open_image is not None else None
        except ValueError:
            continue  # training leaves such a row out too
        inputs = prompt_inputs(processor, question, image, **limits)
        tokens = int((inputs["input_ids"] == processor.image_token_id).sum()) if image is not None else 0
        of_text = -(-len(prompt_text(processor, question, args.prompt)) // CHARACTERS)
        lengths.append(tokens + of_text if stand_in else inputs["input_ids"].shape[1])
        if image is not None:
            patches.append(spatial * tokens)
            width = inputs["pixel_values"].numel() // patches[-1]
    if not lengths:
        raise ValueError(f"--estimate: none of {SAMPLE} sampled questions has a readable image")
    return Prompts(lengths, patches or [0], width, max(patches, default=0) // spatial)
