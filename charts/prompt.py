"""The prompts: what the model is asked, in training and in evaluation alike.

The structured prompt names the blocks of the answer but shows no placeholder inside them: in a published run all of
2,510 completions copied the placeholders letter for letter.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache

from charts.record import ChartQuestion
from charts.text_files import decoded
from common.files import user_path

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
PLACES = ("question", "choices", "instruction")  # what a template may name; {question} it must
_PLACE = re.compile(rf"\{{({'|'.join(PLACES)})\}}")
_LIKE_A_PLACE = re.compile(r"(?<![\w}])\{([A-Za-z_]+)\}")  # \boxed{answer} and {"columns": ...} are none


def template(prompt: str) -> str:
    """The text of `prompt`: one of PROMPTS by its name, or a template itself. ValueError for what is neither."""
    text = PROMPTS.get(prompt, prompt)
    if "{question}" not in text:
        raise ValueError(f"--prompt {prompt}: unknown; choose one of {', '.join(PROMPTS)}, or give --prompt-file")
    return text


def read_template(file: str) -> str:
    """The template in `file` (--prompt-file), checked. ValueError, one line, for one that cannot be used."""
    if not user_path(file).is_file():
        raise ValueError(f"--prompt-file {file}: there is no such file")
    text = decoded(user_path(file)).strip()
    if "{question}" not in text:
        raise ValueError(f"--prompt-file {file}: has no {{question}}, the place where the question goes")
    for name in _LIKE_A_PLACE.findall(text):
        if name not in PLACES:
            close = "".join(f"; did you mean {{{one}}}?" for one in get_close_matches(name, PLACES, 1))
            places = ", ".join(f"{{{one}}}" for one in PLACES)
            raise ValueError(f"--prompt-file {file}: unknown place {{{name}}}{close} A template has {places}")
    return text


def doubt(prompt: str, questions: Iterable[ChartQuestion] = ()) -> str | None:
    """What is to be said of a template that asks for no answer block, and of a prompt that does not suit the rule."""
    math = any("math" in (question.rule, question.answer_kind) for question in questions)
    if math and prompt in PROMPTS and prompt != "boxed":
        return f"Rule math, prompt {prompt}: --prompt boxed asks for the answer as models of mathematics write it"
    if prompt in PROMPTS or "<answer>" in prompt:
        return None
    return "The template asks for no <answer> block, where answers are read: without one every completion is wrong"


def prompt_hash(prompt: str) -> str:
    """First 16 hex digits of the sha256 of what `prompt` says; stored with checkpoints and samples."""
    return hashlib.sha256((SYSTEM.get(prompt, "") + template(prompt)).encode()).hexdigest()[:16]


def prompt_record(prompt: str) -> dict[str, str]:
    """What is stored of a prompt: name and hash, and the text of one that has no name here."""
    known = prompt in PROMPTS
    record = {"name": prompt if known else "own", "hash": prompt_hash(prompt)}
    return record if known else {**record, "text": prompt}


def of_record(record: dict[str, str]) -> str:
    """The prompt that `prompt_record` has stored."""
    return record.get("text") or record["name"]


def form_of(prompt: str) -> str:
    """The form of charts.parsing in which `prompt` asks for completions; a template of one's own is "structured"
    where it asks for a block of thoughts, "short" otherwise."""
    return prompt if prompt in PROMPTS else "structured" if "<think>" in prompt else "short"


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
    turns = [
        (role, plain_text(text, control_tokens))
        for turn in question.history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    turns.append(("user", _filled(template(prompt), question, control_tokens)))
    conversation: list[dict] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    if question.open_image is not None:
        conversation[0]["content"].insert(0, {"type": "image"})
    if prompt in SYSTEM:
        conversation.insert(0, {"role": "system", "content": [{"type": "text", "text": SYSTEM[prompt]}]})
    return conversation


def _filled(text: str, question: ChartQuestion, control_tokens: Sequence[str]) -> str:
    """The template with the question's words in its places; options and instruction that have none follow the
    question."""
    said = {"question": question.question, "choices": "\n".join(question.choices), "instruction": question.instruction}
    for place, between in (("choices", "\n"), ("instruction", "\n" if question.choices else " ")):
        if f"{{{place}}}" not in text:
            said["question"] += between * bool(said[place]) + said[place]
    plain = {place: plain_text(words.strip(), control_tokens) for place, words in said.items()}
    return _PLACE.sub(lambda match: plain[match[1]], text)
