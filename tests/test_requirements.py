"""requirements.txt names every package that the project imports itself, not those of its dependencies by luck."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.test_imports import LEVEL

ROOT = Path(__file__).parent.parent
ROOMS = {*LEVEL, "benchmarks", "examples"}
ASKED_FOR = {"bitsandbytes"}  # imported with --base-4bit alone, which says how to install it
WITH_TORCH = {"triton"}  # its wheels for Linux bring it; elsewhere a decode step does without
KNOWN = {*sys.stdlib_module_names, *ROOMS, "tests", *ASKED_FOR, *WITH_TORCH}


def imported(source: str) -> set[str]:
    """The first names of all that is imported, in functions too."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.partition(".")[0] for name in found}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_that_is_imported_is_required():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    required = {plain(re.split(r"[<>=]", line)[0]) for line in lines}
    providers, missing = packages_distributions(), {}
    files = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    for file in files:
        for name in imported(file.read_text(encoding="utf-8")) - KNOWN:
            if not {plain(one) for one in providers.get(name, [name])} & required:
                missing.setdefault(name, str(file.relative_to(ROOT)))
    assert not missing


def test_an_import_in_a_function_counts():
    assert imported("def f():\n    from a.b import c\nimport d.e as g\nfrom . import h\n") == {"a", "d"}
