"""The table of settings: what is derived from a record holds for every one of them."""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml

from checkpoints.resuming import differences
from checkpoints.run_folder import prepare_folder, settings_record
from settings.arguments import build_parser, parse_args
from settings.setting import Setting
from settings.table import all_settings, groups
from tests.test_run_folder import DATA, checkpoint
from trainers import METHODS
from trainers.method import Method, option

ROOT = Path(__file__).parent.parent
SETTINGS = all_settings()
EVERY = pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
NUMBERS = [setting for setting in SETTINGS.values() if setting.kind in (int, float)]
BOUNDS = [(one, name) for one in NUMBERS for name in ("least", "above", "most") if getattr(one, name) is not None]


OWN = f"{ROOT / 'examples' / 'advantage.py'}:unlikely"
OWN_REWARDS = ["accuracy", f"{ROOT / 'examples' / 'reward.py'}:concise"]
SCHEDULE = ["--negative-weight", "exponential"]
BESIDE = {  # what a setting needs beside it
    "max_pixels": ["--min-pixels", "1"], "passk_k": ["--num-generations", "8"], "weight_most": ["--weight-least", "0"],
    "weight_least": ["--weight-most", "1e9"], "advantage": ["--advantage", OWN],
    "server_url": ["--rollouts", "server"], "server_model": ["--rollouts", "server", "--server-url", "http://host"],
    **dict.fromkeys(("negative_weight_start", "negative_weight_end", "negative_weight_decay"), SCHEDULE),
}  # fmt: skip


def line_for(setting: Setting, *more: str) -> list[str]:
    """A command line on which this setting is allowed."""
    return ["--mode", (setting.methods or ("nsr",))[0], *BESIDE.get(setting.name, []), *more]


def read(setting: Setting, value) -> object:
    """`value` as its flag reads it."""
    return getattr(parse_args(line_for(setting, f"{setting.flag}={value}")), setting.name)


def step(setting: Setting, value, up: bool):
    return value + (1 if up else -1) if setting.kind is int else math.nextafter(value, math.inf if up else -math.inf)


def another(setting: Setting):
    """A value that the setting takes and that is not its default."""
    if setting.kind is bool:
        return not setting.default
    if setting.choices:
        return next(choice for choice in setting.choices if choice != (setting.default or "nsr"))
    if setting.name == "advantage":
        return OWN
    if setting.name == "reward":
        return OWN_REWARDS
    if setting.kind is str:
        return ["q_proj"] if setting.several else "another"
    return setting.kind(setting.most or 2 * (setting.default or 512))


@pytest.mark.parametrize(("setting", "name"), BOUNDS, ids=[f"{one.name}-{name}" for one, name in BOUNDS])
def test_a_number_is_taken_up_to_its_bounds_and_refused_past_them(setting, name):
    bound = setting.kind(getattr(setting, name))
    inside = bound if name != "above" else step(setting, bound, up=True)
    outside = bound if name == "above" else step(setting, bound, up=name == "most")
    assert read(setting, repr(inside)) == inside
    with pytest.raises(ValueError) as error:
        read(setting, repr(outside))
    assert str(error.value) == f"{setting.flag} {outside}: must be {setting.allowed}"
    words = {"least": "at least", "above": "above", "most": "at most"}
    assert f"{words[name]} {getattr(setting, name)}" in setting.allowed


@pytest.mark.parametrize("setting", NUMBERS, ids=[one.name for one in NUMBERS])
def test_every_number_has_a_lower_bound_and_is_finite(setting):
    assert (setting.least is None) != (setting.above is None)
    assert setting.default is None or setting.takes(setting.default)
    for value in (math.inf, -math.inf, math.nan) if setting.kind is float else ():
        with pytest.raises(ValueError, match=f"{setting.flag} {value}: must be"):
            read(setting, value)


def test_numbers_without_a_lower_bound_must_be_finite_and_below_the_upper():
    free, most = Setting("free", 0.5, "any number"), Setting("most", 3, "few", most=5)
    assert free.takes(-1e300) and not free.takes(math.inf) and not free.takes(math.nan) and free.allowed == "finite"
    assert most.takes(5) and most.takes(-100) and not most.takes(6) and most.allowed == "at most 5"
    assert most.takes(None), "no value is given"


