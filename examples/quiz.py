"""Draws a small set of its own columns for examples/options.yaml and examples/near.yaml: `python -m examples.quiz`.

quiz/train.jsonl and quiz/test.jsonl have the columns picture, ask, options, solution (the place of the right option)
and amount (the value itself); the pictures lie beside them.
"""

import json
import random
import sys
from pathlib import Path

from charts.synthetic import synthetic_questions
from common.commands import Parser


def draw(folder: Path, rows: int) -> None:
    """Writes `rows` rows a split, of questions whose answer is a number."""
    folder.mkdir(exist_ok=True)
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


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("quiz"), help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=48, help="rows a split (default: %(default)s)")
    args = parser.parse_args(argv)
    draw(args.folder, args.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
