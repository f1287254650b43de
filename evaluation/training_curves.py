"""What training runs logged, as curves: accuracy, entropy, length, right and wrong counts, loss, gradient norm.

And Pass@1 and Pass@n on the held-out charts, where they were measured (--eval-samples).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.curves import BAND, add_words
from evaluation.names import display_name
from evaluation.spreadsheets import cell, csv_text
from evaluation.styles import GRID, MUTED, RC, TEXT, styles_for

PANELS = {  # title -> keys of log_history, the first that a run has; a pair of lists draws two lines
    "Accuracy while training": [["decomposed/accuracy", "rewards/accuracy/mean"]],
    "Entropy (nats per token)": [["entropy"]],
    "Completion length (tokens)": [["completions/mean_length"]],
    "Right (solid), wrong (dotted)": [["decomposed/positive"], ["decomposed/negative"]],
    "Loss": [["loss"]],
    "Gradient norm": [["grad_norm"]],
}
HELD_OUT = ["eval_decomposed/accuracy", "eval_rewards/accuracy/mean"]  # as above: the second in older runs
PASS_AT = "eval_pass@"  # followed by k; and /low, /high for the ends of its interval
SMOOTH_FROM = 60  # a run with more steps is drawn as a running mean over its points, drawn faintly


@dataclass
class Run:
    """One training log: where it is from, its mode, and for each metric the steps and values."""

    path: Path
    method: str
    series: dict[str, tuple[np.ndarray, np.ndarray]]


def find_log(path: str | Path) -> Path:
    """trainer_state.json of an output folder, or of its newest checkpoint; or the file itself."""
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} does not exist")
    if (path / "trainer_state.json").is_file():
        return path / "trainer_state.json"
    states = [file for file in path.glob("checkpoint-*/trainer_state.json") if _step_of(file) >= 0]
    if not states:
        raise ValueError(f"{path} holds no trainer_state.json, nor does a checkpoint-* folder in it")
    return max(states, key=_step_of)


def _step_of(state: Path) -> int:
    step = state.parent.name.removeprefix("checkpoint-")
    return int(step) if step.isdigit() else -1


def read_run(path: str | Path) -> Run:
    """The log of one run; ValueError when there is nothing to draw."""
    log = find_log(path)
    try:
        history = json.loads(log.read_text(encoding="utf-8"))["log_history"]
        entries = [e for e in history if isinstance(e, dict) and isinstance(e.get("step"), int | float)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{log} is not a trainer_state.json with a log_history ({error!r})") from None
    points: dict[str, dict[float, float]] = {}
    for entry in entries:
        for key, value in entry.items():
            if key != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
                points.setdefault(key, {})[entry["step"]] = value  # a resumed run logs a step again: the last counts
    if not points:
        raise ValueError(f"{log} logged no step: was the run stopped before its first one?")
    series = {
        key: (np.array(sorted(at)), np.array([at[step] for step in sorted(at)], float)) for key, at in points.items()
    }
    return Run(log, _mode(log), series)


def _mode(log: Path) -> str:
    for folder in (log.parent, log.parent.parent):
        settings = folder / "training_settings.json"
        if settings.is_file():
            try:
                return str(json.loads(settings.read_text(encoding="utf-8"))["settings"]["mode"])
            except (ValueError, KeyError, TypeError, RecursionError):
                break
    return log.parent.name


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over `window` points, over fewer at both ends."""
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones_like(values), ones, "same")


def draw_training(runs: list[Run], labels: list[str], title: str | None = None) -> Figure:
    """Six panels over optimiser steps, one colour a run; beside them Pass@1 and Pass@n where a run measured them."""
    styles = styles_for(labels, [display_name(run.method) for run in runs])
    ks = _shown_ks(runs)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(12.6 if ks else 9.6, 5.4), layout="constrained")
        grid = figure.subplots(2, 4 if ks else 3, sharex=True)
        for panel, (name, lines) in zip(grid[:, :3].ravel(), PANELS.items(), strict=True):
            _panel(panel, name, lines, runs, labels, styles)
        for panel, k in zip(grid[:, 3:].ravel(), ks, strict=True):
            _pass_at_k_panel(panel, k, runs, styles)
        for panel in grid[1]:
            panel.set_xlabel("optimiser step")
        handles, names = grid[0, 0].get_legend_handles_labels()
        place = "outside upper right" if title else "outside upper left"
        figure.legend(handles, names, loc=place, ncols=len(labels), handlelength=3.0)
        add_words(figure, title, _caption(runs), [], 218 if ks else 166)
    return figure


