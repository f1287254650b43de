"""Scenes of coloured shapes to be counted, after CLEVR: drawn from a seed, any number of them.

Three to nine shapes (circle, square, triangle; five colours; two sizes) lie scattered on a white picture without
touching. Asked is how many there are: of all, of a colour, of a shape, or of both; never of what is not there. Of a
scene's counts each is as likely to be asked for, so that guessing helps little. What a scene shows is hashed, and the
hash says to which split it belongs: splits share no scene. Two consecutive questions share one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from charts.record import ChartQuestion
from charts.synthetic import (
    QUESTIONS_PER_CHART,
    SEED,
    SPLITS,
    DrawnChart,
    completion_of,
    digest,
    first_questions,
    question_about,
)

if TYPE_CHECKING:
    from PIL import Image

COLORS = {
    "red": (220, 30, 30),
    "blue": (30, 80, 225),
    "green": (30, 150, 50),
    "orange": (255, 150, 0),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle")
SIDES = (12, 16)  # pixels
OBJECTS = range(3, 10)
PICTURE, GRID = 112, 5  # pixels a side; cells a side, of which an object has one


class Thing(NamedTuple):
    """One object: the corner of its square, in pixels."""

    shape: str
    color: str
    side: int
    x: int
    y: int


@dataclass(frozen=True)
class Scene(DrawnChart):
    """Objects, line by line."""

    things: tuple[Thing, ...]

    chart_type = "scene"

    @property
    def table(self) -> dict:
        """Its objects as one reads: line by line."""
        return {"columns": ["color", "shape"], "rows": [[one.color, one.shape] for one in self.things]}

    @property
    def image_id(self) -> str:
        return digest(self.things)[:16]

    @property
    def part(self) -> int:
        """The hundredth of the space of scenes in which this one lies."""
        return int(digest(self.things), 16) % 100


def draw(scene: Scene) -> Image.Image:
    """The scene as a fresh 112 x 112 RGB image."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (PICTURE, PICTURE), (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    for shape, color, side, x, y in scene.things:
        corners = [x, y, x + side - 1, y + side - 1]
        if shape == "circle":
            canvas.ellipse(corners, fill=COLORS[color])
        elif shape == "square":
            canvas.rectangle(corners, fill=COLORS[color])
        else:
            canvas.polygon([(x + side // 2, y), (x + side - 1, y + side - 1), (x, y + side - 1)], fill=COLORS[color])
    return image


def random_scene(split: str, rng: random.Random) -> Scene:
    """A scene of the part of the space that `split` owns, with counts enough for its questions."""
    cell = PICTURE // GRID
    while True:
        places = rng.sample([(column, row) for row in range(GRID) for column in range(GRID)], rng.choice(OBJECTS))
        things = []
        for column, row in sorted(places, key=lambda place: place[::-1]):
            side = rng.choice(SIDES)
            x, y = (cell * at + rng.randint(1, cell - side - 1) for at in (column, row))
            things.append(Thing(rng.choice(SHAPES), rng.choice(list(COLORS)), side, x, y))
        scene = Scene(tuple(things))
        if scene.part in SPLITS[split] and len(by_count(scene)) >= QUESTIONS_PER_CHART:
            return scene


class Asked(NamedTuple):
    kind: str  # "all", "colour", "shape" or "both"
    question: str
    meant: tuple[Thing, ...]


def questions_about(scene: Scene) -> list[Asked]:
    """Everything that can be asked about a scene."""
    colors, shapes = (
        sorted(set(found)) for found in zip(*((one.color, one.shape) for one in scene.things), strict=True)
    )
    groups = [("all", "objects", "", "")]
    groups += [("colour", f"{color} objects", color, "") for color in colors]
    groups += [("shape", f"{shape}s", "", shape) for shape in shapes]
    groups += [("both", f"{color} {shape}s", color, shape) for color in colors for shape in shapes]
    found = []
    for kind, words, color, shape in groups:
        meant = tuple(one for one in scene.things if color in ("", one.color) and shape in ("", one.shape))
        if meant:
            found.append(Asked(kind, f"How many {words} are there?", meant))
    return found


def by_count(scene: Scene) -> dict[int, list[Asked]]:
    """Answer -> the questions about a scene that have it."""
    found: dict[int, list[Asked]] = {}
    for one in questions_about(scene):
        found.setdefault(len(one.meant), []).append(one)
    return found


def choose(scene: Scene, rng: random.Random) -> list[Asked]:
    """As many questions about a scene as share it, with different answers."""
    asked = by_count(scene)
    return [rng.choice(asked[count]) for count in rng.sample(sorted(asked), QUESTIONS_PER_CHART)]


def worked_examples(split: str, seed: int, start: int = 0) -> Iterator[tuple[ChartQuestion, str]]:
    """Questions of `split` without end, from the one numbered `start`, each with a right completion."""
    index = start
    while True:
        place, turn = divmod(index, QUESTIONS_PER_CHART)
        rng = random.Random(f"counting/{split}/{seed}/{place}")
        scene = random_scene(split, rng)
        for kind, question, meant in choose(scene, rng)[turn:]:
            answer = str(len(meant))
            record = question_about(
                scene, partial(draw, scene), "counting", split, f"{seed}-{index:06d}", question=question,
                answers=(answer,), kind=kind, answer_kind="count", tolerance=None,
            )  # fmt: skip
            rows = ", ".join(json.dumps([one.color, one.shape]) for one in meant)  # those of the table that count
            yield record, completion_of(scene, answer, [rows, f"count {answer}"])
            index += 1


def counting_questions(split: str, size: int) -> list[ChartQuestion]:
    """The first `size` questions of a split; a larger size begins with the same questions."""
    return first_questions("counting", (question for question, _ in worked_examples(split, SEED)), split, size)
