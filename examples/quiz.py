"""Draws a small set of its own columns for examples/options.yaml and examples/near.yaml: `python -m examples.quiz`.

quiz/train.jsonl and quiz/test.jsonl have the columns picture, ask, options, solution (the place of the right option)
and amount (the value itself); the pictures lie beside them.
"""

import argparse
import json
import random
import sys
from pathlib import Path

from charts.synthetic import synthetic_questions
from common.commands import Parser, check_least, program


def draw(folder: Path, rows: int) -> None:
    """Writes `rows` rows a split, of questions whose answer is a number."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        asked = [one for one in synthetic_questions(split, 4 * rows) if one.answer_kind == "number"][:rows]
        lines = []
        for question in asked:
            picture = f"{question.image_id}.png"
            question.open_image().save(folder / picture)
            right = int(question.answers[0])
            options = [right, right + 2, right + 4]
            random.Random(question.id).shuffle(options)
            place, options = options.index(right), [f"{option} units" for option in options]
            row = {"picture": picture, "ask": question.question, "options": options, "solution": place, "amount": right}
            lines.append(json.dumps(row))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("quiz"), help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=48, help="rows a split (default: %(default)s)")
    return check_least(parser.parse_args(argv), rows=1)


def run(args: argparse.Namespace) -> int:
    draw(args.folder, args.rows)
    return 0


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
