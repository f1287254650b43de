"""The documents are true: links lead somewhere, commands are accepted or run, examples work, numbers of words are kept.

By default every command of every block is parsed by its own program with `tiny` on `synthetic` put in, its values
checked as far as they can be before data or models are read, and the commands of the README that train, sample, score
and draw are run, in small. With `-m slow` so are those of docs/training.md, docs/evaluation.md and docs/data.md. Never
run here: the scripts, whose whole run takes minutes to hours (tests/test_distrust_shell.py runs three of them with
programs in place of Python), benchmarks, runs/ and embedded.build_tiny for the same reason, and what needs an
interrupted run (tests/test_interruption.py). `accelerate launch` is parsed here and run by tests/test_main.py.
"""

import os
import re
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.commands import DOCUMENTS, ROOT, blocks, check, commands, program, put_in

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
GUIDES = re.compile(r"\bthe guides?\b", re.IGNORECASE)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
RUN = {"main", "generate_samples", "examples.quiz"} | {
    f"evaluation.{name}" for name in ("pass_at_k", "plotting", "report")
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_accepted_by_its_program(name, folder, monkeypatch):
    for block in blocks(ROOT / name, "bash"):
        for words in commands(block):
            check(put_in(words), monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "python main.py --mode nsr --no-such-flag 1",
        "python main.py --mode nsr --subset-size 0",
        "python no_such_file.py",
        "python -m no_such_module",
        "python generate_samples.py --checkpoint-path tiny",
        "python evaluation/pass_at_k.py --sample-path x",
        "python -m study.reproduction --prints",
        "./run_tests.sh --no-such-flag",
        "./run_tests.sh tests/no_such_file.py",
        "./no_such_script.sh",
        "accelerate launch --config_file=no.yaml main.py --mode nsr",
        "accelerate launch --no_such_flag main.py --mode nsr",
        "sudo rm",
    ],
)
def test_a_command_that_does_not_work_is_found(line, folder, monkeypatch):
    (words,) = commands(line)
    with pytest.raises((AssertionError, SystemExit, ValueError, ModuleNotFoundError)):
        check(put_in(words), monkeypatch)


def small(module: str, arguments: list[str]) -> list[str]:
    """The arguments with the least work that the program accepts: a recipe's rollout batch is 8 questions."""
    size = ["--subset-size", "8" if "--config" in arguments else "4"]
    measured = [] if "--eval-samples" in arguments else ["--held-out", "0"]
    more = {
        "main": [*size, *measured, "--report-to", "none"],
        "generate_samples": [*size, "--num-samples", "4"],
    }
    return [*arguments, *more.get(module, [])]


def run_all(name):
    """Runs the commands of a document that may be, in their order, in the working directory; returns what they say."""
    said = {}
    for words in (words for block in blocks(ROOT / name, "bash") for words in commands(block)):
        if words[0].startswith("./") or "refcoco" in words:  # drawn boxes have no splits of its names
            continue
        module, arguments = program(put_in(words))
        if module not in RUN or "--resume" in arguments:
            continue
        with redirect_stdout(StringIO()) as text:
            code = __import__(module, fromlist=["main"]).main(small(module, arguments))
        assert code == 0, " ".join(words)
        said[" ".join(words)] = text.getvalue()
    return said


