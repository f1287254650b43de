"""One adapter per data set: from a row in the set's own schema to the fields of a `ChartQuestion`.

An adapter yields plain dictionaries; `charts.loading` adds id, image, source and split. A row that lacks what it must
have raises `ValueError`, is counted and skipped. What each set looks like, and its traps: charts/README.md.
"""

from __future__ import annotations

from charts import clevr, file_layouts, refcoco
from charts.adapter import Adapter, Fields, Place
from charts.custom import WANTED, read_custom
from charts.hard_sets import HARD_SETS
from charts.math_sets import MATH_SETS
from charts.parsing import as_table
from charts.values import accepted, first

YES_NO = "Answer Yes or No."
CHART_RVR_PARTS = (("chartqa-human", 7_398), ("plotqa", 2_000), ("chartfc", 2_000))
CHART_RVR_DISTINCT = sum(rows for _, rows in CHART_RVR_PARTS)


def is_yes_no(answers: tuple[str, ...]) -> bool:
    return all(answer.lower() in ("yes", "no", "true", "false") for answer in answers) and bool(answers)


def read_chartqa(row: dict, index: int, rows: int) -> Fields:
    """Both mirrors, the test-only one and the file layout: query or question, label or answer, as string or list."""
    kind = str(first(row, "human_or_machine", "type") or "")
    names = {"0": "human", "1": "augmented", "machine": "augmented"}
    kind = names.get(kind, kind.removesuffix("_test"))
    yield {
        "question": str(first(row, "query", "question") or ""),
        "answers": accepted(first(row, "label", "answer")),
        "kind": kind,
        "source": f"chartqa-{kind}" if kind else "chartqa",
        "chart_type": row.get("chart_type"),
        "table": as_table(row.get("table")),
    }


def read_chart_rvr(row: dict, index: int, rows: int) -> Fields:
    """The published training set: its stored prompt is ignored, its types and tables are a 72B model's guesses."""
    answers = accepted(row.get("label"))
    question = str(row.get("query") or "")
    source = _chart_rvr_source(index, rows, question, answers)
    claim = source == "chartfc"
    yield {
        "question": question,
        "answers": answers,
        "answer_kind": "yes/no" if claim else "",
        "kind": source,
        "source": source,
        "instruction": YES_NO if claim else "",
        "chart_type": row.get("chart_type"),
        "table": as_table(row.get("table")),
        "reasoning": row.get("reasoning") or None,
    }


def _chart_rvr_source(index: int, rows: int, question: str, answers: tuple[str, ...]) -> str:
    if rows % CHART_RVR_DISTINCT == 0:
        position = index % CHART_RVR_DISTINCT
        for source, size in CHART_RVR_PARTS:
            if position < size:
                return source
            position -= size
    # Another size: only the claims can be told apart.
    return "chartfc" if is_yes_no(answers) and not question.rstrip().endswith("?") else "chart-rvr"


def read_evochart(row: dict, index: int, rows: int) -> Fields:
    """EvoChart-QA: values printed on the chart (is_clear) need an exact match, others may be 5 % off."""
    clear = row.get("is_clear")
    clear = clear.strip().lower() in ("true", "1") if isinstance(clear, str) else bool(clear)
    yield {
        "question": str(row.get("question") or ""),
        "answers": accepted(row.get("answer")),
        "kind": str(row.get("attribute") or ""),
        "rule": "evochart",
        "tolerance": 0.0 if clear else None,
        "chart_type": row.get("chart_type"),
    }


def read_plotqa(row: dict, index: int, rows: int) -> Fields:
    answers = accepted(row.get("answer"))
    yield {
        "question": str(first(row, "question_string", "question") or ""),
        "answers": answers,
        "answer_kind": "yes/no" if is_yes_no(answers) else "",
        "kind": str(row.get("template") or ""),
        "chart_type": row.get("type") if isinstance(row.get("type"), str) else None,
    }


def read_chartfc(row: dict, index: int, rows: int) -> Fields:
    """Claims with 1 or 0: the model is asked for Yes or No, in training and in evaluation alike."""
    label = first(row, "answer", "label")
    said = {"1": "Yes", "0": "No", "yes": "Yes", "no": "No", "true": "Yes", "false": "No"}.get(str(label).lower())
    claim = str(first(row, "question", "claim") or "").strip()
    yield {
        "question": f"Does the chart support this claim? {claim}" if claim else "",
        "answers": (said,) if said else (),
        "answer_kind": "yes/no",
        "kind": "claim",
        "instruction": YES_NO,
        "chart_type": "bar",
    }


def read_chartqapro(row: dict, index: int, rows: int) -> Fields:
    """Conversations: the last question is asked, the earlier turns are history; years need an exact match."""
    questions, answers = (_as_list(row.get(column)) for column in ("Question", "Answer"))
    if len(questions) != len(answers):
        raise ValueError(f"{len(questions)} questions and {len(answers)} answers")
    kind = str(row.get("Question Type") or "")
    years = ["Y" if str(flag).strip().upper() == "YES" else "-" for flag in _as_list(row.get("Year"))]
    flags = "".join(years[-1:] if kind == "Conversational" else years)
    gold = tuple(answer.strip().strip(".").strip("\n") for answer in accepted(answers[-1:]))
    paragraph = str(row.get("Paragraph") or "").strip()
    instruction = {"Fact Checking": "Answer true or false.", "Multi Choice": "Answer with the letter of the option."}
    rules = [
        instruction.get(kind, "Give several answers as a list in square brackets, each in quotes."),
        paragraph and f"Text: {paragraph}",
    ]
    yield {
        "question": str(questions[-1] if questions else ""),
        "answers": gold,
        "answer_kind": _chartqapro_kind(kind, gold, flags),
        "kind": kind,
        "rule": f"chartqapro:{flags}" if "Y" in flags else "chartqapro",
        "instruction": " ".join(filter(None, rules)),
        "history": tuple(zip(map(str, questions[:-1]), map(str, answers[:-1]), strict=True)),
    }


