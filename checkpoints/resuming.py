"""Which checkpoint a run goes on from, and whether it may: settings must be the same, but for its length.

How a run is then continued bit for bit: checkpoints/exact_resume.py.
"""

import json
import math
from pathlib import Path

from charts.named import has_adapter, same_set
from checkpoints.fingerprints import differing
from checkpoints.manifest import checkpoints, damage, newest_usable, step_of
from checkpoints.pickles import foreign
from settings.table import all_settings
from trainers import METHODS, method_options

LENGTH = tuple(name for name, setting in all_settings().items() if setting.resume == "length")
# an update has their product of completions
BATCH = ("num_processes", *(name for name, setting in all_settings().items() if setting.resume == "product"))


def differences(old: dict, new: dict) -> list[str]:
    """'name: old -> new' for each setting that changes what is computed."""
    before, after = dict(old.get("settings", {})), dict(new["settings"])
    before["data"], after["data"] = old.get("data", {}).get("fingerprint"), new["data"]["fingerprint"]
    before["prompt_hash"], after["prompt_hash"] = old.get("prompt", {}).get("hash"), new["prompt"]["hash"]
    if before["data"] == after["data"] and _are_one_set(before.get("dataset_name"), after.get("dataset_name")):
        before["dataset_name"] = after["dataset_name"] = None
    then, now = old.get("model", {}), new["model"]
    if then.get("weights") and now.get("weights"):  # where the weights are known, a name says nothing
        before["vlm_name"] = after["vlm_name"] = None
        before["weights"], after["weights"] = _unequal(then["weights"], now["weights"])
    starts = [(model.get("start") or {}).get("weights", {}) for model in (then, now)]
    before["start"], after["start"] = _unequal(*starts)
    # a setting of other methods changes nothing; a run that is older than such an option has the default
    mode, known = after.get("mode"), all_settings()
    defaults = {name: known[name].default for name in (*method_options(), "base_4bit")}
    before, after = defaults | before, defaults | after
    unused = {n for n, one in known.items() if one.resume == "free" or (one.methods and mode not in one.methods)}
    names = sorted({*before, *after} - unused)
    return [f"{n}: {before.get(n)} -> {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def _are_one_set(*names: str | None) -> bool:
    """Whether two names of the same questions are of one set: what has no adapter is a place, and may have moved."""
    before, after = map(str, names)
    return not (has_adapter(before) or has_adapter(after)) or same_set(before, after)


def spans_run(record: dict) -> bool:
    """Whether what a step of this run computes depends on how many steps there are, so that they are fixed."""
    method = METHODS.get(record["settings"].get("mode"))
    return method is not None and method.spans_run(record["settings"])


def _unequal(before: dict, after: dict) -> tuple[dict, dict]:
    """The two fingerprints of every file that is not the same in both."""
    names = differing(before, after)
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}


def find_checkpoint(folder: Path, old: dict, new: dict, resume: bool | str, deepspeed: bool):
    """(lines to print, checkpoint): the newest usable one, or the one named; None when the run had saved none yet."""
    _check_settings(folder, old, new, deepspeed)
    there = checkpoints(folder)
    _check_length(folder, old, new, there)
    if resume is True and not there:
        return [f"No checkpoint in {folder} yet: starting from the beginning"], None
    named = there if resume is True else [path for path in there if path.resolve() == Path(str(resume)).resolve()]
    if not named:
        names = ", ".join(path.name for path in there) or "none"
        raise ValueError(f"--resume {resume}: no checkpoint of the run in {folder}, which has {names}")
    processes, updates = _processes(new), new["settings"].get("updates_per_rollout", 1)

    def unsuitable(path: Path) -> str | None:
        code = None if deepspeed or (path / "latest").exists() else foreign(path)
        return f"is not used: {code}" if code else half_done(path)

    def half_done(path: Path) -> str | None:
        if step_of(path) % updates == 0 or _made_by(path) == processes:
            return None
        return f"lies between the updates of a rollout batch that {_made_by(path)} processes hold, not {processes}"

    checkpoint, lines = newest_usable(named, unsuitable)
    if checkpoint is None:
        way_out = "start anew with --overwrite" if resume is True else "--resume alone takes the newest whole one"
        if any(half_done(path) and damage(path) is None for path in named):
            way_out = f"go on with {_processes(old)} processes"
        raise ValueError(f"--resume: no whole checkpoint to go on from: {'; '.join(lines)}; {way_out}")
    if (checkpoint / "latest").exists() != deepspeed:
        way_out = "leave the DeepSpeed launch file out" if deepspeed else "launch with the same file"
        raise ValueError(f"--resume: {checkpoint} was made with{'out' * deepspeed} DeepSpeed; {way_out}")
    lines = [f"{line}; skipped" for line in lines]
    if _made_by(checkpoint) != processes:
        lines.append(
            f"Processes: {processes} instead of {_made_by(checkpoint)}. The questions keep their order, rows are dealt "
            "and summed in another one: the result will not be bit for bit that of an uninterrupted run"
        )
    return [*lines, f"Resuming from {checkpoint}"], checkpoint


