"""The Pass@k picture: one curve and band per method, and on request the paired difference to one of them."""

import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from common.terminal import printable
from evaluation.results import Results, common_rows, paired_difference
from evaluation.spreadsheets import cell, csv_text
from evaluation.styles import GRID, MUTED, RC, TEXT, WARNING, styles_for

BAND, BAND_EDGE = 0.05, 0.4  # faint within, outlined: five bands on top of each other stay five bands


def caption(results: list[Results], warnings: list[str]) -> str:
    """What a reader must know of the runs: problems, charts, n, sampling, intervals, and the meaning of k = n."""
    first = results[0]
    meta = first.metadata
    sampling = first.part("sampling")
    n, problems = meta.get("samples_per_problem"), meta.get("num_problems")
    parts = []
    if isinstance(problems, int) and not warnings:
        clusters = len(set(first.clusters))
        charts = f" on {clusters} charts" if 0 < clusters < problems else ""
        data = first.part("data").get("name")
        parts.append(f"{problems} problems{charts}" + (f" of {data}" if data else ""))
        parts += [f"n = {n} samples each"] if n else []
        seeds = {str(one.part("sampling").get("seed")) for one in results} - {"None"}
        names = {"temperature": "temperature", "top_p": "top-p"}
        parts += [
            f"{name} {sampling[key]:g}" for key, name in names.items() if isinstance(sampling.get(key), (int, float))
        ]
        parts += [f"seed {', '.join(sorted(seeds))}"] if seeds else []
    text = ", ".join(parts) + ". " if parts else ""
    if any(one.intervals for one in results):
        exact = any(one.part("intervals").get("exact_at") for one in results)
        text += "Bands: 95 % intervals, bootstrap over charts"
        text += "; exact one-sided bounds where no or every problem is solved. " if exact else ". "
    if blind := [one.method for one in results if one.without_image]:
        text += f"Asked without the image: {', '.join(blind)}. "
    if n != 1 and n in first.k_values and not warnings:
        text += f"At k = n = {n}: share of problems with any right sample."
    return printable(text.strip())


def draw_curves(
    results: list[Results],
    labels: list[str],
    *,
    ks: list[int] | None = None,
    baseline: str | None = None,
    warnings: list[str] | None = None,
    title: str | None = None,
    words: bool = True,
) -> Figure:
    """The figure; `warnings` say why the runs are not of one experiment and are printed on it. Without `words` it has
    neither title nor caption nor warning: they are for the page around it."""
    warnings = warnings or []
    styles = styles_for(labels, [one.method for one in results])
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.4, 4.3) if baseline else (6.0, 4.4) if words else (5.0, 4.0), layout="constrained")
        axes = figure.subplots(1, 2 if baseline else 1, squeeze=False)[0]
        for one, label, style in zip(results, labels, styles, strict=True):
            shown = [k for k in one.k_values if ks is None or k in ks]
            bands = [one.intervals[k] for k in shown] if all(k in one.intervals for k in shown) else None
            _curve(axes[0], shown, [one.pass_at_k[k] for k in shown], bands, label, style)
        _finish(axes[0], results, ks, "Pass@k (%)")
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(max(0.0, low), min(101.5, high))
        legend = axes[0].legend(loc="lower right", handlelength=4.2)
        legend.set_zorder(10)
        if baseline:
            _differences(axes[1], results, labels, styles, ks, baseline)
            axes[0].set_title("Pass@k")
        if words:
            add_words(figure, title, caption(results, warnings), warnings, 166 if baseline else 104)
    return figure


def add_words(figure: Figure, title: str | None, text: str, warnings: list[str], width: int) -> None:
    """Title and warnings above the panels, caption below them, wrapped at `width` characters."""
    warned = textwrap.wrap("Not one experiment: the runs differ in " + "; ".join(warnings), int(0.68 * width))
    above = ([title] if title else []) + (warned if warnings else [])
    if above:
        figure.suptitle("\n".join(above), x=0.02, ha="left", fontweight="bold", color=WARNING if warnings else TEXT)
    if text:
        below = "\n".join(textwrap.wrap(text, width))
        figure.supxlabel(below, x=0.02, ha="left", fontsize=7.6, color=MUTED, linespacing=1.4)


