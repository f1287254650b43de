"""What the card of a published model says beyond that of a run folder: its curves, results, data and command lines.

Nothing in it is a path of the machine that trained it, and every number is read from the run's own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from checkpoints.card_task import task_of
from checkpoints.finding import Checkpoint
from checkpoints.fingerprints import adapter_fingerprint, model_fingerprint
from checkpoints.model_card import after_updates, hub_data_set, hub_name, licence_of, model_card
from checkpoints.published_commands import OF_THE_MACHINE, SERVER, commands, last_name, public_data_set
from common.terminal import printable
from evaluation.names import display_name
from evaluation.results import Results
from evaluation.training_curves import HELD_OUT, PASS_AT, Run

TRAINING, RESULTS = "training.png", "pass_at_k.png"  # the pictures beside the card


def published_record(record: dict) -> dict:
    """A run's training_settings.json without the places of the machine that it was made on."""
    shown = deepcopy(record)
    settings, model = shown["settings"], shown["model"]
    for name in OF_THE_MACHINE & settings.keys():
        settings[name] = None
    for name in ("dataset_path", "prompt_file"):
        settings[name] = settings.get(name) and last_name(settings[name])
    settings["dataset_name"] = public_data_set(settings["dataset_name"], shown["data"]["name"])
    for name in ("vlm_name", "server_model"):
        settings[name] = _last(settings.get(name))
    settings["server_url"] = settings.get("server_url") and SERVER
    if "server" in shown:
        shown["server"] |= {"url": SERVER, "model": _last(shown["server"].get("model"))}
    for name in ("advantage", "reward"):
        value = settings.get(name)
        settings[name] = [_last(part) for part in value] if isinstance(value, list) else _last(value)
    while model:
        known, name = hub_name(model, settings["no_lora"]), _last(model["name"])
        model["name"], model["source"] = (
            known if _is_place(model["name"]) and known else name,
            known or f"folder {name}",
        )
        start = model.get("start") or {}
        if "folder" in start:
            start["folder"] = _last(start["folder"])
        model = start.get("model")
    return shown


def _is_place(text: Any) -> bool:
    return isinstance(text, str) and (text.startswith((".", "~", "/")) or text.count("/") > 1 or Path(text).is_dir())


def _last(text: Any) -> Any:
    """The last name of a path; anything else as it is."""
    return text.rstrip("/").rpartition("/")[2] if _is_place(text) else text


def is_of(checkpoint: Checkpoint, results: Results) -> bool:
    """Whether these results were measured with the checkpoint's very weights."""
    model = results.part("model")
    if checkpoint.adapter is not None:
        return model.get("adapter") == adapter_fingerprint(checkpoint.adapter)
    return model.get("fingerprint") == model_fingerprint(checkpoint.source)


def published_card(
    name: str, checkpoint: Checkpoint, *, merged: bool, run: Run | None, results: Sequence[Results]
) -> str:
    """README.md of the published folder `name`."""
    record = published_record(checkpoint.record)
    updates = checkpoint.updates
    card = after_updates(model_card(name, {**record, "model": checkpoint.record["model"]}, merged=merged), updates)
    body, citation, rest = card.partition("\n## Citation\n")
    several = (record.get("launch") or {}).get("machines", 1) > 1
    measured = sorted(results, key=lambda one: not is_of(checkpoint, one))  # its own first
    unknown = measured and not measured[0].part("asked")  # an older file
    parts = [
        body,
        _results(checkpoint, measured) if results else "",
        _training(checkpoint, run) if run else "",
        _data(record),
        f"## How it was made\n\n```bash\n{commands(name, record, measured)}\n```\n"
        + _cut_short(updates)
        + ("\nThe table says on how many problems of the set (`--subset-size`).\n" if unknown else "")
        + ("\nOn every machine with a `--machine_rank` of its own.\n" if several else ""),
        _licence(checkpoint.record),
    ]
    return "\n".join(filter(None, parts)) + citation + rest