def _check_settings(folder: Path, old: dict, new: dict, deepspeed: bool) -> None:
    """ValueError when settings have changed. Processes may, without DeepSpeed, if an update stays as large."""
    changed, before, after = differences(old, new), _processes(old), _processes(new)
    if before != after and deepspeed:
        raise ValueError(
            f"--resume: {folder} was made with {before} processes, not {after}, and DeepSpeed goes on with as many "
            f"only: launch with --num_processes {before}"
        )
    if before != after:
        sizes = _effective_batch(old), _effective_batch(new)
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"--resume: {folder} made updates of {sizes[0]} completions on {before} processes; these settings make "
                f"{sizes[1]} on {after}: keep batch size x accumulation x processes"
            )
        changed = [line for line in changed if line.partition(":")[0] not in BATCH]
    changed = [line for line in changed if line.partition(":")[0] not in LENGTH]
    if changed:
        raise ValueError(f"--resume: {folder} was made with other settings: {'; '.join(changed)}")


def _check_length(folder: Path, old: dict, new: dict, there: list[Path]) -> None:
    """ValueError when the run has got as far as these settings ask for already, or was not ended by its length."""
    if old.get("collapsed"):
        raise ValueError(
            f"--resume: the run in {folder} was ended by --stop-on-collapse and has kept the weights of its best "
            f"checkpoint: train those further in a second stage (--vlm-name {folder})"
        )
    newest = next((path for path in there if damage(path, hashes=False) is None), None)
    if newest is None:
        if old.get("finished"):
            raise ValueError(
                f"--resume: the run in {folder} is finished and none of its checkpoints is whole: train its result "
                f"further in a second stage (--vlm-name {folder})"
            )
        return
    longer = any(old["settings"].get(name) != new["settings"].get(name) for name in LENGTH)
    if longer and spans_run(new):
        raise ValueError(
            f"--resume: the weights of a step depend on the length of the run, so that of {folder} is fixed: keep "
            f"--num-epochs and --max-steps, or train its result further in a second stage (--vlm-name {folder})"
        )
    if not old.get("finished") and not longer:
        return
    try:
        state = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))
        steps, epoch = state["global_step"], float(state["epoch"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(f"--resume: {newest} is damaged: trainer_state.json cannot be read") from None
    most, epochs = new["settings"].get("max_steps"), new["settings"].get("num_epochs") or 0
    if not (most > steps if most else epochs > epoch):
        state = "is finished" if old.get("finished") else "has been trained"
        raise ValueError(
            f"--resume: the run in {folder} {state} for {steps} updates, {epoch:g} epochs; more --num-epochs or "
            "--max-steps train it further"
        )


def _made_by(checkpoint: Path) -> int:
    """Processes that have saved their memory in it (checkpoints/exact_resume.py)."""
    return len(list(checkpoint.glob("trainer_memory_*.json")))


def _processes(record: dict) -> int:
    return record.get("settings", {}).get("num_processes", 1)


def _effective_batch(record: dict) -> int:
    return math.prod(record.get("settings", {}).get(name) or 1 for name in BATCH)
