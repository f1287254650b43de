"""The pictures of the study, from the kept counts: Pass@k, shares of the ways to answer, what training logged."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from evaluation.curves import k_axis
from evaluation.estimators import powers_of_two
from evaluation.rendering import picture
from evaluation.styles import GRID, MUTED, RC, styles_for
from study.summary import Arm, band, difference
from study.ways import WAYS, shares

PANELS = {
    "accuracy": "Accuracy while training (%)",
    "entropy": "Entropy (nats per token)",
    "length": "Completion length (tokens)",
}
# From the careful way to the flawed ones: the two that are right on plain charts in neighbouring colours, the flawed in
# greys.
WAY_COLORS = ("#009e73", "#0072b2", "#56b4e9", "#4d4d4d", "#7a7a7a", "#9e9e9e", "#bdbdbd", "#d9d9d9", "#f0f0f0")


def panels_figure(panels: dict[str, dict[str, Arm]]) -> Figure:
    """Title -> arms: Pass@k with bands over charts and seeds, a panel each."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(4.7 * max(2, len(panels)), 4.0), layout="constrained")
        for axes, (title, found) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
            ks = powers_of_two(min(arm.n for arm in found.values()))
            styles = styles_for([arm.label for arm in found.values()], list(found))
            for arm, style in zip(found.values(), styles, strict=True):
                _curve(axes, ks, arm.curve(ks), band(arm, ks), arm.label, style)
            axes.set_title(title)
            k_axis(axes, ks)
        figure.axes[0].legend(loc="lower right", handlelength=4.2)
    return figure


def ways_figure(panels: dict[str, dict[str, Arm]]) -> Figure:
    """Title -> arms: how the completions share themselves among the ways, a bar a method."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.4, 2.6), layout="constrained")
        for axes, (title, found) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
            labels = [arm.label for arm in found.values()]
            values = np.array([100 * shares(arm).mean(axis=0) for arm in found.values()])  # (arms, W)
            starts = np.cumsum(values, axis=1) - values
            for place, (way, color) in enumerate(zip(WAYS, WAY_COLORS, strict=True)):
                axes.barh(labels, values[:, place], left=starts[:, place], color=color, label=way)
            axes.set(title=title, xlim=(0, 100))
        figure.axes[0].invert_yaxis()
        look: dict[str, Any] = {"ncols": len(WAYS), "fontsize": 8, "handlelength": 1.0, "columnspacing": 1.0}
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", **look)
    return figure


def pass_at_k_figure(found: dict[str, Arm]) -> Figure:
    """Left: Pass@k with bands over charts and seeds. Right: paired differences to the base, bands over charts."""
    ks = powers_of_two(min(arm.n for arm in found.values()))
    styles = dict(zip(found, styles_for([a.label for a in found.values()], list(found)), strict=True))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.4, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, arm in found.items():
            _curve(left, ks, arm.curve(ks), band(arm, ks), arm.label, styles[name])
            if name != "base" and "base" in found:
                _curve(right, ks, *difference(arm, found["base"], ks), arm.label, styles[name])
        right.axhline(0.0, color=MUTED, linewidth=1.0)
        left.set_title("Pass@k (%), bands over charts and seeds")
        right.set_title("Paired difference to the base (points), bands over charts")
        left.legend(loc="lower right", handlelength=4.2)
        for axes in (left, right):
            k_axis(axes, ks)
    return figure


def _curve(axes, ks: list[int], values: np.ndarray, bounds: np.ndarray, label: str, style: dict) -> None:
    axes.plot(ks, 100 * values, label=label, markeredgecolor="white", markeredgewidth=0.6, **style)
    axes.fill_between(ks, *(100 * bounds.T), color=style["color"], alpha=0.1, linewidth=0)


def training_figure(found: dict[str, Arm]) -> Figure:
    """Accuracy, entropy and length against updates: the mean over seeds, and their range."""
    trained = {name: arm for name, arm in found.items() if arm.kept[0]["training"]}
    styles = dict(zip(trained, styles_for([a.label for a in trained.values()], list(trained)), strict=True))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.4, 3.0), layout="constrained")
        for axes, (key, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for name, arm in trained.items():
                logs = [one["training"] for one in arm.kept]
                scale = 100 if key == "accuracy" else 1
                updates, values = logs[0]["update"], scale * np.array([log[key] for log in logs])  # (T,), (S, T)
                plain = {**styles[name], "marker": ""}
                axes.plot(updates, values.mean(axis=0), label=arm.label, **plain)
                least, most = values.min(axis=0), values.max(axis=0)
                axes.fill_between(updates, least, most, color=plain["color"], alpha=0.1, linewidth=0)
            axes.set(title=title, xlabel="updates")
            axes.grid(True, color=GRID, linewidth=0.7)
        if trained:
            figure.axes[0].legend(loc="lower right", handlelength=3.0)
    return figure


def as_svg(figure: Figure) -> str:
    """The same bytes for the same numbers."""
    return "".join(f"{line.rstrip()}\n" for line in picture(figure, ".svg").decode().splitlines())
