"""Stages of a study: run once, models side by side, nothing begun after one has failed."""

import json
import shutil
import threading
import time

import numpy as np
import pytest

from study import measurements, plan, stages
from study.stages import Run, Stage, Study, perform


@pytest.mark.slow
def test_a_stage_is_run_once_and_needs_neither_model_nor_samples_afterwards(tmp_path):
    study = Study(tmp_path / "counts", tmp_path / "work")
    flags = plan.flags(1, "1e-4", per_rollout=1, completions=8, generations=4)
    run = Run("psr", "psr", 1, flags)
    stages = [Stage("base", None, "test", 3, 4), Stage("psr", run, "test", 3, 4)]
    perform(study, [*stages, marked := Stage("marked", run, "test", 3, 4, (), plan.MARKED)])
    kept = {stage.name: json.loads(study.counts_of(stage).read_text()) for stage in stages}
    assert all(len(one["c"]) == 3 and one["n"] == 4 for one in kept.values())
    assert kept["base"]["problem_set"] == kept["psr"]["problem_set"]
    assert kept["psr"]["training"]["update"] == [1] and kept["psr"]["training"]["entropy"][0] > 0
    assert np.sum(list(kept["psr"]["taken"].values()), axis=0).tolist() == [4, 4, 4]
    of_marked = json.loads(study.counts_of(marked).read_text())["problem_set"]
    beside = json.loads((study.counts / f"problems_{of_marked}.json").read_text())
    assert all(kind.endswith("marked") for kind in beside["kinds"]) and len(beside["kinds"]) == 3
    before = study.counts_of(stages[1]).stat().st_mtime_ns
    shutil.rmtree(study.work)
    perform(study, stages)
    assert study.counts_of(stages[1]).stat().st_mtime_ns == before and not list(study.work.iterdir())


def test_after_a_stage_that_fails_none_is_begun_and_one_that_runs_ends(tmp_path, monkeypatch):
    """The first one runs on, the second fails in its training, its twin is of that model, the last waits for both."""
    run, failed, begun = Run("broken", "psr", 1, ()), threading.Event(), []
    wanted = [Stage(name, None if "base" in name else run, "test", 3, 4) for name in ("base", "one", "twin", "base-2")]

    def call(command, log, jobs):
        begun.append(log.name)
        if "main.py" in command:
            failed.set()
            raise ValueError("training failed")
        assert failed.wait(20)
        time.sleep(0.2)
        (tmp_path / "work" / log.name.replace(".sampling.log", ".json")).touch()

    monkeypatch.setattr(stages, "call", call)
    monkeypatch.setattr(measurements, "keep", lambda *args, **more: begun.append("kept"))
    for jobs in (2, 3):
        begun.clear()
        with pytest.raises(ValueError, match="training failed"):
            perform(Study(tmp_path / "counts", tmp_path / "work", jobs=jobs), wanted)
        assert sorted(begun) == ["base.sampling.log", "broken.training.log", "kept"], jobs


def test_models_are_trained_side_by_side_and_each_once(tmp_path, monkeypatch):
    """Though the stages of a model follow one another: none waits while another one's model is trained."""
    study, both, begun = Study(tmp_path / "counts", tmp_path / "work", jobs=3), threading.Barrier(2), []
    runs = {name: Run(name, "psr", 1, ()) for name in ("one", "two")}

    def call(command, log, jobs):
        assert jobs == 2, "two models, though three may run"
        begun.append(log.name)
        if "main.py" in command:
            both.wait(20)
            folder = study.folder_of(runs[log.name.removesuffix(".training.log")])
            folder.mkdir(parents=True)
            (folder / "training_settings.json").write_text('{"finished": true}')
        else:
            (study.work / log.name.replace(".sampling.log", ".json")).touch()

    monkeypatch.setattr(stages, "call", call)
    monkeypatch.setattr(measurements, "keep", lambda *args, **more: None)
    perform(study, [Stage(f"{kind}-{name}", runs[name], "test", 3, 4) for name in runs for kind in ("test", "marked")])
    sampled = [f"{kind}-{name}.sampling.log" for name in runs for kind in ("test", "marked")]
    assert sorted(begun) == sorted([*(f"{name}.training.log" for name in runs), *sampled])


def test_programs_beside_one_another_have_no_more_threads_than_there_are_cores(tmp_path, monkeypatch):
    """Whatever OMP_NUM_THREADS says: two threads on each of two cores are several times slower than one."""
    monkeypatch.setattr("common.launcher.cores", lambda: 4)
    settings = (("3", 2, 2), ("1", 2, 1), ("3", 1, 3), ("2", 8, 1), ("9,1", 2, 2), ("", 2, 1), ("0", 2, 1), ("x", 1, 1))
    for asked, jobs, given in settings:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        log = tmp_path / f"{jobs} jobs, {asked}.log"
        stages.call(["python", "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], log, jobs)
        assert log.read_text() == f"{given}\n"