@EVERY
@pytest.mark.parametrize("spelling", ["name", "flag"])
def test_a_file_gives_every_value_that_the_flag_gives(setting, spelling, tmp_path):
    file, value = tmp_path / "settings.yaml", another(setting)
    key = setting.name if spelling == "name" else setting.flag.removeprefix("--")
    file.write_text(yaml.safe_dump({key: value}))
    if setting.name == "config":
        with pytest.raises(ValueError, match="unknown setting 'config'"):
            parse_args(line_for(setting, "--config", str(file)))
        return
    line = [] if setting.name == "mode" else line_for(setting)
    more = {"overwrite": [], "wandb_online": ["--report-to", "wandb"]}.get(setting.name, [])
    args = parse_args([*line, *more, "--config", str(file)])
    assert getattr(args, setting.name) == value and type(getattr(args, setting.name)) is type(value)
    assert setting.name in args.explicit
    flags = [setting.flag] if setting.kind is bool else [setting.flag, *(value if setting.several else [str(value)])]
    assert getattr(parse_args([*line, *more, *flags]), setting.name) == value


@EVERY
def test_a_value_of_another_kind_is_one_line_that_names_the_setting_and_the_place(setting, tmp_path):
    file = tmp_path / "settings.yaml"
    wrong = {int: "1.5", float: "1:30", bool: "maybe", str: "{a: b}"}[setting.kind]
    file.write_text(f"# a comment\n{setting.name}: {wrong}\n")
    with pytest.raises(ValueError) as error:
        parse_args(line_for(setting, "--config", str(file)))
    text = str(error.value)
    assert str(file) in text and setting.name in text and "\n" not in text
    assert "line 2" in text or setting.kind is str


@EVERY
def test_help_says_what_the_record_says(setting):
    (action,) = [action for action in build_parser()._actions if action.dest == setting.name]
    assert setting.help in action.help.replace("%%", "%") and len(setting.help) > 8
    shown = setting.default is not None and setting.kind is not bool
    assert action.help.endswith(f" (default: {setting.default})") == shown
    assert action.option_strings == list(filter(None, (setting.flag, setting.alias)))
    assert action.choices == setting.choices


def test_help_shows_the_groups_in_their_order():
    titles = [group.title for group in build_parser()._action_groups if group.title in groups()]
    assert titles == [
        "method", "model", "data", "rollouts and optimisation", "the run", "early warnings"
    ]  # fmt: skip
    assert list(SETTINGS) == [action.dest for action in build_parser()._actions if action.dest != "help"]


# -- --resume ----------------------------------------------------------------------------------------------------------

FREE = {  # each changes where and how a run is kept or watched, and none of its numbers
    "base_model", "config", "estimate", "output_root", "resume", "max_bad_updates", "overwrite", "save_steps",
    "save_total_limit", "report_to", "wandb_online", "log_completions", "collective_timeout", "warn_window",
    "warn_entropy", "warn_length", "warn_truncation", "warn_format", "warn_ratio", "stop_on_collapse",
    "eval_samples", "eval_on_start", "best_by", "show_data", "server_url", "server_model",
    "dataset_path",  # what is compared is the questions
    "prompt_file",  # what is compared is its text, in `prompt`
    "advantage", "reward",  # what is recorded is the hash of the file
}  # fmt: skip


def test_what_may_differ_between_a_run_and_its_continuation_is_decided_on_purpose():
    kinds = {kind: {n for n, one in SETTINGS.items() if one.resume == kind} for kind in ("free", "length", "product")}
    assert kinds["free"] == FREE and kinds["length"] == {"num_epochs", "max_steps"}
    assert kinds["product"] == {"batch_size", "gradient_accumulation_steps"}