def _ks(run: Run) -> set[int]:
    """The k whose Pass@k on the held-out charts a run logged with its interval."""
    names = {key.removeprefix(PASS_AT) for key in run.series if key.startswith(PASS_AT)}
    return {int(name) for name in names if name.isdigit() and {f"{name}/low", f"{name}/high"} <= names}


def _shown_ks(runs: list[Run]) -> list[int]:
    """1 and the largest k that all runs with Pass@k measured; [] when none did."""
    measured = [ks for run in runs if (ks := _ks(run))]
    common = set.intersection(*measured) if measured else set()
    return [min(common), max(common)] if len(common) > 1 else []


def _pass_at_k_panel(axes, k: int, runs: list[Run], styles: list[dict]) -> None:
    for run, style in zip(runs, styles, strict=True):
        if k not in _ks(run):
            continue
        steps, values = run.series[f"{PASS_AT}{k}"]
        axes.plot(steps, 100 * values, "D-", color=style["color"], markeredgecolor="white", markersize=6, linewidth=1.5)
        (steps, low), (_, high) = (run.series[f"{PASS_AT}{k}/{end}"] for end in ("low", "high"))
        axes.fill_between(steps, 100 * low, 100 * high, color=style["color"], alpha=2 * BAND, linewidth=0)
    axes.set_title(f"Pass@{k} on held-out charts (%)")
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _caption(runs: list[Run]) -> str:
    text = []
    if any(_window(len(run.series.get("loss", ([],))[0])) > 1 for run in runs):
        text.append("Faint: every logged step; strong: running mean.")
    if any(_first(HELD_OUT, run) for run in runs):
        text.append("Diamonds: accuracy on held-out charts.")
    if _shown_ks(runs):
        text.append("Pass@k bands: 95 % intervals, bootstrap over charts.")
    return " ".join(text)


def _first(keys: list[str], run: Run) -> str | None:
    return next((key for key in keys if key in run.series), None)


def _window(points: int) -> int:
    return max(3, points // 20) if points > SMOOTH_FROM else 1


def _panel(axes, name: str, lines: list[list[str]], runs: list[Run], labels: list[str], styles: list[dict]) -> None:
    percent = name.startswith("Accuracy")
    drawn = False
    for run, label, style in zip(runs, labels, styles, strict=True):
        for place, keys in enumerate(lines):
            key = _first(keys, run)
            steps, values = run.series[key] if key else (np.array([]), np.array([]))
            look = {"color": style["color"], "linestyle": ":" if place else "-", "label": None if place else label}
            _line(axes, steps, 100 * values if percent else values, look)
            drawn = drawn or len(values) > 0
        held_out = _first(HELD_OUT, run)
        if percent and held_out:
            steps, values = run.series[held_out]
            axes.plot(steps, 100 * values, "D", color=style["color"], markeredgecolor="white", markersize=6, zorder=4)
    axes.set_title(name + (" (%)" if percent else ""))
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if name == "Loss":
        axes.axhline(0.0, color=TEXT, linewidth=0.8, zorder=1.5)
    elif drawn:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.get_ylim()[0] < 0.4 * axes.get_ylim()[1] else None)
    if not drawn:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=MUTED)


def _line(axes, steps: np.ndarray, values: np.ndarray, look: dict) -> None:
    window = _window(len(values))
    if window > 1:
        axes.plot(steps, values, color=look["color"], linewidth=0.6, alpha=0.22)
        values = smooth(values, window)
    axes.plot(steps, values, linewidth=1.5, marker="." if len(values) < 12 else None, **look)


def as_csv(runs: list[Run], labels: list[str]) -> str:
    """Every number of the panels: one row per run, metric and step."""
    wanted = [key for lines in PANELS.values() for keys in lines for key in keys] + HELD_OUT
    rows = [["label", "mode", "metric", "step", "value"]]
    for run, label in zip(runs, labels, strict=True):
        measured = [f"{PASS_AT}{k}{end}" for k in sorted(_ks(run)) for end in ("", "/low", "/high")]
        for key in wanted + measured:
            for step, value in zip(*run.series.get(key, ([], [])), strict=True):
                rows.append([cell(label), cell(run.method), key, f"{step:g}", f"{value:.6g}"])
    return csv_text(rows)
