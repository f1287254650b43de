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
_WORDS = re.compile(r"[a-z0-9]+")


def family(name: str | None) -> str | None:
    """ "Stacked bar chart", "column graph" and "h_bar" are all "bar"; two families at once, or an essay, are none."""
    words = _WORDS.findall((name or "").lower())
    if not words or len(words) > 6:
        return None
    whole = _FAMILY.get("".join(words)) or _FAMILY.get("".join(word for word in words if word not in _IGNORED))
    if whole:
        return whole
    rest = [word for word in words if word not in _IGNORED]
    families = {_FAMILY.get(word) for word in rest}
    if len(families) == 1 and None not in families:
        return families.pop()
    if families and None not in families and "combination" in families:
        return "combination"
    return None


def same_type(said: str | None, gold: str) -> bool:
    meant = family(gold)
    if meant is not None:
        return family(said) == meant
    return (said or "").strip().lower() == gold.strip().lower()
