"""The tables of what makes the methods differ, of longer runs and of lambda, from the kept counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.names import display_name
from study import ablations, plan, sweep, ways
from study.plan import Size
from study.stages import Stage
from study.summary import Arm, read_arm
from study.tables import arms, compared, held_out, markdown, points, rates_chosen, shown_ks

PASSED = 0.95  # held-out accuracy beyond what quick and reverse can reach
KS = (1, 16, 64)  # of a factor: accuracy, and diversity up to as many samples as every factor has


def _arm(counts: Path, label: str, stage: Stage) -> Arm | None:
    return read_arm(counts, label, [stage.name], by_mark=True)


def factor_arms(counts: Path, size: Size) -> dict[str, dict[str, Arm]]:
    """Row -> mode -> arm, where both methods are kept with every seed; empty before the learning rates are chosen."""
    rates = rates_chosen(counts, size)
    if not rates:
        return {}
    found: dict[str, dict[str, Arm]] = {}
    for name in ablations.FACTORS:
        for mode in ablations.CONTRASTED:
            names = [stage.name for stage in ablations.of_factor(name, mode, rates, size)]
            arm = read_arm(counts, display_name(mode), names, by_mark=True)
            if arm and arm.seeds == len(names):
                found.setdefault(name, {})[mode] = arm
    return {name: own for name, own in found.items() if len(own) == len(ablations.CONTRASTED)}


def _base(counts: Path, size: Size) -> Arm | None:
    return _arm(counts, "Base", plan.base(size))


def factor_table(counts: Path, size: Size) -> str | None:
    """Paired differences at every factor: each method to the base, and NSR to PSR. None before two factors are kept."""
    found, base = factor_arms(counts, size), _base(counts, size)
    if len(found) < 2 or base is None:
        return None
    header = ["points", "seeds", *(f"{pair} @{k}" for pair in ("PSR − base", "NSR − base", "NSR − PSR") for k in KS)]
    rows = []
    for name, own in found.items():
        pairs = [(own["psr"], base), (own["nsr"], base), (own["nsr"], own["psr"])]
        cells = [cell for a, b in pairs for cell in compared(a, b, KS)]
        rows.append([ablations.FACTORS[name]["shown"], str(own["psr"].seeds), *cells])
    return markdown(header, rows)


def factor_training(counts: Path, size: Size) -> str | None:
    """Entropy over the first and the last stretch of training, and the length at the end, of both methods."""
    found = factor_arms(counts, size)
    if len(found) < 2:
        return None
    modes = ablations.CONTRASTED
    rows = [[ablations.FACTORS[name]["shown"], *(_change(own[mode]) for mode in modes)] for name, own in found.items()]
    return markdown(["entropy; tokens", *(display_name(mode) for mode in modes)], rows)


def factor_ways(counts: Path, size: Size) -> str | None:
    """What each seed made of the careful way and of the two of equal merit: shares of completions on all charts."""
    found, base = factor_arms(counts, size), _base(counts, size)
    if len(found) < 2 or base is None:
        return None
    modes = [display_name(mode) for mode in ablations.CONTRASTED]
    header = ["%", *(f"{mode}: {shown}" for mode in modes for shown in ("careful", "quick of both"))]
    rows = [["Base", *_ways(base) * len(modes)]]
    for name, own in found.items():
        if not name.startswith("seed-"):  # the row of all seeds shows each
            cells = [cell for mode in ablations.CONTRASTED for cell in _ways(own[mode])]
            rows.append([ablations.FACTORS[name]["shown"], *cells])
    return markdown(header, rows)


def _ways(arm: Arm) -> list[str]:
    careful = ways.per_problem(arm, ["careful"]).mean(axis=1)
    return [" / ".join(map(points, values)) for values in (careful, ways.quick_of_both(arm))]


def _change(arm: Arm) -> str:
    runs = [one["training"] for one in arm.kept]
    first, last = (np.mean([run["entropy"][end] for run in runs]) for end in (0, -1))
    length = np.mean([[value for value in run["length"] if not np.isnan(value)][-1] for run in runs])
    return f"{first:.3f} → {last:.3f}; {length:.0f}"


def long_arms(counts: Path, size: Size) -> dict[str, Arm]:
    """The base and every method trained for longer, once one is kept."""
    found = arms(counts, ablations.long_stages(size))
    return found if found.keys() > {"base"} else {}


def long_marked(counts: Path, size: Size) -> dict[str, Arm]:
    return arms(counts, ablations.long_marked(size)) if long_arms(counts, size) else {}


def long_table(found: dict[str, Arm]) -> str | None:
    """Paired differences to the base, updates, entropy; for each seed when held-out accuracy passes `PASSED`, and
    the first update of each early warning."""
    rows = []
    for arm in (arm for name, arm in found.items() if name != "base"):
        updates = " / ".join(dict.fromkeys(f"{one['training']['update'][-1]:,}" for one in arm.kept))
        passed = " / ".join(_passed(one["held_out"]) for one in arm.kept)
        warned = [
            ", ".join(f"{sign} at {update}" for sign, update in one.get("warnings", {}).items()) for one in arm.kept
        ]
        said = " / ".join(each or "none" for each in warned)
        differences = compared(arm, found["base"], shown_ks(ablations.SAMPLES))
        rows.append([f"{arm.label} − base", str(arm.seeds), updates, *differences, _change(arm), passed, said])
    ks = (f"Pass@{k}" for k in shown_ks(ablations.SAMPLES))
    passed = f"held out first above {100 * PASSED:.0f} after"
    header = ["points", "seeds", "updates", *ks, "entropy; tokens", passed, "early warnings"]
    return markdown(header, rows) if rows else None


def _passed(log: dict[str, list]) -> str:
    """The first update after which held-out accuracy is above `PASSED`, and, if it falls again, when for good."""
    above = [value > PASSED for value in log["accuracy"]]
    if True not in above:
        return "–"
    first = log["update"][above.index(True)]
    below = [place for place, passed in enumerate(above) if not passed]
    if not below or log["update"][below[-1]] < first:
        return f"{first:,}"
    for_good = f"for good after {log['update'][below[-1] + 1]:,}" if above[-1] else "not for good"
    return f"{first:,}, {for_good}"


def long_held_out(found: dict[str, Arm]) -> str | None:
    """Held-out accuracy on the way, at every fourth measurement, each run by itself."""
    single = {
        f"{name} {one['stage']['seed']}": replace(arm, label=f"{arm.label}, seed {one['stage']['seed']}", kept=[one])
        for name, arm in found.items()
        for one in arm.kept
    }
    return held_out(single, every=4 * plan.EVAL_STEPS)


def lambda_arms(counts: Path) -> dict[str, Arm]:
    """Lambda, or 'base' -> its arm; empty before two values of lambda are kept in `counts`."""
    seeds = map(str, plan.FULL.seeds)
    arms_of = sweep.arms(counts, sweep.stages(sweep.parse_args(["--seeds", *seeds])))
    found = {name: replace(arm, by_mark=True) for name, arm in arms_of.items()}
    return found if len(found.keys() - {"base"}) > 1 else {}


def lambda_table(counts: Path) -> str | None:
    """W-REINFORCE at every lambda that is kept, and paired differences to the smallest."""
    found = lambda_arms(counts)
    return sweep.table(found) if found else None


def lambda_ways(counts: Path) -> str | None:
    """What each lambda made of the careful way and of the two of equal merit, seed by seed, on all charts."""
    rows = [[arm.label, *_ways(arm)] for arm in lambda_arms(counts).values()]
    return markdown(["%", "careful", "quick of both"], rows) if rows else None
