"""Remedies for a collapse: runs that differ from the plain one by the remedy alone, and their table by hand."""

import json

from settings.arguments import parse_args
from settings.grpo_config import plan_steps
from study import collapse, plan
from study.plan import FULL
from study.stages import Study
from tests.test_study import CHARTS, kept_stage
from training.preparing import resolve_data, resolve_defaults


def test_a_remedy_is_one_flag_of_a_run_that_is_otherwise_the_same(tmp_path):
    study, plain = Study(tmp_path, tmp_path), {}
    for mode, name, own in collapse.stages(FULL):
        assert [stage.run.seed for stage in own] == [1, 2]
        for stage in own:
            args = parse_args(study.train_command(stage.run)[2:])
            resolve_data(args)
            resolve_defaults(args)
            assert plan_steps(args, args.subset_size, 1)[0] == 160 and args.learning_rate == 1e-3
            given = {key: value for key, value in vars(args).items() if key not in ("explicit", "output_root")}
            if name == "none":
                plain[mode, args.seed] = given
            changed = {key for key, value in given.items() if value != plain[mode, args.seed][key]}
            assert len(changed) == (name != "none"), (name, changed)
    assert len(plain) == 2 * len(collapse.MODES)


def test_the_table_has_a_row_of_every_remedy_that_is_kept(tmp_path):
    assert collapse.table(tmp_path, FULL) is None
    study = Study(tmp_path, tmp_path)
    (tmp_path / "problems_p.json").write_text(json.dumps(CHARTS))
    by_name = {(mode, name): own for mode, name, own in collapse.stages(FULL)}
    for (mode, name), hits, warned in (
        (("nsr", "none"), (0, 64), ({"ratio": 11, "entropy": 60}, {})),
        (("w-reinforce", "a-nsr"), (64,), ({"ratio": 20},)),
    ):
        for stage, hit, found in zip(by_name[mode, name], hits, warned, strict=False):
            held_out = {"update": [50, 100, 150], "accuracy": [0.5, hit / 64, 0.25]}
            kept_stage(study, stage, hit, held_out=held_out, warnings=found)
    head, _, nsr, w_reinforce = collapse.table(tmp_path, FULL).splitlines()
    assert "| held out, 50 | held out, 100 | held out, 150 | warned at |" in head
    cells = "33.3 / 66.7 | 50.0 | 50.0 | 25.0 | ratio 11, entropy 60 / none |"
    assert nsr == f"| NSR | as in the study | 2 | {cells}"
    assert w_reinforce.endswith("(A-NSR) | 1 | 66.7 | 50.0 | 100.0 | 25.0 | ratio 20 |")


def test_what_is_run_begins_with_the_first_seed_of_everything(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(collapse, "perform", lambda study, stages: done.extend(stages))
    collapse.perform_all(Study(tmp_path, tmp_path), FULL)
    assert done[0] == plan.validation_base(FULL)
    seeds = [stage.run.seed for stage in done[1:]]
    assert seeds == sorted(seeds) and len(seeds) == 2 * (4 + 5 + 7)
