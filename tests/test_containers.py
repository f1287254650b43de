"""The notebook of two T4 runs from its first cell to its last, and the Dockerfile copies what its script needs."""

import fnmatch
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tests.commands import check
from tests.test_imports import MODULES, ROOT, reached

BOOK = ROOT / "examples" / "two_t4.ipynb"
SMALL = {"MODEL": "tiny", "DATASET": "synthetic", "QUESTIONS": "16", "PROBLEMS": "2", "SAMPLES": "2", "INSTALL": "no"}


def cells() -> list[str]:
    book = json.loads(BOOK.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5) and len({one["id"] for one in book["cells"]}) > 5
    assert not any(cell.get("outputs") for cell in book["cells"]), "kept without outputs"
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The notebook's settings by environment, for `tiny`; its outputs in `tmp_path`."""
    for name, value in {**SMALL, "PROJECT": str(ROOT), "OUTPUT": str(tmp_path / "out")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out"


def test_every_command_of_the_notebook_is_accepted_by_its_program(small, monkeypatch):
    given = []
    monkeypatch.setattr(subprocess, "run", lambda words, check: given.append(words))
    names = {}
    for cell in cells():
        if "Image.open" in cell:
            Image.new("RGB", (4, 4)).save(names["PICTURE"])
        exec(cell, names)
    assert len(given) == 8
    monkeypatch.undo()
    for words in given:
        launched = [word for word in words if word not in ("--config_file", "deepspeed_zero3.yaml")]
        if words[:2] == ["accelerate", "launch"]:  # the rule for a launcher wants its file
            launched = [*launched[:2], f"--config_file={ROOT / 'deepspeed_zero3.yaml'}", *launched[2:]]
        monkeypatch.chdir(ROOT)
        check(launched, monkeypatch)


@pytest.mark.slow
def test_the_notebook_runs_with_tiny(small):
    names = {}
    for cell in cells():
        exec(cell, names)
    assert names["PICTURE"].is_file() and (names["PUBLISHED"] / "adapter_model.safetensors").is_file()
    card = (names["PUBLISHED"] / "README.md").read_text()
    assert "**NSR**, this model" in card and "before training" in card


# -- the Dockerfile: not built here, but held to what it relies on ----------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def ignored(path: Path) -> bool:
    """By .dockerignore: whether docker build does not see this file of the project."""
    parts = path.relative_to(ROOT).parts
    patterns = (ROOT / ".dockerignore").read_text().split()
    return any(
        fnmatch.fnmatch(name, pattern.removeprefix("**/"))
        for pattern in patterns
        for name in (parts if pattern.startswith("**/") else parts[:1])
    )


def test_what_the_dockerfile_copies_exists_and_what_its_script_needs_is_copied():
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    assert [one for names in copied for one in names if not (ROOT / one).exists()] == [] and ["."] in copied
    (entry,) = [json.loads(rest) for word, rest in instructions() if word == "ENTRYPOINT"]
    script = ROOT / entry[0]
    assert script.stat().st_mode & 0o100
    programs = re.findall(r"(?:main\.py|generate_samples\.py|evaluation/\w+\.py)", script.read_text())
    modules = {name.removesuffix(".py").replace("/", ".") for name in programs}
    assert len(modules) == 6
    needed = {MODULES[one] for name in modules for one in {name, *reached(name)} & MODULES.keys()}
    needed |= {script, ROOT / "environment.sh", ROOT / "requirements.txt", ROOT / "deepspeed_zero3.yaml"}
    needed |= {path for path in (ROOT / "models").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert [path for path in sorted(needed) if ignored(path)] == []
    assert ignored(ROOT / "grpo-start-ckpts" / "x") and ignored(ROOT / "common" / "__pycache__" / "x")


def test_the_container_has_a_python_that_fits_and_one_environment():
    (base,) = [rest for word, rest in instructions() if word == "FROM"]
    version = tuple(map(int, re.search(r"python:(\d+)\.(\d+)", base).groups()))
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert version >= tuple(map(int, re.search(r">=(\d+)\.(\d+)", least).groups()))
    (environment,) = [
        dict(pair.split("=", 1) for pair in rest.split()) for word, rest in instructions() if word == "ENV"
    ]
    assert environment["PATH"].startswith(environment["VIRTUAL_ENV"] + "/bin:"), "environment.sh takes it as it is"
    assert any(word == "RUN" and "venv " + environment["VIRTUAL_ENV"] in rest for word, rest in instructions())