def _curve(axes, ks: list[int], values, bands, label: str, style: dict) -> None:
    axes.plot(ks, 100 * np.asarray(values), label=label, markeredgecolor="white", markeredgewidth=0.6, **style)
    if bands is None:
        return
    low, high = 100 * np.asarray(bands).T
    axes.fill_between(ks, low, high, color=style["color"], alpha=BAND, linewidth=0)
    edge = {"color": style["color"], "linestyle": style["linestyle"], "alpha": BAND_EDGE, "linewidth": 0.8}
    axes.plot(ks, low, zorder=1.8, **edge)
    axes.plot(ks, high, zorder=1.8, **edge)


def _finish(axes, results: list[Results], ks: list[int] | None, ylabel: str) -> None:
    ticks = sorted({k for one in results for k in one.k_values if ks is None or k in ks})
    if len(ticks) > 12:  # a dense curve: label the powers of two only
        ticks = [k for k in ticks if k & (k - 1) == 0] or ticks[:: len(ticks) // 10]
    k_axis(axes, ticks)
    axes.set_ylabel(ylabel)


def k_axis(axes, ticks: list[int]) -> None:
    """A logarithmic axis of k with these ticks, and a grid."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_xlabel("k (samples per problem)")


def difference_rows(results: list[Results], labels: list[str], ks: list[int] | None, baseline: str) -> list[tuple]:
    """(label, ks, difference (K,), interval (K, 2)) of every other curve to the baseline's, on common problems."""
    base = results[labels.index(baseline)]
    rows = []
    for one, label in zip(results, labels, strict=True):
        if one is base:
            continue
        shared = [k for k in one.k_values if k in base.k_values and (ks is None or k in ks)]
        for side in (one, base):
            if not side.ids:
                raise ValueError(f"{side.path} holds no per-problem counts, which --baseline needs: compute it again")
        if not common_rows(one, base)[0]:
            raise ValueError(f"{one.path} and {base.path} have no problem in common: no paired difference")
        rows.append((label, shared, *paired_difference(one, base, shared)))
    return rows


def _differences(axes, results, labels, styles, ks, baseline: str) -> None:
    axes.axhline(0.0, color=TEXT, linewidth=1.0, zorder=1.5)
    base = results[labels.index(baseline)]
    common = min(len(common_rows(one, base)[0]) for one in results)
    for label, shared, mean, bounds in difference_rows(results, labels, ks, baseline):
        _curve(axes, shared, mean, bounds, label, styles[labels.index(label)])
    _finish(axes, results, ks, f"difference to {baseline} (points)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    apart = any(len(one.ids) != common for one in results)
    axes.set_title(f"Paired difference to {baseline}" + (f" on {common} common problems" if apart else ""))


def as_csv(results: list[Results], labels: list[str], ks: list[int] | None, baseline: str | None) -> str:
    """The numbers of the picture, one row per curve and k; fractions, not percent."""
    paired: dict[tuple[str, int], tuple] = {}
    for label, shared, mean, bounds in difference_rows(results, labels, ks, baseline) if baseline else []:
        paired |= {(label, k): (mean[i], *bounds[i]) for i, k in enumerate(shared)}
    columns = ["label", "method", "num_problems", "samples_per_problem", "k", "pass_at_k", "low", "high"]
    rows: list[list] = [columns + ([f"minus {baseline}", "difference low", "difference high"] if baseline else [])]
    for one, label in zip(results, labels, strict=True):
        for k in one.k_values:
            if ks is not None and k not in ks:
                continue
            numbers = [one.pass_at_k[k], *one.intervals.get(k, ("", "")), *paired.get((label, k), ())]
            facts = [one.metadata.get("num_problems", ""), one.metadata.get("samples_per_problem", "")]
            rounded = [round(float(number), 6) if number != "" else "" for number in numbers]
            rows.append([cell(label), cell(one.method), *facts, k, *rounded])
    return csv_text(rows)
