"""Which room may import which: read from the source of every file, imports inside functions included."""

import ast
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from common.imports import OBJECTS, rare_collection
from trainers import METHODS

ROOT = Path(__file__).parent.parent
# A room imports itself and the rooms of the lines above its own, never a neighbour on its line.
ROOMS = [
    ["common"],
    ["charts", "methods"],  # methods: the table in trainers/, and the file of each
    ["models", "rewards", "evaluation", "settings"],
    ["checkpoints"],
    ["sampling"],
    ["update"],
    ["trainers"],  # what stands upon TRL in trainers/
    ["training"],
    ["estimate", "embedded"],
    ["organism"],
    ["study"],
    ["main", "generate_samples"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
TABLE = {"trainers", "trainers.method", *(method.__module__ for method in METHODS.values())}
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "deepspeed"}
# The one place where settings become TRL's: `build_config` imports GRPOConfig when it makes one.
MAKES_TRL_SETTINGS = {"settings.grpo_config"}

FILES = [*ROOT.glob("*.py"), *(path for name in LEVEL for path in (ROOT / name).rglob("*.py"))]
# Module -> file, of all but tests, benchmarks and examples, which may import anything.
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}


def imports(source: str) -> set[str]:
    """The modules that run when this source does, those of its functions too; not what only types need."""
    found, nodes = set(), [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}  # a module, or what is in it
        nodes += ast.iter_child_nodes(node)
    return {
        name if name in MODULES else known if (known := name.rpartition(".")[0]) in MODULES else name for name in found
    }


GRAPH = {name: imports(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
GRAPH["trainers.own_advantage"] -= {"torch"}  # only where its mode is chosen: the user's function is tried on tensors
DOORS = {"main", "generate_samples"} | {
    name for name, file in MODULES.items() if "sys.path[0] = " in file.read_text(encoding="utf-8")
}


def room(module: str) -> str:
    return "methods" if module in TABLE else module.partition(".")[0]


def reached(module: str) -> set[str]:
    """All that is imported by what this module imports, and so on."""
    found, new = set(), GRAPH[module]
    while new:
        found |= new
        new = set().union(*(GRAPH.get(name, set()) for name in new)) - found
    return found


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_imports_run_one_way():
    assert {room(name) for name in MODULES} == LEVEL.keys()
    back = [
        f"{name} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets & MODULES.keys()
        if room(name) != room(target) and LEVEL[room(name)] <= LEVEL[room(target)]
    ]
    assert not back


def test_no_module_imports_itself_by_way_of_others():
    assert not [name for name in GRAPH if name in reached(name)]


def test_no_library_imports_a_script():
    assert {"evaluation.pass_at_k", "evaluation.plotting", "evaluation.report"} < DOORS
    assert not [f"{name} -> {target}" for name, targets in GRAPH.items() for target in targets & DOORS]


LIGHT = sorted(name for name in GRAPH if room(name) in ("charts", "methods", "evaluation", "settings"))


@pytest.mark.parametrize("name", [name for name in LIGHT if name not in MAKES_TRL_SETTINGS])
def test_a_light_module_imports_nothing_heavy(name):
    assert not packages(reached(name)) & HEAVY
    if room(name) == "charts":
        assert not packages(reached(name)) & {"models", "rewards", "trainers"}


def test_light_modules_load_nothing_heavy():
    code = f"import importlib, sys\nfor name in {LIGHT}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not packages(set(done.stdout.split())) & HEAVY, done.stderr


def test_garbage_is_looked_for_seldom_while_libraries_are_imported_and_as_before_afterwards():
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 5, 3)
        with pytest.raises(ImportError), rare_collection():
            assert gc.isenabled() and gc.get_threshold() == (OBJECTS, 5, 3)
            raise ImportError
        assert gc.get_threshold() == (700, 5, 3)
    finally:
        gc.set_threshold(*before)


def test_the_programs_import_pytorch_only_after_its_environment_is_set():
    programs = "main, generate_samples, organism.build, organism.measure, embedded.build_tiny"
    code = f"import sys, {programs}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
