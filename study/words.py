"""The sentences with numbers at the head of docs/reproduction.md and of the README, from the kept counts."""

import textwrap
from collections.abc import Callable
from pathlib import Path

from evaluation.names import display_name
from study import tables, ways
from study.plan import METHODS, Size
from study.summary import Arm
from study.tables import markdown, points


def abstract(counts: Path, size: Size) -> str | None:
    """At most ten lines to be quoted, of the methods at the common rate and, once all are kept, at their own.

    None before two methods are kept.
    """
    every, marked = tables.common_arms(counts, size), tables.common_marked(counts, size)
    kept = [name for name in METHODS if name in every and name in marked]
    if "base" not in every or "base" not in marked or len(kept) < 2:
        return None
    plain = tables.plain(every)
    n, most = size.samples, min(64, size.samples)
    seeds = {every[name].label: _seeds(every[name]) for name in kept}
    each = f"{seeds[every[kept[0]].label]} each" if len(set(seeds.values())) == 1 else ""

    def became(found: dict[str, Arm], say: Callable[[Arm], str]) -> str:
        return f"{say(found['base'])} to {' / '.join(say(found[name]) for name in kept)}"

    text = (
        f"`organism`, a vision-language model of 1.8 million parameters made to answer in eight ways, was trained for "
        f"{size.updates} updates at one learning rate ({each or ', '.join(map(' '.join, seeds.items()))}) and measured "
        f"on {size.problems} test questions and {size.marked} more on marked charts, {n} samples each. Under "
        f"{' / '.join(seeds)}, Pass@1 went from {became(every, lambda arm: _at(arm, 1))}, and Pass@{n} from "
        f"{became(every, lambda arm: _at(arm, n))}. On marked charts, where only the rare careful way is right, "
        f"Pass@{most} went from {became(marked, lambda arm: _at(arm, most))}; that way's share of completions there "
        f"from {became(marked, _careful)} in 100. Of two ways that are right on plain charts, one had "
        f"{_quick(plain['base'])} in 100 and has {' / '.join(_quick(plain[name]) for name in kept)} (the least and the "
        f"most of the seeds). {_own(counts, size, kept)}These are the effects on one model that was made on purpose; "
        f"they say nothing of their size in another."
    )
    return "\n".join(f"> {line}" for line in textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False))


def opening(counts: Path, size: Size) -> str | None:
    """The README's table: a row a method, the base in the header."""
    every, marked = tables.common_arms(counts, size), tables.common_marked(counts, size)
    if "base" not in every or "base" not in marked:
        return None
    n, most = size.samples, min(64, size.samples)
    columns = {
        "Pass@1": lambda name: _at(every[name], 1),
        f"Pass@{n}": lambda name: _at(every[name], n),
        f"Pass@{most}, marked": lambda name: _at(marked[name], most),
        "careful, marked": lambda name: _careful(marked[name]),
    }
    header = [f"{title} ({cell('base')})" for title, cell in columns.items()]
    rows = []
    for name in METHODS:
        there = name in every and name in marked
        cells = [cell(name) for cell in columns.values()] if there else ["–"] * len(columns)
        rows.append([display_name(name), str(every[name].seeds) if there else "0", *cells])
    return markdown(["% (base)", "seeds", *header], rows)


def _own(counts: Path, size: Size, kept: list[str]) -> str:
    """A sentence on the methods at their own rates; none before all of them are kept with as many seeds as planned."""
    rates, own = tables.rates_chosen(counts, size), tables.own_arms(counts, size)
    if len(size.rates) == 1 or not rates or any(name not in own or own[name].seeds < len(size.seeds) for name in kept):
        return ""
    ends = [" / ".join(_at(own[name], k) for name in kept) for k in (1, size.samples)]
    return (
        f"Each at its own best rate ({' / '.join(rates[name] for name in kept)}), Pass@1 is {ends[0]} and "
        f"Pass@{size.samples} {ends[1]}. "
    )


def _at(arm: Arm, k: int) -> str:
    return points(arm.curve([k])[0])


def _careful(arm: Arm) -> str:
    return points(float(ways.per_problem(arm, ["careful"]).mean()))


def _quick(arm: Arm) -> str:
    each = ways.quick_of_both(arm)
    return "–".join(dict.fromkeys((points(each.min()), points(each.max()))))


def _seeds(arm: Arm) -> str:
    return "one seed" if arm.seeds == 1 else f"{arm.seeds} seeds"