@EVERY
def test_resume_refuses_what_its_record_says_and_nothing_else(setting, tmp_path):
    beside = {"reward": ["--reward", *OWN_REWARDS], "server_url": ["--server-url", "http://host"]}
    args = parse_args([*line_for(setting), *beside.get(setting.name, [])])
    old = settings_record(args, {"name": "tiny", "source": "models/tiny"}, DATA)
    prepare_folder(tmp_path / "run", old, resume=False, overwrite=False)
    checkpoint(tmp_path / "run", 4)
    changed = argparse.Namespace(**{**vars(args), setting.name: another(setting)})
    if setting.name == "reward":  # the same code by another name; tests/test_own_reward.py has other code
        changed.reward = ["accuracy", "examples.reward:concise"]
    if setting.name == "prompt":
        changed.prompt = "short"
    if setting.name == "advantage":  # the same code elsewhere; tests/test_own_advantage.py has other code
        (tmp_path / "moved.py").write_text((ROOT / "examples" / "advantage.py").read_text())
        changed.advantage = f"{tmp_path / 'moved.py'}:unlikely"
    new = settings_record(changed, {"name": "tiny", "source": "models/tiny"}, DATA)
    new = json.loads(json.dumps(new))
    assert new["settings"][setting.name] != old["settings"][setting.name], "it is saved"
    options = {"resume": True, "overwrite": False}
    if setting.resume in ("free", "length"):
        assert prepare_folder(tmp_path / "run", new, **options)[1] == tmp_path / "run" / "checkpoint-4"
        return
    with pytest.raises(ValueError, match=rf"was made with other settings: .*\b{setting.name}: "):
        prepare_folder(tmp_path / "run", new, **options)


def test_a_setting_of_other_methods_may_differ():
    """So may one that all but GRPO use, and a run may be older than it."""
    args = parse_args(["--mode", "grpo"])
    old = settings_record(args, {"name": "tiny", "source": "models/tiny"}, DATA)
    for name, setting in SETTINGS.items():
        if setting.methods and "grpo" not in setting.methods:
            del old["settings"][name]
    assert differences(old, settings_record(args, {"name": "tiny", "source": "models/tiny"}, DATA)) == []


# -- the options of methods -------------------------------------------------------------------------------------------


def test_an_option_of_a_method_is_a_setting_with_its_bounds_and_choices(monkeypatch):
    """Whatever option() comes to say of an option in the words of a Setting."""

    def said(default, **facts):
        return dataclasses.field(default=default, metadata={"help": "a test", "shown": "Test", **facts})

    @dataclasses.dataclass(frozen=True)
    class Later(Method):
        name, label = "later", "Later"
        shared_flags = ("normaliser", "clip")
        share: float = option(0.5, "moves it", shown="Share", least=0, most=2)
        few: float = option(1.0, "no lower bound", shown="Few", most=2)
        kind: str = said("mean", choices=("mean", "median"))
        window: int = said(3, above=0)
        centred: bool = said(False)

    monkeypatch.setitem(METHODS, "later", Later)
    own = {name: one for name, one in all_settings().items() if one.methods == ("later",)}
    assert {name: one.kind for name, one in own.items() if name != "clip"} == {
        "share": float, "few": float, "kind": str, "window": int, "centred": bool,
    }  # fmt: skip
    assert "clip" in own, "it said so"
    assert all_settings()["normaliser"].methods == tuple(
        name for name, method in METHODS.items() if "normaliser" in method.shared_flags
    )
    text = build_parser().format_help()
    assert "--kind {mean,median}" in text and "later: moves it (default: 0.5)" in text
    for name, value, message in [
        ("share", 2.5, "--share 2.5: must be at least 0 and at most 2"),
        ("few", 3.0, "--few 3.0: must be at most 2"),
        ("few", math.nan, "--few nan: must be at most 2"),
        ("window", 0, "--window 0: must be above 0"),
    ]:
        setting = own[name]
        assert not setting.takes(value) and f"{setting.flag} {value}: must be {setting.allowed}" == message
    with pytest.raises(ValueError, match="--share is not used by --mode nsr, only by later; leave it out"):
        parse_args(["--mode", "nsr", "--share", "1"])
    with pytest.raises(ValueError, match="invalid choice: 'mode'"):
        parse_args(["--mode", "nsr", "--kind", "mode"])


@pytest.mark.parametrize("flags", [["--mode", "grpo", "--loss", "gspo"], ["--mode", "ngrpo"]])
def test_a_clip_range_that_is_given_is_one_at_both_ends(flags):
    """Else the upper end of the loss, or of the method, would stay and bound an update that the user wanted wider."""
    args = parse_args([*flags, "--clip", "0.4"])
    assert (args.clip, args.clip_high) == (0.4, None)
    assert parse_args([*flags, "--clip", "0.4", "--clip-high", "0.6"]).clip_high == 0.6
    assert parse_args(flags).clip_high is not None
