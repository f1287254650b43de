"""Multiple choice: the options as they are shown, and which of them the gold means."""

from __future__ import annotations

import json
import re
from typing import Any

from charts.values import plain, python_literal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABEL = re.compile(r"\(?([A-Za-z]|\d{1,2})[).:]?")
_LABELLED = re.compile(r"\(?([A-Z]|\d{1,2})[).:]\s+(.+)", re.DOTALL)
# of an answer, beside the label and the option alone
_FORMS = ("{0}. {1}", "({0})", "{0})", "{0}) {1}", "({0}) {1}", "{0}: {1}")


def read_choices(value: Any) -> dict[str, str]:
    """Label -> option, of a list, {"A": option}, {"label": [...], "text": [...]}, or the text of one (JSON, Python).

    Options that begin with their own labels ("A. red", "1. red") keep them; others are lettered. A row that lacks an
    option has None there: it is left out. ValueError for none or too many.
    """
    value = _of_text(value) if isinstance(value, str) else value
    labels: Any = LETTERS
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, texts = value.get("label") or value.get("labels") or LETTERS, value["text"]
    elif isinstance(value, dict):
        labels, texts = list(value), list(value.values())
    else:
        texts = value
    if not isinstance(texts, list | tuple) or len(texts) > len(labels):
        raise ValueError("the options are not a list of 2 to 26")
    found = {str(label): plain(text) for label, text in zip(labels, texts, strict=False)}
    choices = {label: str(text).strip() for label, text in found.items() if text is not None}
    if len(choices) < 2:
        raise ValueError("the options are not a list of 2 to 26")
    return _own_labels(choices) or choices if labels is LETTERS else choices


def _of_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value = python_literal(text)
    if not isinstance(value, list | tuple | dict):
        raise ValueError(f"the options {text[:60]!r} are no list: write one, or JSON of one")
    return value


def _own_labels(lettered: dict[str, str]) -> dict[str, str]:
    """Label -> option where every option begins with its letter, or with its number from 1 on; else nothing."""
    labelled = [match.groups() for option in lettered.values() if (match := _LABELLED.fullmatch(option))]
    numbers = [str(LETTERS.index(letter) + 1) for letter in lettered]
    own = [label for label, _ in labelled] in (list(lettered), numbers)
    return {label: option.strip() for label, option in labelled} if own else {}


def instruction_for(choices: dict[str, str]) -> str:
    return f"Answer with the {'number' if all(map(str.isdigit, choices)) else 'letter'} of the option."


def shown(choices: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{label}. {option}" for label, option in choices.items())


def accepted_choice(gold: Any, choices: dict[str, str]) -> tuple[str, ...]:
    """The answers that mean the option of the gold: its label, its text, and forms with both.

    The gold is the text of an option, its label, both ("B. red"), or its place, the first being 0; no place where the
    labels are numbers. ValueError for what is none of them, and for what could be two different ones.
    """
    text = str(plain(gold)).strip()
    same = {option.casefold(): label for label, option in choices.items()}
    by_text = same.get(text.casefold())
    found = _LABEL.fullmatch(text)
    by_label = next((one for one in choices if one == text or (found and one == found[1].upper())), None)
    both = _LABELLED.fullmatch(text)
    by_both = both[1] if both and choices.get(both[1], "").casefold() == both[2].casefold() else None
    place = int(text) if text.isascii() and text.isdigit() and not any(map(str.isdigit, choices)) else -1
    places = list(LETTERS if set(choices) <= set(LETTERS) else choices)  # one that is left out keeps its place
    by_place = places[place] if 0 <= place < len(places) and by_label is None else None
    meant = {one for one in (by_text, by_label, by_both, by_place) if one in choices}
    if len(meant) != 1:
        why = "none of its options" if not meant else "one of its options by its words and another by its place"
        raise ValueError(f"the answer {text[:60]!r} is {why}: {'; '.join(shown(choices))[:200]}")
    label = meant.pop()
    option = choices[label]
    by_itself = option.casefold() not in {one.casefold() for one in choices}  # options that are called like labels
    return (label, *([option] if by_itself and option else []), *(form.format(label, option) for form in _FORMS))
