"""The table card -> command of docs/cards.md: every row is an estimate that fits, of a recipe that loads."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from PIL import Image

from charts.record import ChartQuestion
from estimate.report import Job
from estimate.run import stands_in
from settings.arguments import parse_args
from tests.commands import ROOT
from training.preparing import examine
from update.host_memory import host_memory

DOCUMENT = ROOT / "docs" / "cards.md"
T4 = 15.6  # GB that a card of 16 leaves
CELLS = ("card", "model", "kind", "command", "gpu", "host")
NAMES = {"3B": "qwen2-5-3b", "7B": "qwen2-5-7b"}
TEXT = 150 * 4  # characters of a question and what is asked around it, so that no chart's prompt is longer


def rows() -> list[dict]:
    lines = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines()]
    found = [dict(zip(CELLS, line, strict=True)) for line in lines if len(line) == len(CELLS) and line[1] in NAMES]
    return [row | {"command": row["command"].strip("`")} for row in found]


def words_of(command: str) -> tuple[list[str], dict[str, str], int]:
    """Arguments of main.py, what the launcher tells of DeepSpeed, and the number of processes."""
    words = shlex.split(command)
    if words[0] == "python":
        return words[2:], {}, 1
    own = launch_command_parser().parse_args(words[2:])
    told = {}
    if own.config_file:
        settings = yaml.safe_load((ROOT / own.config_file).read_text(encoding="utf-8"))
        assert settings["distributed_type"] == "DEEPSPEED"
        told = {"ACCELERATE_USE_DEEPSPEED": "true"} | {
            f"ACCELERATE_DEEPSPEED_{name.upper()}": str(value) for name, value in settings["deepspeed_config"].items()
        }
    return own.training_script_args, told, own.num_processes or 1


@cache
def largest() -> list[ChartQuestion]:
    """A chart of more pixels than any limit, and a long question."""
    image = Image.new("RGB", (1600, 1200))
    return [ChartQuestion(id="q", question="?" * (TEXT - 500), answers=("1",), open_image=lambda: image)]


def estimated(command: str, model: str, folder: Path, monkeypatch) -> tuple[float, float]:
    """GB that each GPU needs, and that the machine does."""
    arguments, told, processes = words_of(command)
    for name, value in {**told, "WORLD_SIZE": str(processes)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)  # recipes are named from there
    args = parse_args([*arguments, "--mode", "nsr", "--dataset-name", "synthetic", "--report-to", "none", "--estimate"])
    assert args.vlm_name == NAMES[model]
    args.stand_in = stands_in(args, folder)
    examine(args)
    job = Job(args, largest())
    return job.least_memory(args).needed / 1e9, host_memory(job.counts(args), job.work(args)) / 1e9


def test_the_table_has_every_card_model_and_way_that_there_is():
    found = rows()
    cards = {"T4, 16 GB", "2 x T4", "24 GB", "40 GB", "80 GB", "141 GB"}
    assert {row["card"] for row in found} == cards
    assert {(row["model"], row["kind"]) for row in found} >= {(m, k) for m in NAMES for k in ("LoRA", "4-bit", "full")}
    used = {name for row in found for name in re.findall(r"recipes/cards/\w+\.yaml", row["command"])}
    assert used == {str(path.relative_to(ROOT)) for path in (ROOT / "recipes" / "cards").glob("*.yaml")}


ROWS = [
    pytest.param(row, id=f"{row['card']}-{row['model']}-{row['kind']}", marks=pytest.mark.slow if rest else ())
    for row in rows()
    for rest in [row["card"] != "T4, 16 GB"]
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_fits_its_card_and_its_numbers_are_those_of_the_estimate(row, tmp_path, monkeypatch):
    gpu, host = estimated(row["command"], row["model"], tmp_path, monkeypatch)
    card = re.search(r"T4|\d+", row["card"])[0] if "x" not in row["card"] else "T4"
    assert gpu <= (T4 if card == "T4" else float(card))
    assert (f"{gpu:.0f}", f"{host:.0f}") == (row["gpu"], row["host"])
    kind = {"4-bit": "--base-4bit" in row["command"] or "4bit" in row["command"], "full": "full" in row["command"]}
    assert kind.get(row["kind"], "lora" in row["command"])
