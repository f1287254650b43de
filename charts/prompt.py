"""The prompts: what the model is asked, in training and in evaluation alike.

The structured prompt names the blocks of the answer but shows no placeholder inside them: in a published run all of
2,510 completions copied the placeholders letter for letter.
"""

from __future__ import annotations

import hashlib

from charts.record import ChartQuestion

PROMPTS = {
    "structured": (
        "Answer the question about the chart.\n"
        "Think first, between <think> and </think>: name the kind of chart between <type> and </type>, write its data "
        "as JSON with the keys columns and rows between <table> and </table>, then reason in numbered steps, one per "
        "line.\n"
        "Then write only the final answer, on one line, between <answer> and </answer>.\n"
        "Question: {question}"
    ),
    "short": "{question}\nAnswer with a single word, number or phrase between <answer> and </answer>.",
}


def prompt_hash(prompt: str) -> str:
    """First 16 hex digits of the sha256 of the template called `prompt`; stored with checkpoints and samples."""
    return hashlib.sha256(PROMPTS[prompt].encode()).hexdigest()[:16]


def messages(question: ChartQuestion, prompt: str) -> list[dict]:
    """The conversation put to the model: earlier turns, then the question; the image comes first of all.

    Every content is a list of parts ({"type": "image"} and {"type": "text", "text": ...}), the form that processors'
    chat templates read. A question without an image has no image part.
    """
    asked = f"{question.question} {question.instruction}".strip()
    turns = [
        *((role, text) for turn in question.history for role, text in zip(("user", "assistant"), turn, strict=True))
    ]
    turns.append(("user", PROMPTS[prompt].replace("{question}", asked)))
    conversation = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    if question.open_image is not None:
        conversation[0]["content"].insert(0, {"type": "image"})
    return conversation
