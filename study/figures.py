"""The pictures of the study, from the kept counts: Pass@k with differences to the base, and what training logged."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from evaluation.curves import k_axis
from evaluation.estimators import powers_of_two
from evaluation.rendering import picture
from evaluation.styles import GRID, MUTED, RC, styles_for
from study.summary import Arm, band, difference

PANELS = {
    "accuracy": "Accuracy while training (%)",
    "entropy": "Entropy (nats per token)",
    "length": "Completion length (tokens)",
}


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
        figure.axes[0].legend(loc="lower right", handlelength=3.0)
    return figure


def as_svg(figure: Figure) -> str:
    """The same bytes for the same numbers."""
    return "".join(f"{line.rstrip()}\n" for line in picture(figure, ".svg").decode().splitlines())
