"""The command blocks of the documents: found, cut into commands, run or parsed with `tiny` and `synthetic` put in."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "charts/README.md")),
    *(ROOT / name for name in ("benchmarks/RESULTS.md", "tests/data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET = {"--vlm-name": "tiny", "--dataset-name": "synthetic"}
LEFT_OUT = ("--dataset-path",)  # synthetic charts are drawn, not read


class Parsed(Exception):
    """The arguments of a program have been accepted."""


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for kind, text in FENCE.findall(document.read_text(encoding="utf-8")) if kind == language]


def commands(block: str) -> list[list[str]]:
    """The words of every command, without comments, redirections and settings of the environment."""
    lines = (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())
    found = []
    for words in filter(None, lines):
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        end = words.index(">") if ">" in words else len(words)
        found.append(words[:end])
    return found


def put_in(words: list[str]) -> list[str]:
    """The words with `tiny` on `synthetic` in place of other models and data sets, and a mode in place of dots."""
    out = []
    for word in words:
        before = out[-1] if out else ""
        if word == "...":
            out += ["--mode", "nsr"]
        elif word in LEFT_OUT:
            out.append(word)
        elif before in LEFT_OUT:
            out.pop()
        else:
            here = f"{ROOT}/{word}" if word.startswith("examples/") else word  # the tests run elsewhere
            out.append(SET.get(before, here.replace("qwen2-5-3b", "tiny")))
    return out


def program(words: list[str]) -> tuple[str, list[str]]:
    """(module, its arguments) of `python file.py`, `python -m module` and `accelerate launch file.py`."""
    if words[:2] == ["accelerate", "launch"]:
        from accelerate.commands.launch import launch_command_parser

        own = launch_command_parser().parse_args(words[2:])
        assert (ROOT / own.config_file).is_file()
        words = ["python", own.training_script, *own.training_script_args]
    assert words[0] == "python", f"no rule for {words[0]}"
    if words[1] == "-m":
        return words[2], words[3:]
    assert (ROOT / words[1]).is_file()
    return words[1].removesuffix(".py").replace("/", "."), words[2:]


def check(words: list[str], monkeypatch) -> None:
    """Fails unless the command's program exists and takes its arguments; nothing is done but parsing them."""
    if words[0] == "sbatch":
        return check_script([f"./{words[1]}", *words[2:]])
    if words[0].startswith("./"):
        return check_script(words)
    name, arguments = program(words)
    if name in ("pytest", "ruff"):
        return None
    module = importlib.import_module(name)
    if hasattr(module, "parse_args"):
        module.parse_args(arguments)
        return None
    real = argparse.ArgumentParser.parse_args

    def parse(self, *args, **kwargs):
        real(self, *args, **kwargs)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        try:
            module.main(arguments)
        except Parsed:
            return None
    raise AssertionError(f"{name} has parsed no arguments")


def check_script(words: list[str]) -> None:
    """A script exists, may be executed, is bash, and knows its long flags; files that it is given exist."""
    script = ROOT / words[0]
    assert script.is_file() and script.stat().st_mode & 0o100, script
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    text = script.read_text(encoding="utf-8")
    for word in words[1:]:
        assert not word.startswith("--") or word in text, f"{script.name} does not know {word}"
        assert "/" not in word or (ROOT / word).exists(), word
