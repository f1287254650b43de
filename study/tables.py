"""The tables of the study as markdown, from the kept counts. None for a table none of whose rows is kept yet."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.names import display_name
from study import plan
from study.plan import METHODS, Size
from study.stages import Stage, Study
from study.summary import Arm, band, difference, read_arm

SHOWN = (1, 4, 16, 64, 256)


def shown_ks(n: int) -> list[int]:
    return [k for k in SHOWN if k <= n]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def signed(value: float, bounds: Sequence[float]) -> str:
    """'+1.2 [0.3, 2.1]' in points; bold where the interval, rounded as it is shown, leaves zero out."""
    text = f"{100 * value:+.1f} [{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]".replace("-", "−")
    return f"**{text}**" if round(100 * bounds[0], 1) > 0 or round(100 * bounds[1], 1) < 0 else text


def compared(a: Arm, b: Arm, ks: Sequence[int]) -> list[str]:
    """Cells of the paired difference of `a` to `b`, one a k."""
    return [signed(value, bounds) for value, bounds in zip(*difference(a, b, ks), strict=True)]


def arms(counts: Path, stages: Sequence[Stage]) -> dict[str, Arm]:
    """'base' and every method with kept stages -> its arm."""
    found = {}
    for name in ("base", *METHODS):
        own = [stage.name for stage in stages if (stage.run.mode if stage.run else "base") == name]
        arm = read_arm(counts, display_name(name), own, by_mark=True)
        if arm:
            found[name] = arm
    weights = {one["stage"].get("weights") for arm in found.values() for one in arm.kept}
    if len(weights) > 1:
        raise ValueError(f"{counts}: counts of different builds of a model ({', '.join(sorted(map(str, weights)))})")
    return found


def rates_chosen(counts: Path, size: Size) -> dict[str, str] | None:
    return plan.choose_rates(Study(counts, counts), size)


def common_arms(counts: Path, size: Size) -> dict[str, Arm]:
    """Every method at the common learning rate, on the test split."""
    return arms(counts, plan.finals(plan.common(size), size))


def own_arms(counts: Path, size: Size) -> dict[str, Arm]:
    """Every method at its own learning rate, on the test split; {} before all are chosen."""
    rates = rates_chosen(counts, size)
    return arms(counts, plan.finals(rates, size)) if rates else {}


def common_marked(counts: Path, size: Size) -> dict[str, Arm]:
    """The same as `common_arms` on marked charts alone."""
    return arms(counts, plan.on_marked(plan.common(size), size))


def own_marked(counts: Path, size: Size) -> dict[str, Arm]:
    rates = rates_chosen(counts, size)
    return arms(counts, plan.on_marked(rates, size)) if rates else {}


def plain(found: dict[str, Arm]) -> dict[str, Arm]:
    """Of each arm what it is on plain charts."""
    return {name: arm.only(lambda kind: kind.endswith("plain")) for name, arm in found.items()}


def paper_arms(counts: Path, size: Size) -> dict[str, Arm]:
    return arms(counts, plan.paper_sampling(size))


def progress(counts: Path, size: Size) -> str | None:
    """Which of the planned stages are kept, and which seeds or rates of each method those are."""
    rates = rates_chosen(counts, size) or {}
    planned = {
        "validation split, first seed": [plan.validation_base(size), *plan.grid(size)],
        "common rate": plan.finals(plan.common(size), size),
        "common rate, marked": plan.on_marked(plan.common(size), size),
        "common rate, ways scored": plan.on_scored(plan.common(size), size),
        "own rates": plan.finals(rates, size) if rates else [],
        "own rates, marked": plan.on_marked(rates, size) if rates else [],
        "own rates, ways scored": plan.on_scored(rates, size) if rates else [],
        "paper's sampling, first seed": plan.paper_sampling(size),
    }
    rows = []
    for label, stages in planned.items():
        kept = [stage for stage in stages if (counts / f"{stage.name}.json").is_file()]
        runs = ", ".join(stage.run.name if stage.run else "base" for stage in kept)
        rows.append([label, f"{len(kept)} of {len(stages)}" if stages else "rates not chosen yet", runs or "–"])
    return markdown(["", "kept", "which"], rows) if any(counts.glob("*.json")) else None


def learning_rates(counts: Path, size: Size) -> str | None:
    """Pass@1 on the validation split: the base, and every method at every learning rate that it was tried at."""
    chosen = rates_chosen(counts, size) or {}
    every = [(mode, rate) for mode in METHODS for rate in plan.RATES]
    read = {one: read_arm(counts, one[0], [plan.validation(*one, size).name]) for one in every}
    found = {one: arm for one, arm in read.items() if arm}
    untrained = read_arm(counts, "base", [plan.validation_base(size).name])
    rates = [rate for rate in plan.RATES if any(tried == rate for _, tried in found)]
    if not rates:
        return None
    rows = [["Base", *[points(untrained.curve([1])[0])] * len(rates)]] if untrained else []
    for mode in METHODS:
        cells = [points(found[mode, rate].curve([1])[0]) if (mode, rate) in found else "–" for rate in rates]
        bold = [f"**{cell}**" if chosen.get(mode) == rate else cell for cell, rate in zip(cells, rates, strict=True)]
        rows.append([display_name(mode), *bold])
    return markdown(["", *rates], rows)


def curve_table(found: dict[str, Arm]) -> str | None:
    """Pass@k of every arm with its band over charts and seeds."""
    if not found:
        return None
    ks = shown_ks(min(arm.n for arm in found.values()))
    rows = []
    for arm in found.values():
        bounds = [f"[{points(low)}, {points(high)}]" for low, high in band(arm, ks)]
        seeds = "–" if arm.kept[0]["stage"]["seed"] is None else str(arm.seeds)
        rows.append([arm.label, seeds, *(f"{points(v)} {b}" for v, b in zip(arm.curve(ks), bounds, strict=True))])
    return markdown(["", "seeds", *(f"Pass@{k}" for k in ks)], rows)


def pairs(found: dict[str, Arm]) -> Iterator[tuple[str, Arm, Arm]]:
    """The comparisons of the study: each method with the base, and NSR with PSR."""
    for name, arm in found.items():
        if name != "base" and "base" in found:
            yield f"{arm.label} − base", arm, found["base"]
    if all(name in found for name in plan.CONTRAST):
        a, b = (found[name] for name in plan.CONTRAST)
        yield f"{a.label} − {b.label}", a, b


def differences(found: dict[str, Arm]) -> str | None:
    return difference_table(list(pairs(found)))


def difference_table(pairs: Sequence[tuple[str, Arm, Arm]]) -> str | None:
    """Paired differences with their intervals; bold where the interval leaves zero out."""
    if not pairs:
        return None
    ks = shown_ks(min(arm.n for _, *both in pairs for arm in both))
    return markdown(["points", *(f"Pass@{k}" for k in ks)], [[label, *compared(a, b, ks)] for label, a, b in pairs])


def by_seed(found: dict[str, Arm]) -> str | None:
    """The same differences for every seed by itself; None where no method has several."""
    rows = []
    for label, a, b in pairs(found):
        ks = shown_ks(min(a.n, b.n))
        if a.seeds > 1 and b.seeds in (1, a.seeds):  # the base has no seed
            each = a.per_seed(ks).mean(axis=1) - b.per_seed(ks).mean(axis=1)  # (S, K)
            rows.append([label, *(" / ".join(f"{100 * v:+.1f}" for v in of_k).replace("-", "−") for of_k in each.T)])
    return markdown(["points", *(f"Pass@{k}" for k in ks)], rows) if rows else None


def kinds(found: dict[str, Arm]) -> str | None:
    """Pass@1 and Pass@64 (or the most samples there are) by kind of question."""
    if not found:
        return None
    ks = [1, min(64, *(arm.n for arm in found.values()))]
    rows = []
    every = next(iter(found.values())).problems["kinds"]
    for kind in sorted(set(every)):
        own = [arm.only(kind.__eq__) for arm in found.values()]
        rows.append([kind, str(every.count(kind)), *(" / ".join(points(v) for v in arm.curve(ks)) for arm in own)])
    return markdown(["kind", "problems", *(arm.label for arm in found.values())], rows)


def texts(found: dict[str, Arm]) -> str | None:
    """What the completions look like: length, format, truncation; entropy at the start and the end of training."""
    rows = []
    for arm in found.values():
        rates = {name: np.mean([one["rates"][name] for one in arm.kept]) for name in arm.kept[0]["rates"]}
        entropies = [one["training"]["entropy"] for one in arm.kept if one["training"]]
        ends = (f"{np.mean([entropy[end] for entropy in entropies]):.3f}" for end in (0, -1))
        change = " → ".join(ends) if entropies else "–"
        shares = [points(rates["well_formed"]), points(rates["truncated"])]
        rows.append([arm.label, f"{rates['tokens']:.1f}", *shares, change])
    return markdown(["", "tokens", "well-formed %", "truncated %", "entropy in training"], rows) if rows else None


def held_out(found: dict[str, Arm], every: int = plan.EVAL_STEPS) -> str | None:
    """Accuracy on the charts held out of training after every `every` updates; the mean over the seeds that have it."""
    trained = {arm.label: [one["held_out"] for one in arm.kept if one["held_out"]] for arm in found.values()}
    trained = {label: logs for label, logs in trained.items() if logs}
    measured = sorted({n for logs in trained.values() for log in logs for n in log["update"] if n and n % every == 0})
    rows = []
    for label, logs in trained.items():
        of_seeds = [dict(zip(log["update"], log["accuracy"], strict=True)) for log in logs]
        each = [[seed[n] for seed in of_seeds if n in seed] for n in measured]  # a run may have ended early
        rows.append([label, *(points(float(np.mean(values))) if values else "–" for values in each)])
    return markdown(["held-out accuracy after update", *map(str, measured)], rows) if rows else None
