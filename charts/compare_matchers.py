"""The verdict table: hand-decided answer cases under the strict rule, the public relaxed rule and math-verify.

python -m charts.compare_matchers                     # a line per rule and category
python -m charts.compare_matchers --show percent      # every case of a category
python -m charts.compare_matchers --show wrong        # every case on which a rule errs
"""

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from charts.answers import grade
from charts.record import ChartQuestion
from common.commands import Parser, program

CASES = Path(__file__).parents[1] / "tests" / "data" / "answer_cases.jsonl"

COLUMNS = ("id", "category", "question", "answers", "answer_kind", "tolerance", "given", "correct", "why")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--cases", type=Path, default=CASES, help="JSON lines of cases (default: the tests' table)")
    parser.add_argument("--show", metavar="CATEGORY", help='print the cases of a category, "wrong" or "all"')
    return parser.parse_args(argv)


def read_cases(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        cases = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"--cases {path}: {error}") from None
    for number, case in enumerate(cases, start=1):
        missing = [name for name in COLUMNS if not isinstance(case, dict) or name not in case]
        if missing:
            raise ValueError(f"--cases {path}: case {number} lacks {', '.join(missing)} (tests/data/README.md)")
    return cases


def rules() -> dict[str, Callable[[dict], bool | None]]:
    def ours(rule: str, case: dict) -> bool | None:
        golds, kind, tolerance = tuple(case["answers"]), case["answer_kind"], case["tolerance"]
        question = ChartQuestion(case["id"], case["question"], golds, answer_kind=kind, tolerance=tolerance)
        return grade(case["given"], question, rule).correct

    found: dict[str, Callable[[dict], bool | None]] = {rule: partial(ours, rule) for rule in ("strict", "relaxed")}
    try:
        import math_verify
    except ImportError:
        return found

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no timeout is set; the cases are short

    def symbolic(case: dict) -> bool | None:
        if not case["answers"]:
            return None
        given = math_verify.parse(case["given"], parsing_timeout=None)
        golds = (math_verify.parse(gold, parsing_timeout=None) for gold in case["answers"])
        return any(bool(math_verify.verify(gold, given, timeout_seconds=None)) for gold in golds)

    return {**found, "math-verify": symbolic}


def table(cases: list[dict], verdicts: dict[str, list[bool | None]]) -> str:
    """Per rule and category: right answers rejected, wrong ones accepted."""
    columns = "".join(f"{rule:>24}" for rule in verdicts)
    lines = [f"{'category':<20}{'right':>6}{'wrong':>6}{columns}"]
    lines += [f"{'':<32}" + f"{'rejected  accepted':>24}" * len(verdicts)]
    groups = defaultdict(list)
    for number, case in enumerate(cases):
        groups[case["category"]].append(number)
    for name, numbers in [*groups.items(), ("all", range(len(cases)))]:
        right = [number for number in numbers if cases[number]["correct"] is True]
        wrong = [number for number in numbers if cases[number]["correct"] is False]
        cells = "".join(
            f"{sum(said[n] is not True for n in right):>16}{sum(said[n] is True for n in wrong):>8}"
            for said in verdicts.values()
        )
        lines.append(f"{name:<20}{len(right):>6}{len(wrong):>6}{cells}")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    cases = read_cases(args.cases)
    verdicts = {rule: [decide(case) for case in cases] for rule, decide in rules().items()}
    for number, case in enumerate(cases):
        said = {rule: all_said[number] for rule, all_said in verdicts.items()}
        errs = [rule for rule, verdict in said.items() if verdict is not case["correct"]]
        if args.show in ("all", case["category"]) or (args.show == "wrong" and errs):
            want = {True: "right", False: "wrong", None: "unscorable"}[case["correct"]]
            blame = f"   errs: {', '.join(errs)}" if errs else ""
            print(
                f"{case['id']:<22}{' | '.join(case['answers']):<28}{case['given']!r:<28}{want:<11}{case['why']}{blame}"
            )
    print(table(cases, verdicts))
    if "math-verify" not in verdicts:
        print("math-verify is not installed: pip install math-verify")
    return 0


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