def _licence(record: dict) -> str:
    found = licence_of(hub_name(record["model"], record["settings"]["no_lora"]), record["model"])
    name, link = found.get("license_name") or found.get("license"), found.get("license_link")
    if not name:
        return "## Licence\n\nThat of the base model, which is not known here.\n"
    return f"## Licence\n\nThat of the base model: {f'[{name}]({link})' if link else name}.\n"


def names_of(results: Sequence[Results]) -> list[str]:
    """What each is called on the card: its method, and its data where these are not the same for all. ValueError for
    a name that two of them have."""
    sets = _sets(results)
    more = [f" on {data}" if len({*sets}) > 1 else "" for data in sets]
    names = [printable(display_name(one.method)) + data for one, data in zip(results, more, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(
            f"--results: two of them are called {twice!r}; evaluation/pass_at_k.py --method-name gives one another name"
        )
    return names


def _sets(results: Sequence[Results]) -> list[str]:
    """What each was measured on."""
    return [
        f"{data.get('name', 'its test set')} ({data.get('split', '')})"
        for data in (one.part("data") for one in results)
    ]


def _results(checkpoint: Checkpoint, results: Sequence[Results]) -> str:
    ks = sorted({*results[0].k_values}.intersection(*(one.k_values for one in results)))
    rows = [["", "problems", "samples", *(f"Pass@{k}" for k in ks)], ["---"] * (3 + len(ks))]
    names = names_of(results)
    for one, name in zip(results, names, strict=True):
        own = f"**{name}**, this model" if is_of(checkpoint, one) else name
        facts = [one.metadata.get("num_problems", ""), one.metadata.get("samples_per_problem", "")]
        rows.append([own, *facts, *(_in_percent(one.pass_at_k[k], one.intervals.get(k)) for k in ks)])
    sets = {*_sets(results)}
    one_set = f" on {sets.pop()}" if len(sets) == 1 else ""
    return (
        f"## Results\n\nUnbiased Pass@k in percent{one_set}, with 95 % intervals.\n\n![Pass@k]({RESULTS})\n\n"
        + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
        + "\n"
    )


def _in_percent(value: float, interval: tuple[float, float] | None) -> str:
    return f"{100 * value:.1f}" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def _training(checkpoint: Checkpoint, run: Run) -> str:
    names = [name for name in run.series if name.startswith(PASS_AT) and name.removeprefix(PASS_AT).isdigit()]
    shown = names or [name for name in HELD_OUT[:1] if name in run.series]
    lines, updates = [], checkpoint.updates
    at = updates and updates[0]
    for name in shown:
        steps, values = run.series[name]
        place = list(steps).index(at) if at in steps else -1
        what = "accuracy" if name in HELD_OUT else f"Pass@{name.removeprefix(PASS_AT)}"
        before = f"{100 * values[0]:.1f} % before training, " if steps[0] == 0 else ""
        kept = task_of(checkpoint.record).held_out
        lines.append(f"* {what} on held-out {kept}: {before}{100 * values[place]:.1f} % at update {steps[place]:.0f}")
    return f"## Training curves\n\n![Training]({TRAINING})\n\n" + "\n".join(lines) + "\n"


def _cut_short(updates: list[int] | None) -> str:
    """What the command of the training makes, where these weights are those of a moment before its end."""
    if updates is None or updates[0] >= updates[1]:
        return ""
    return f"\nThe first line trains all {updates[1]} updates; these weights are those after update {updates[0]}.\n"


def _data(record: dict) -> str:
    data, name = record["data"], hub_data_set(record)
    link = f"[{name}](https://huggingface.co/datasets/{name})" if name else data["name"]
    reward = record["settings"].get("reward") or [record["settings"]["rewards"]]
    return (
        f"## Data\n\n{data['num_questions']:,} questions of {link} ({data['split']}), fingerprint "
        f"`{data['fingerprint']}`; rewards: {' '.join(reward)}.\n"
    )
