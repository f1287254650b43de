"""What each method makes of the sound ways' probabilities, by forced scoring: no noise of sampling, no share too small.

A way's probability is that of its first words behind the table of the greedy completion (organism.measure). Beside it:
how often the careful way comes to the right answer when every completion must begin with it, which tells a way that is
no longer taken from one that is no longer known.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.names import display_name
from organism.answering import SOUND
from study import plan
from study.plan import METHODS, Size
from study.tables import markdown, points, rates_chosen

CHARTS = ("plain", "marked")


def read(counts: Path, rates: Mapping[str, str], size: Size) -> dict[str, list[dict]]:
    """'base' and every method -> what is kept of it, a seed each; without those of which nothing is kept."""
    found: dict[str, list[dict]] = {name: [] for name in ("base", *METHODS)}
    for stage in plan.on_scored(rates, size):
        path = counts / f"{stage.name}.json"
        if path.is_file():
            found[stage.run.mode if stage.run else "base"].append(json.loads(path.read_text(encoding="utf-8")))
    return {name: kept for name, kept in found.items() if kept}


def probability(one: dict, way: str, charts: str) -> float:
    """Of a way, the mean over the problems on such charts."""
    places = [place for place, kind in enumerate(one["kinds"]) if kind.endswith(charts)]
    return float(np.mean([one["openings"][way][place] for place in places]))


def table(found: Mapping[str, list[dict]]) -> str | None:
    """Means over seeds, in percent; of the careful way on marked charts also each seed by itself."""
    rows = []
    for name, kept in found.items():
        each = [[probability(one, way, charts) for one in kept] for charts in CHARTS for way in SOUND]
        careful = each[len(SOUND)]  # of marked charts
        right = [np.mean([one["forced"][charts] for one in kept]) / 100 for charts in CHARTS]
        cells = [*(points(float(np.mean(values))) for values in each), " / ".join(map(points, careful))]
        rows.append([display_name(name), *cells, *map(points, right)])
    ways = [f"{way}, {charts}" for charts in CHARTS for way in SOUND]
    forced = [f"careful forced, right, {charts}" for charts in CHARTS]
    return markdown(["%", *ways, "careful, marked (each seed)", *forced], rows) if rows else None


def of_own(counts: Path, size: Size) -> str | None:
    rates = rates_chosen(counts, size)
    return table(read(counts, rates, size)) if rates else None


def of_common(counts: Path, size: Size) -> str | None:
    return table(read(counts, plan.common(size), size))
