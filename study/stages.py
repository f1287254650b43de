"""Stages of a study: train a model, sample from it, keep the counts. What is kept is not run again.

A stage is one call of generate_samples.py or of organism.measure, after one of main.py when its model is not there yet.
Its result is a small JSON file (study/measurements.py) in the folder of counts; models and samples are in a work folder
that may be deleted: a stage whose counts are kept needs neither.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tqdm import tqdm

from common.launcher import threads_each
from common.terminal import printable

ROOT = Path(__file__).resolve().parent.parent
NEVER = str(10**9)  # steps between held-out measurements, unless a run's flags say otherwise


@dataclass(frozen=True)
class Run:
    """One training run. `flags` are those of main.py without mode, model, data set, seed and folders."""

    name: str
    mode: str
    seed: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Samples of one model (of `run`; None: the model as it is) on the first problems of a split.

    With `scored` what is kept is not the samples but what organism.measure finds by forced scoring and by a prefix.
    """

    name: str
    run: Run | None
    split: str | None  # None: the evaluation split of the data set
    problems: int
    samples: int
    flags: tuple[str, ...] = ()  # further ones of the program that samples
    dataset: tuple[str, ...] = ()  # what is sampled, where it is not the data set that is trained on
    scored: bool = False


@dataclass
class Study:
    """The folders, model and data of a study; `sampled`: what is said of the data where it is not trained on."""

    counts: Path
    work: Path
    model: str = "organism"
    dataset: tuple[str, ...] = ("--dataset-name", "procedures")
    jobs: int = 2
    sampled: tuple[str, ...] = ()

    def counts_of(self, stage: Stage) -> Path:
        return self.counts / f"{stage.name}.json"

    def train_command(self, run: Run) -> list[str]:
        return [
            *("python", "main.py", "--mode", run.mode, "--vlm-name", self.model, *self.dataset),
            *("--seed", str(run.seed), "--eval-steps", NEVER, *run.flags),
            *("--report-to", "none", "--save-steps", "100", "--save-total-limit", "1"),
            *("--output-root", str(self.work / run.name)),
        ]

    def sample_command(self, stage: Stage) -> list[str]:
        checkpoint = str(self.folder_of(stage.run)) if stage.run else self.model
        if stage.scored:
            return [
                *("python", "-m", "organism.measure", "--model", checkpoint, "--split", str(stage.split)),
                *("--problems", str(stage.problems), "--samples", str(stage.samples), *stage.flags, "--threads", "1"),
                *("--output", str(self.work / f"{stage.name}.json")),
            ]
        dataset = stage.dataset or self.sampled or self.dataset
        return [
            *("python", "generate_samples.py", "--checkpoint-path", checkpoint, *dataset),
            *(("--split", stage.split) if stage.split else ()),
            *("--subset-size", str(stage.problems), "--num-samples", str(stage.samples), *stage.flags),
            *("--output-path", str(self.work / f"{stage.name}.json")),
        ]

    def folder_of(self, run: Run) -> Path:
        from checkpoints.run_folder import run_folder

        return run_folder(str(self.work / run.name), self.model, run.mode, run.seed)


def perform(study: Study, stages: Iterable[Stage]) -> None:
    """Runs the stages whose counts are missing, `study.jobs` models at a time. ValueError, naming the log, if
    one fails: what runs then ends, and nothing more is begun."""
    stages = list(stages)
    missing = [stage for stage in stages if not is_kept(study, stage)]
    study.counts.mkdir(parents=True, exist_ok=True)
    study.work.mkdir(parents=True, exist_ok=True)
    kept = len(stages) - len(missing)
    print(printable(f"{len(stages)} stages, {kept} of them kept in {study.counts}"), flush=True)
    models: dict[str, list[Stage]] = {}  # a worker trains one and draws all its samples: none waits for another's model
    for stage in missing:
        models.setdefault(stage.run.name if stage.run else f"{stage.name} of the base", []).append(stage)
    study = replace(study, jobs=max(1, min(study.jobs, len(models))))  # cores are shared by those that run
    failed = threading.Event()
    with ThreadPoolExecutor(study.jobs) as pool, tqdm(total=len(missing), unit="stage", disable=not missing) as bar:
        try:
            list(pool.map(lambda of_one: _perform(study, of_one, failed, bar), models.values()))
        except BaseException:
            failed.set()
            pool.shutdown(cancel_futures=True)
            raise


def is_kept(study: Study, stage: Stage) -> bool:
    """Whether the counts of exactly this stage are there; ValueError when a file of its name is of another one."""
    path = study.counts_of(stage)
    if not path.exists():
        return False
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["stage"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(f"{path} is no file of counts; move it away") from None
    if kept != description(study, stage):
        raise ValueError(f"{path} was made with other settings; use another folder of counts, or move it away")
    return True


def description(study: Study, stage: Stage) -> dict:
    """What a stage is, as kept beside its counts: enough to see whether a kept file is of this stage."""
    run = stage.run
    return {
        "model": study.model,
        "weights": weights_of(study.model),
        "data": list(study.dataset),
        "mode": run.mode if run else "base",
        "seed": run.seed if run else None,
        "flags": list(run.flags) if run else [],
        "split": stage.split,
        "problems": stage.problems,
        "samples": stage.samples,
        "sampling": [*stage.flags, *stage.dataset],
    }


@cache
def weights_of(model: str) -> str | None:
    """16 hex digits of the weights of an embedded model, which may be built anew under its name; None of another."""
    from models.registry import MODELS

    file = Path(MODELS[model].source if model in MODELS else model) / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else None


def _perform(study: Study, stages: list[Stage], failed: threading.Event, bar: tqdm) -> None:
    """Stages of one model, one after another, until one has failed, here or elsewhere."""
    try:
        for stage in stages:
            if failed.is_set():
                return
            if stage.run:
                _train(study, stage.run)
            _sample(study, stage)
            bar.write(printable(f"kept {study.counts_of(stage)}"), file=sys.stdout)
            bar.update()
    except BaseException:
        failed.set()
        raise


def _sample(study: Study, stage: Stage) -> None:
    from study.measurements import keep, keep_scored

    samples, output = study.work / f"{stage.name}.json", study.counts_of(stage)
    command = study.sample_command(stage)
    call([*command, *([] if stage.scored else ["--overwrite"])], study.work / f"{stage.name}.sampling.log", study.jobs)
    commands = [shlex.join(each) for each in ([study.train_command(stage.run)] if stage.run else []) + [command]]
    if stage.scored:
        keep_scored(samples, output, stage=description(study, stage), commands=commands)
    else:
        folder = study.folder_of(stage.run) if stage.run else None
        keep(samples, output, stage=description(study, stage), commands=commands, run_folder=folder)
    samples.unlink()


def _train(study: Study, run: Run) -> None:
    settings = study.folder_of(run) / "training_settings.json"
    state = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else None
    if state and state["finished"]:
        return
    call(
        [*study.train_command(run), *(["--resume"] if state else [])],
        study.work / f"{run.name}.training.log",
        study.jobs,
    )


def call(command: list[str], log: Path, jobs: int = 1) -> None:
    """Runs a command of the project as one of `jobs` that run together, its output appended to `log`.

    ValueError, naming the log, if it fails.
    """
    with log.open("a", encoding="utf-8") as file:
        environment = {"HF_HUB_OFFLINE": "1", **os.environ, "OMP_NUM_THREADS": str(threads_each(jobs))}
        command = [sys.executable, *command[1:]]
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False).returncode
    if code:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise ValueError(f"{shlex.join(command[:4])} ... ended with exit code {code}: {''.join(last)} (see {log})")
