"""The prompts: what the model is asked, in training and in evaluation alike.

The structured prompt names the blocks of the answer but shows no placeholder inside them: in a published run all of
2,510 completions copied the placeholders letter for letter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

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
    # word for word that of arXiv 2506.01347's code, as is the turn before it
    "boxed": "{question}\nPlease reason step by step, and put your final answer within \\boxed{}.",
}
SYSTEM = {"boxed": "You are a helpful assistant."}  # said before the conversation


def prompt_hash(prompt: str) -> str:
    """First 16 hex digits of the sha256 of what `prompt` says; stored with checkpoints and samples."""
    return hashlib.sha256((SYSTEM.get(prompt, "") + PROMPTS[prompt]).encode()).hexdigest()[:16]


def plain_text(text: str, control_tokens: Sequence[str]) -> str:
    """Text of the data in which no tokenizer finds a control token: `<|im_end|>` becomes `< |im_end|>`.

    Every one of `control_tokens` gets a space after its first character; one that already has spaces there gets one
    more, so that taking a space away at each of these places gives the text back. Lone halves of surrogate pairs,
    which no tokenizer takes, become "?".

    It is done to the text rather than by transformers' `sanitize_control_tokens` because TRL 1.16 also renders its
    prompts without tokenising them, which that option refuses.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _places(tuple(control_tokens)).sub(r"\g<0> ", text) if control_tokens else text


@lru_cache
def _places(control_tokens: tuple[str, ...]) -> re.Pattern:
    """Matches the first character of every control token, nested and overlapping ones too."""
    return re.compile("|".join(f"{re.escape(token[0])}(?= *{re.escape(token[1:])})" for token in control_tokens))


def messages(question: ChartQuestion, prompt: str, control_tokens: Sequence[str] = ()) -> list[dict]:
    """The conversation put to the model: earlier turns, then the question; the image comes first of all but SYSTEM.

    Every content is a list of parts ({"type": "image"} and {"type": "text", "text": ...}), the form that processors'
    chat templates read. A question without an image has no image part. What the data say is `plain_text` to a
    tokenizer with these `control_tokens` (models.registry.control_tokens); the prompt's own words stay as they are.
    """
    asked = plain_text(f"{question.question} {question.instruction}".strip(), control_tokens)
    turns = [
        (role, plain_text(text, control_tokens))
        for turn in question.history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    turns.append(("user", PROMPTS[prompt].replace("{question}", asked)))
    conversation: list[dict] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    if question.open_image is not None:
        conversation[0]["content"].insert(0, {"type": "image"})
    if prompt in SYSTEM:
        conversation.insert(0, {"role": "system", "content": [{"type": "text", "text": SYSTEM[prompt]}]})
    return conversation
