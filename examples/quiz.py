"""Draws a small set of its own columns for examples/options.yaml and examples/near.yaml: `python -m examples.quiz`.

quiz/train.jsonl and quiz/test.jsonl have the columns picture, ask, options, solution (the place of the right option)
and amount (the value itself); the pictures lie beside them.
"""

import json
import random
from pathlib import Path

from charts.synthetic import synthetic_questions


def main(folder: str | Path = "quiz", rows: int = 48) -> Path:
    """Writes `rows` rows a split, of questions whose answer is a number, and returns the folder."""
    folder = Path(folder)
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
    return folder


if __name__ == "__main__":
    print(main())
