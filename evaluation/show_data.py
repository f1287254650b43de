"""A few questions as they were read: printed, and as a page with small pictures. No model is needed."""

from __future__ import annotations

import base64
import html
import io

from PIL import ImageDraw

from charts.boxes import CORRECT_FROM, KIND, read_box
from charts.gold import Gold
from charts.prompt import doubt, messages
from charts.record import ChartQuestion, QuestionSet
from common.files import check_output, user_path, write_whole
from common.terminal import printable

ROWS = 10
THUMBNAIL = 240  # pixels of the longer side
GOLD = "#d000d0"  # of the lines of a gold box
PAGE = "show_data.html"

_HEAD = """<!doctype html>
<meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 15px/1.4 sans-serif; margin: 2em; max-width: 70em }} td {{ padding: .5em 1em .5em 0;
vertical-align: top; border-top: 1px solid #ccc }} pre {{ white-space: pre-wrap; background: #f4f4f4; padding: 1em }}
small {{ color: #555 }}</style>
<h1>{title}</h1>
"""


def show(questions: QuestionSet, prompt: str, page: str | bool) -> list[str]:
    """The lines to print about the first rows, after writing their page to `page` (True: PAGE in this folder)."""
    path = user_path(PAGE if page is True else str(page))
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"--show-data {path}: the name of a page ends in .html")
    check_output(path, name="--show-data")
    title = f"{questions.name}, split {questions.split}: {len(questions):,} questions"
    first = questions.questions[:ROWS]
    asked = _asked(first[0], prompt)
    pictures = [_picture(question) for question in first]
    rows = [_row(question, size) for question, (size, _) in zip(first, pictures, strict=True)]
    notes = [
        *questions.notes,
        *filter(None, [doubt(prompt, questions.questions)]),
        *(f"left out: {row}: {reason}" for row, reason in questions.skipped[:3]),
    ]
    write_whole(path, _page(title, notes, rows, [uri for _, uri in pictures], asked))
    lines = [title, *notes]
    for number, row in enumerate(rows, 1):
        lines += [f"{number}. {row['id']}", *(f"   {name:9} {text}" for name, text in row.items() if name != "id")]
    return [
        printable(line) for line in [*lines, "The first of them is asked as:", *asked.splitlines(), f"Page: {path}"]
    ]


def _row(question: ChartQuestion, size: str) -> dict[str, str]:
    """What the page and the terminal say of a question, without what it does not have."""
    said = {
        "id": question.id,
        "image": size,
        "question": " ".join(question.question.split()),
        "options": " | ".join(question.choices),
        "answers": " | ".join(question.answers),
        "read as": how_read(question),
        "kind": " ".join(filter(None, (question.kind, question.chart_type))),
        "ask for": question.instruction,
    }
    return {name: text for name, text in said.items() if text}


def how_read(question: ChartQuestion) -> str:
    """How answers are compared: the rule, and of the strict one what it sees in the gold."""
    name, _, flags = question.rule.partition(":")
    if name != "strict":
        return f"the rule {name}{f' ({flags})' * bool(flags)}; by the strict rule {_strict(question)}"
    return f"the strict rule: {_strict(question)}"


def _strict(question: ChartQuestion) -> str:
    if question.answer_kind == KIND:
        return f"IoU with the gold box of at least {CORRECT_FROM}"
    if question.answer_kind == "math":
        return "the verdict of math-verify"
    golds = [Gold.read(one, question.answer_kind, question.tolerance, question.question) for one in question.answers]
    forms = dict.fromkeys(
        f"{'ordered ' * gold.ordered}{gold.form}"
        + (f" within {float(gold.tolerance):.3g} of it" if gold.form == "number" and gold.tolerance else "")
        + (", exact" if gold.form == "number" and not gold.tolerance else "")
        for gold in golds
    )
    return " or ".join(forms)


def _picture(question: ChartQuestion) -> tuple[str, str | None]:
    """The picture's size in words, and a small copy of it as a data URI, with the gold boxes where one is asked for."""
    if question.open_image is None:
        return "none", None
    try:
        image = question.open_image()
    except ValueError as error:
        return str(error), None
    size, shrunk = f"{image.width} x {image.height}", max(1.0, max(image.size) / THUMBNAIL)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    for box in filter(None, map(read_box, question.answers if question.answer_kind == KIND else ())):
        ImageDraw.Draw(image).rectangle([edge / shrunk for edge in box], outline=GOLD, width=2)
    content = io.BytesIO()
    image.save(content, format="PNG")
    return size, f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _asked(question: ChartQuestion, prompt: str) -> str:
    """The conversation without a model's template: which one that is depends on the model."""
    turns = messages(question, prompt)
    texts = ["".join(part.get("text", "<image>\n") for part in turn["content"]) for turn in turns]
    return "\n".join(f"[{turn['role']}] {text}" for turn, text in zip(turns, texts, strict=True))


def _page(title: str, notes: list[str], rows: list[dict[str, str]], uris: list[str | None], asked: str) -> str:
    text = [_HEAD.format(title=html.escape(title)), *(f"<p>{html.escape(note)}</p>" for note in notes), "<table>"]
    for row, uri in zip(rows, uris, strict=True):
        facts = [f"<small>{html.escape(name)}</small> {html.escape(value)}<br>" for name, value in row.items()]
        picture = f'<img src="{uri}" alt="">' if uri else ""
        text.append(f"<tr><td>{picture}</td><td>{''.join(facts)}</td></tr>")
    return "\n".join([*text, "</table>", "<h2>The first is asked as</h2>", f"<pre>{html.escape(asked)}</pre>", ""])
