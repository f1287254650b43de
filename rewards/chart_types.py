"""Names of chart types: many words, few families."""

from __future__ import annotations

import re

_FAMILIES = {
    "bar": "bar column hbar vbar barplot barh stackedbar groupedbar",
    "line": "line multiline timeseries lineplot spline step",
    "pie": "pie",
    "donut": "donut doughnut ring",
    "area": "area stackedarea",
    "scatter": "scatter scatterplot point dotplot dot dotline",
    "bubble": "bubble",
    "histogram": "histogram hist",
    "box": "box boxplot boxandwhisker whisker",
    "violin": "violin",
    "heatmap": "heatmap heat",
    "radar": "radar spider",
    "treemap": "treemap tree",
    "funnel": "funnel",
    "candlestick": "candlestick candle ohlc",
    "map": "map choropleth",
    "sankey": "sankey",
    "waterfall": "waterfall",
    "table": "table",
    "combination": "combination combo combined mixed composite",
}
_FAMILY = {word: family for family, words in _FAMILIES.items() for word in words.split()}
_FILLERS = (
    "a an and the categorical "
    "chart charts graph graphs plot plots diagram figure stacked grouped clustered horizontal vertical simple "
    "multiple multi single series group percent percentage normalized 100 3d 2d h v with"
)
_IGNORED = frozenset(_FILLERS.split())
_DENIED = frozenset(("no", "not", "non", "or", "neither", "nor"))
_WORDS = re.compile(r"[a-z0-9]+")


def family(name: str | None) -> str | None:
    """ "Stacked bar chart", "column graph", "h_bar" and "common bar" are all "bar": an unknown word beside one known
    family changes nothing. Two families at once, "not bar" and an essay are none."""
    words = _WORDS.findall((name or "").lower())
    if not words or len(words) > 6:
        return None
    whole = _FAMILY.get("".join(words)) or _FAMILY.get("".join(word for word in words if word not in _IGNORED))
    if whole:
        return whole
    rest = [word for word in words if word not in _IGNORED]
    families = {_FAMILY[word] for word in rest if word in _FAMILY}
    if len(families) == 1 and not _DENIED & set(words):
        return families.pop()
    if "combination" in families and all(word in _FAMILY for word in rest):
        return "combination"
    return None


def same_type(said: str | None, gold: str) -> bool:
    meant = family(gold)
    if meant is not None:
        return family(said) == meant
    return (said or "").strip().lower() == gold.strip().lower()