def _chartqapro_kind(kind: str, gold: tuple[str, ...], flags: str) -> str:
    if gold and gold[0].startswith("["):
        return "list"
    if kind == "Fact Checking" and is_yes_no(gold):
        return "yes/no"
    return "text" if kind == "Multi Choice" else "year" if flags == "Y" else ""


def read_chartbench(row: dict, index: int, rows: int) -> Fields:
    """Each statement appears twice, true and negated: every turn of the conversation is a question of its own."""
    turns = row.get("conversation")
    if not turns:
        raise ValueError("no conversation")
    for turn in turns:
        answers = accepted(turn.get("label"))
        yes_no = is_yes_no(answers)
        yield {
            "question": str(turn.get("query") or ""),
            "answers": answers,
            "answer_kind": "yes/no" if yes_no else "",
            "kind": "statement" if yes_no else "value",
            "rule": "chartbench" if len(turns) > 1 else "chartbench:value",
            "chart_type": row["type"].get("chart") if isinstance(row.get("type"), dict) else None,
            "instruction": YES_NO if yes_no else "",
        }


def read_figureqa(row: dict, index: int, rows: int) -> Fields:
    """Answers end in a full stop."""
    pairs = row.get("qa")
    if not pairs:
        raise ValueError("no question")
    for pair in pairs:
        yield {
            "question": str(pair.get("question") or ""),
            "answers": tuple(answer.rstrip(". ") for answer in accepted(pair.get("answer"))),
            "answer_kind": "yes/no",
            "kind": "yes/no",
            "instruction": YES_NO,
        }


def _as_list(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


ADAPTERS = {
    adapter.name: adapter
    for adapter in (
        *HARD_SETS,
        Adapter(
            "evochart",
            "trains on the chart-rvr set, evaluates on EvoChart-QA (1,250 questions on 650 charts)",
            read_evochart,
            wanted="image, question, answer",
            evaluate=Place("gsarch/EvoChart-QA", "train"),
        ),
        Adapter(
            "chart-rvr",
            "34,194 training rows: ChartQA, PlotQA and ChartFC, with guessed types and tables",
            read_chart_rvr,
            wanted="image, query, label",
            train=Place("sanchit97/chart-rvr-grpo-train", "train"),
        ),
        Adapter(
            "chartqa",
            "charts of four web sites, written and generated questions",
            read_chartqa,
            wanted="image, query or question, label or answer",
            train=Place("HuggingFaceM4/ChartQA", "train"),
            evaluate=Place("HuggingFaceM4/ChartQA", "test"),
            layout=file_layouts.chartqa,
        ),
        Adapter(
            "plotqa",
            "scientific plots with template questions; local files only",
            read_plotqa,
            wanted="image, question_string or question, answer",
            train=Place(None, "train"),
            evaluate=Place(None, "test"),
            layout=file_layouts.plotqa,
        ),
        Adapter(
            "chartfc",
            "claims about bar charts, to be confirmed or not; local files only",
            read_chartfc,
            wanted="image, question or claim, answer or label",
            train=Place(None, "train"),
            evaluate=Place(None, "test"),
            layout=file_layouts.chartfc,
        ),
        Adapter(
            "chartqapro",
            "1,948 harder questions, some of them conversations; evaluation only",
            read_chartqapro,
            wanted="image, Question, Answer",
            evaluate=Place("ahmed-masry/ChartQAPro", "test"),
        ),
        Adapter(
            "chartbench",
            "statements in true and flipped pairs",
            read_chartbench,
            wanted="image, conversation",
            train=Place("SincereX/ChartBench", "train_data", "chart_bench"),
            evaluate=Place("SincereX/ChartBench", "test_data", "chart_bench"),
        ),
        Adapter(
            "figureqa",
            "synthetic figures, yes/no questions; training only",
            read_figureqa,
            wanted="image, qa",
            train=Place("vikhyatk/figureqa", "train"),
        ),
        Adapter(
            "clevr",
            "counting objects: trains on CLEVR, evaluates on 200 questions about Super-CLEVR's vehicles",
            clevr.read_clevr,
            wanted=clevr.WANTED,
            train=Place("leonardPKU/clevr_cogen_a_train", "train"),
            evaluate=Place("jigsaw-r1/super_clevr", "test"),
        ),
        Adapter(
            "refcoco",
            "the box of what a phrase means, on COCO's images; training from local files only",
            refcoco.read_refcoco,
            wanted=refcoco.WANTED,
            train=Place(None, "train"),
            evaluate=Place("lmms-lab/RefCOCO", "val"),
        ),
        Adapter(
            "custom",
            "your own data: columns image, question, answer, or JSONL beside an image folder; --dataset-path needed",
            read_custom,
            wanted=WANTED,
            train=Place(None, "train"),
            evaluate=Place(None, "test"),
            layout=file_layouts.jsonl,
            needs_image=False,
        ),
        *MATH_SETS,
    )
}
