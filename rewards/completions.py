"""What the rewards share: the text of a completion, parsed once, and signs of degenerate completions."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from charts.parsing import Parsed, parse_completion
from charts.prompt import PROMPTS

parse = lru_cache(maxsize=1024)(parse_completion)  # every reward reads a process's rollout batch, in order
_SMALL = "(?:the|a|an|of|or|and|in)[ _]"
_NAMED = (  # what a placeholder in brackets says; [blue], [line chart] and [A] are lists of one item
    "(?:your|here|insert|fill|final|short|single|answers?|chart|type|data|table|columns?|rows?|cells?|headers?|labels?"
    "|names?|titles?|values?|numbers?|words?|phrases?|text|steps?|reasoning|result|placeholder)"
)
_PLACEHOLDER = re.compile(
    rf"<[^<>]*>|\[(?:{_SMALL})*{_NAMED}(?:[ _](?:{_SMALL})*{_NAMED})*\]|\.\.\.|…|\byour (?:answer|reasoning)\b"
    r"|\b(?:the )?(?:final answer|chart type|data table)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"\w+")
_PROMPT_WORDS = " ".join(" ".join(_WORDS.findall(prompt.lower())) for prompt in PROMPTS.values())


def text_of(completion) -> str:
    """The text of a completion: a string, or a conversation whose messages hold a string or a list of parts."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, dict):
        content = completion.get("content") or ""
        if isinstance(content, str):
            return content
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return "".join(map(text_of, completion or []))


def copies_a_placeholder(parsed: Parsed) -> bool:
    """Whether type, answer or a cell of the table is a placeholder, or words of the prompt, instead of a reply."""
    cells = [cell for row in (parsed.table or {}).get("rows", []) for cell in row]
    return any(_is_placeholder(text) for text in (parsed.answer, parsed.chart_type, *cells[:50]) if text)


def _is_placeholder(text: str) -> bool:
    words = _WORDS.findall(text.lower())
    return bool(_PLACEHOLDER.fullmatch(text.strip())) or (len(words) >= 3 and " ".join(words) in _PROMPT_WORDS)


def distinct_step_share(parsed: Parsed) -> float:
    """Different steps over all steps; numbers are part of a step, so "red 8" and "blue 8" differ. 1 without steps."""
    steps = [" ".join(_WORDS.findall(step.lower())) for step in parsed.steps]
    return len(set(steps)) / len(steps) if steps else 1.0


def report(completions: list[Parsed], types: list[str | None], log_metric) -> None:
    """Log the placeholder-copy rate, the duplicate-step rate and the distribution of chart types."""
    if log_metric is None or not completions:
        return
    log_metric("completions/placeholder_copies", sum(map(copies_a_placeholder, completions)) / len(completions))
    log_metric("completions/duplicate_steps", sum(1 - distinct_step_share(p) for p in completions) / len(completions))
    for name, count in Counter(kind or "none" for kind in types).items():
        log_metric(f"completions/type/{name}", count / len(completions))
