"""What settings become in TRL's GRPOConfig, and that the program itself reads all the others."""

import argparse
import ast

import pytest

from charts.own_columns import as_columns
from settings.arguments import parse_args
from settings.grpo_config import build_config
from tests.test_settings import ROOT, SETTINGS, another
from trainers import METHODS


@pytest.fixture(scope="module")
def plain():
    args = parse_args(["--mode", "nsr"])
    args.gradient_accumulation_steps, args.max_completion_length, args.learning_rate = 4, 16, 1e-4
    return args


FEEDING = [setting for setting in SETTINGS.values() if setting.feeds]


@pytest.mark.parametrize("setting", FEEDING, ids=[one.name for one in FEEDING])
def test_a_setting_that_feeds_a_field_of_grpo_config_changes_it(setting, plain, tmp_path):
    value = another(setting)
    changed = argparse.Namespace(**{**vars(plain), setting.name: value})
    before, after = (getattr(build_config(args, tmp_path, "fp32", True), setting.feeds) for args in (plain, changed))
    assert before != after
    given = setting.convert(value)
    assert (
        after in (given, [given]) or after.value == given
    )  # as GRPOConfig keeps it: a list of one, a member of an enum


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("optimiser", "adam", "adamw_torch_fused"), ("optimiser", "sgd", "sgd"), ("averaging", "token", "dapo"),
        ("averaging", "sequence", "grpo"), ("max_steps", None, -1), ("max_steps", 7, 7),
        ("disable_gradient_checkpointing", False, True), ("disable_gradient_checkpointing", True, False),
    ],
)  # fmt: skip
def test_a_value_that_trl_names_otherwise_is_translated(name, value, field):
    assert SETTINGS[name].convert(value) == field


def test_all_other_values_reach_trl_as_they_are():
    translated = {"optimiser", "averaging", "max_steps", "disable_gradient_checkpointing"}
    for setting in FEEDING:
        assert setting.name in translated or setting.convert(another(setting)) == another(setting), setting.name


FED = {  # a setting that is not here is read by this program alone
    "averaging": "loss_type", "clip": "epsilon", "clip_high": "epsilon_high", "kl_beta": "beta",
    "entropy_bonus": "entropy_coef",
    "disable_gradient_checkpointing": "gradient_checkpointing", "num_generations": "num_generations",
    "batch_size": "per_device_train_batch_size", "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_epochs": "num_train_epochs", "max_steps": "max_steps", "learning_rate": "learning_rate", "optimiser": "optim",
    "temperature": "temperature", "max_completion_length": "max_completion_length", "seed": "seed",
    "save_steps": "save_steps", "save_total_limit": "save_total_limit", "eval_steps": "eval_steps",
    "eval_samples": "num_generations_eval", "report_to": "report_to", "log_completions": "log_completions",
}  # fmt: skip


def test_which_settings_are_also_those_of_trl_is_decided_on_purpose():
    assert {setting.name: setting.feeds for setting in FEEDING} == FED
    assert len(set(FED.values())) == len(FED), "no two feed one field"


def names_in(tree: ast.AST) -> set[str]:
    """Attributes and texts of a program."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str}


def test_every_setting_that_feeds_no_field_is_read_by_the_program():
    """A flag that nothing reads would be refused nowhere and do nothing."""
    rooms = ("training", "estimate", "checkpoints", "trainers", "update", "settings")
    files = [ROOT / "main.py", *(file for room in rooms for file in (ROOT / room).glob("*.py"))]
    read_here = set()
    for file in files:
        if file.name != "table.py":
            read_here |= names_in(ast.parse(file.read_text(encoding="utf-8")))
    options = {name for method in METHODS.values() for name in method.options()}  # Method.from_settings
    columns = set(as_columns({}))  # Columns.of
    bounds = {f"warn_{name}" for name in ("entropy", "length", "truncation", "format", "ratio")}  # bounds_of
    unread = {name for name, one in SETTINGS.items() if not one.feeds} - read_here - options - bounds - columns
    assert unread == set()
