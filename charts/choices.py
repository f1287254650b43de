"""Multiple choice: the options as they are shown, and which of them the gold means."""

from __future__ import annotations

import json
import re
from typing import Any

from charts.values import plain

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INSTRUCTION = "Answer with the letter of the option."
_LABEL = re.compile(r"\(?([A-Za-z])[).:]?")
_LABELLED = re.compile(r"\(?([A-Z])[).:]\s+(.+)", re.DOTALL)


def read_choices(value: Any) -> dict[str, str]:
    """Label -> option, of a list, {"A": option}, {"label": [...], "text": [...]}, or one of these as JSON text.

    Options that begin with their own labels ("A. red") keep them; others are lettered. ValueError for none or too many.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"the options {value[:60]!r} are no list: write one, or JSON of one") from None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, texts = value.get("label") or value.get("labels") or LETTERS, value["text"]
    elif isinstance(value, dict):
        labels, texts = list(value), list(value.values())
    else:
        labels, texts = LETTERS, value
    if not isinstance(texts, list | tuple) or not 2 <= len(texts) <= len(labels) or isinstance(texts, str):
        raise ValueError("the options are not a list of 2 to 26")
    options = [str(plain(text)).strip() for text in texts]
    labelled = [_LABELLED.fullmatch(option) for option in options]
    if labels is LETTERS and all(m and m[1] == LETTERS[i] for i, m in enumerate(labelled)):
        options = [match[2].strip() for match in labelled if match]
    return dict(zip(map(str, labels), options, strict=False))


def shown(choices: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{label}. {option}" for label, option in choices.items())


def accepted_choice(gold: Any, choices: dict[str, str]) -> tuple[str, ...]:
    """The answers that mean the option of the gold: its label, its text, and forms with both.

    The gold is the text of an option, its label, or its place, the first being 0. ValueError for what is none of them,
    and for what could be two different ones.
    """
    text = str(plain(gold)).strip()
    same = {option.casefold(): label for label, option in choices.items()}
    by_text = same.get(text.casefold())
    found = _LABEL.fullmatch(text)
    by_label = next((one for one in choices if one == text or (found and one == found[1].upper())), None)
    place = int(text) if text.isascii() and text.isdigit() else -1
    by_place = list(choices)[place] if 0 <= place < len(choices) and by_label is None else None
    meant = {one for one in (by_text, by_label, by_place) if one is not None}
    if len(meant) != 1:
        why = "none of its options" if not meant else "one of its options by its words and another by its place"
        raise ValueError(f"the answer {text[:60]!r} is {why}: {'; '.join(shown(choices))[:200]}")
    label = meant.pop()
    option = choices[label]
    by_itself = option.casefold() not in {one.casefold() for one in choices}  # options that are called like labels
    return (label, *([option] if by_itself and option else []), f"{label}. {option}", f"({label})")