def test_the_commands_of_the_readme_train_sample_score_and_draw(folder):
    said = run_all("README.md")
    assert len(said) == 7
    printed = "\n".join(said.values())
    assert re.search(r"NSR: Filtered \d/4 negative samples", printed) and "Pass@4:" in printed
    run = folder / "grpo-start-ckpts/tiny-prm-large-train-v2-nsr-2025"
    assert (run / "adapter_model.safetensors").is_file(), "the folder that the README names, of tiny"
    left = {path.name for path in folder.iterdir()}
    assert left >= {"samples_nsr.json", "samples_base.json", "results_nsr.json", "comparison.png", "report.html"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docs/training.md", "docs/evaluation.md", "docs/data.md"])
def test_the_commands_of_a_document_run(name, folder):
    if name == "docs/evaluation.md":  # it samples from the run that the README trains
        run_all("README.md")
        for path in folder.glob("*.json*"):
            path.unlink()
    assert run_all(name)


def headings(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name):
    for target in LINK.findall((ROOT / name).read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


def test_no_part_of_a_document_stands_in_it_twice():
    for path in sorted((ROOT / "docs").glob("*.md")):
        titles = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
        assert len(set(titles)) == len(titles), path


def test_the_index_names_every_document():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - set(LINK.findall(index)) == {"README.md"}


def test_the_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_the_files_of_the_readme_exist():
    (tree,) = (block for block in blocks(ROOT / "README.md", "") if "trainers/" in block)
    room, found = ROOT, []
    for line in tree.splitlines():
        names = [word for word in line.split() if re.fullmatch(r"[\w.]+(/|\.py)", word)]
        if not line.startswith(" "):
            room = ROOT / names[0] if names[0].endswith("/") else ROOT
        found += [room / name if line.startswith(" ") else ROOT / name for name in names]
    assert len(found) > 15 and [path for path in found if not path.exists()] == []


def test_every_metric_of_ours_is_explained():
    sources = [path for room in ("trainers", "rewards") for path in (ROOT / room).glob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    logged = set(re.findall(r"[\"']((?:decomposed|ratio|rollout)/[a-z_]+)[\"']", text))
    explained = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").replace("`, `", "`, `decomposed/")
    assert len(logged) > 5 and [name for name in sorted(logged) if f"`{name}`" not in explained] == []


def test_python_blocks_compile_and_those_of_the_charts_run(folder):
    for document in DOCUMENTS:
        for block in blocks(document, "python"):
            compile(block, str(document), "exec")
    (block,) = blocks(ROOT / "charts/README.md", "python")
    names = {}
    exec(block.replace('"chartqa", path="data/ChartQA"', '"synthetic"'), names)
    assert len(names["train"]) == 1000 and len(names["held_out"]) > 0


def test_the_examples_train_sample_and_score(folder, monkeypatch):
    from examples import sample, score, train

    trainer = train.main(str(folder / "trained"), updates=2)
    assert trainer.state.global_step == 2 and (folder / "trained/model.safetensors").is_file()
    question, completions = sample.main(completions=8)
    assert len(completions) == 8 and all("<answer>" in text for text in completions)
    found = score.main(question, completions)
    assert list(found) == [1, 2, 4, 8] and 0 <= found[1] <= found[8] <= 1
    for module in (train, sample, score):
        body = Path(module.__file__).read_text().partition("def main")[2].partition('if __name__ == "__main__":')[0]
        assert len(body.splitlines()) <= 24, "short enough to be read at a glance"


def test_the_licence_and_the_hooks_are_those_that_are_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    pinned = re.search(r"ruff>=([\d.]+),<([\d.]+)", (ROOT / "requirements-dev.txt").read_text())
    hook = re.search(r"rev: v([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text())[1]
    low, number, high = (tuple(map(int, text.split("."))) for text in (pinned[1], hook, pinned[2]))
    assert low <= number < high


def test_no_sentence_assumes_what_no_file_here_explains():
    """Words of documents that are not part of this project."""
    unknown = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__pycache__"]
        for path in (Path(folder) / name for name in names if name.endswith((".py", ".md", ".sh", ".toml", ".yaml"))):
            if path != Path(__file__) and GUIDES.search(path.read_text(encoding="utf-8")):
                unknown.append(str(path.relative_to(ROOT)))
    assert not unknown


def test_every_command_stands_where_these_tests_find_it():
    """In a block with a fence; the studies of models that are no more keep theirs."""
    for path in [ROOT / "README.md", ROOT / "charts" / "README.md", *(ROOT / "docs").glob("*.md")]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert path.name == "reproduction_tiny.md" or not [line for line in lines if line.startswith("    python ")], (
            path
        )
