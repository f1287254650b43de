"""Reports about scores, intervals, output and settings: what was put in, what came out once, and what is right."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from charts.adapters import ADAPTERS
from charts.answers import grade
from charts.public_rules import chartqapro_scores
from charts.record import ChartQuestion
from common.signals import StopSignals
from evaluation import pass_at_k, plotting
from rewards.chart_types import same_type
from rewards.tables import rms_f1
from settings.arguments import parse_args

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Row:
    name: str
    find: Callable[[Path], object]  # in an empty folder
    old: object
    right: object


def graded(answer: str, gold: str, rule: str):
    return lambda folder: grade(answer, ChartQuestion("q", "?", (gold,), rule=rule)).correct


def public_score(answer: str, gold: str):
    def mean(folder: Path) -> float:
        scores = chartqapro_scores(answer, gold)
        return round(sum(scores) / len(scores), 4)

    return mean


def rules_of(dataset: str, **row):
    return lambda folder: {fields.get("rule", "relaxed") for fields in ADAPTERS[dataset].read(row, 0, 1)}


def problems(counts: list[int], n: int = 2) -> list[dict]:
    return [
        {"problem_id": f"p{i}", "image_id": f"chart {i}", "correct": [True] * c + [False] * (n - c)}
        for i, c in enumerate(counts)
    ]


def written(path: Path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def scored(folder: Path, content, *flags: str) -> dict:
    """The results file of a samples file."""
    output = folder / "results.json"
    code = pass_at_k.main(["--samples-path", written(folder / "s.json", content), "--output-path", str(output), *flags])
    return json.loads(output.read_text(encoding="utf-8")) if code == 0 else {"refused": True}


def interval(*counts: int):
    def bounds(folder: Path) -> list[float]:
        return [round(bound, 3) for bound in scored(folder, problems(list(counts)))["intervals"]["1"]]

    return bounds


def compared(folder: Path) -> list[float]:
    path, output = written(folder / "s.json", problems([1] * 20)), folder / "compared.json"
    assert pass_at_k.main(["--compare", path, path, "--output-path", str(output)]) == 0
    return [round(bound, 3) for bound in json.loads(output.read_text())["intervals"]["1"]]


def drawn_numbers(folder: Path) -> list[str]:
    """low and high at k = 1, as the CSV beside the picture has them."""
    scored(folder, problems([0] * 20))
    plotting.main(["--results", str(folder / "results.json"), "--output", str(folder / "p.svg")])
    return (folder / "p.csv").read_text().splitlines()[1].split(",")[-2:]


def evalplus(*samples, old: bool = False, marks: str = "correct"):
    """Pass@1 of one task's (base status, extra status), or that they were refused."""

    def value(folder: Path):
        base, plus = ([[status, []] for status in statuses] for statuses in zip(*samples, strict=True))
        new = [{"base_status": b, "plus_status": p} for b, p in samples]
        content = {"eval": {"HumanEval/0": {"nfiles": len(samples), "base": base, "plus": plus} if old else new}}
        results = scored(folder, content, "--marks", marks)
        return "refused" if "refused" in results else results["pass_at_k"]["1"]

    return value


def of_recipe(line: str):
    """What a line of a --config file becomes, or the end of the error."""

    def value(folder: Path):
        recipe = written(folder / "recipe.yaml", f"mode: nsr\n{line}\n")
        try:
            return getattr(parse_args(["--config", recipe]), line.partition(":")[0])
        except ValueError as error:
            return str(error).removeprefix(f"--config {recipe}")

    return value


def ended(command: str, made: str = "", **environment: str):
    """The exit code of a shell's line that starts a program of the checkout, and whether it has made a file."""

    def code(folder: Path):
        written(folder / "s.json", [{"problem_id": "λ", "correct": [True]}])
        line = command.replace("python ", f"{sys.executable} {ROOT}/")
        settings = {**os.environ, **environment}
        done = subprocess.run(["bash", "-c", line], cwd=folder, env=settings, capture_output=True)
        return done.returncode, bool(made) and (folder / made).exists()

    return code


def disposition(folder: Path) -> str:
    with StopSignals():
        handler = signal.getsignal(signal.SIGHUP)
    return "ends at once" if handler is signal.SIG_DFL else "handled as SIGTERM"


def marked_by(folder: Path) -> str | None:
    settings = {"settings": {"data": {"marked_by": ["strict"]}}}
    lines = [settings, *problems([0, 1])]
    path = folder / "s.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert pass_at_k.main(["--samples-path", str(path), "--output-path", str(folder / "r.json")]) == 0
    return json.loads((folder / "r.json").read_text())["metadata"].get("marked_by")


def table(*cells: str) -> dict:
    return {"columns": ["year", "value"], "rows": [[str(2020 + i), cell] for i, cell in enumerate(cells)]}


NUMBERS = "must be a whole number in digits"
SCORE = "python evaluation/pass_at_k.py --samples-path s.json --output-path r.json"
ROWS = [
    # ChartQAPro's published evaluator
    Row("similarity of one half is none", graded("greece", "France", "chartqapro"), True, False),
    Row("the verdict of one half", graded("a)", "a", "chartqapro"), True, False),
    Row("half of a list is right", public_score("['a', 'b']", "['a', 'c']"), 0.5, 0.5),
    Row("half of a list is no right answer", graded("['a', 'b']", "['a', 'c']", "chartqapro"), False, False),
    Row("a trailing full stop", graded("2011.", "2011", "chartqapro:Y"), False, True),
    Row("an answer without quotes is one", graded("[Asia, Peru]", "['Asia', 'Peru']", "chartqapro"), True, False),
    Row("a gold without quotes", graded("['Asia', 'Peru']", "[Asia, Peru]", "chartqapro"), True, True),
    Row("words of a gold without quotes join", public_score("['New York', 'Rome']", "[New York, Rome]"), 1.0, 0.9375),
    Row("two blanks", public_score("two  words", "two words"), 0.9, 1.0),
    # ChartBench's published script
    Row("its own rule", rules_of("chartbench", conversation=[{"query": "?", "label": "7"}]), {"relaxed"},
        {"chartbench:value"}),
    Row("no percent is divided", graded("12%", "12", "chartbench"), None, True),
    Row("yes anywhere", graded("I would say yes here.", "Yes", "chartbench"), None, True),
    Row("no is what is not yes", graded("The assertion is wrong.", "No", "chartbench"), None, True),
    Row("5 % of the answer", graded("100", "95", "chartbench"), None, True),
    Row("and not of the gold", graded("95", "100", "chartbench"), None, False),
    # results of other tools
    Row("evalplus 0.2.0", evalplus(("success", "success"), ("success", "failed"), old=True), 0.0, 0.5),
    Row("evalplus 0.3.1", evalplus(("pass", "pass"), ("pass", "timeout")), 0.5, 0.5),
    Row("an unknown status", evalplus(("pass", "passed")), 0.0, "refused"),
    Row("some extra tests not run", evalplus(("pass", "pass"), ("pass", None)), 1.0, "refused"),
    Row("base tests alone", evalplus(("pass", None), ("fail", None)), 0.5, 0.5),
    # marked by
    Row("custom data", rules_of("custom", question="?", answer="5"), {"relaxed"}, {"strict"}),
    Row("custom data with a rule", rules_of("custom", question="?", answer="5", rule="relaxed"), {"relaxed"},
        {"relaxed"}),
    Row("told beside the score", marked_by, None, "strict"),
    # tables and types
    Row("nan in a true table", lambda folder: rms_f1(table("5", ""), table("5", "nan")), 2 / 3, 1.0),
    Row("nan in both tables", lambda folder: rms_f1(table("5", "NaN"), table("5", "nan")), 1.0, 1.0),
    Row("common bar", lambda folder: same_type("bar chart", "common bar"), False, True),
    Row("common line", lambda folder: same_type("common bar", "common line"), False, False),
    Row("not a bar", lambda folder: same_type("not a bar", "bar"), False, False),
    # intervals without width: 1 - 0.05^(1/20) = 0.139
    Row("none of 20 solved", interval(*[0] * 20), [0.0, 0.0], [0.0, 0.139]),
    Row("all of 20 solved", interval(*[2] * 20), [1.0, 1.0], [0.861, 1.0]),
    Row("all of 20 half solved", interval(*[1] * 20), [0.5, 0.5], [0.43, 0.57]),
    Row("one problem", interval(0), [0.0, 0.0], [0.0, 0.95]),
    Row("no difference", compared, [0.0, 0.0], [-0.139, 0.139]),
    Row("in the CSV of the picture", drawn_numbers, ["0.0", "0.0"], ["0.0", "0.139108"]),
    # a terminal that closes, that is not UTF-8, or is not there
    Row("SIGHUP", disposition, "ends at once", "handled as SIGTERM"),
    Row("ASCII output", ended(SCORE, "r.json", PYTHONIOENCODING="ascii"), (2, True), (0, True)),
    Row("a reader that has gone", ended(f"set -o pipefail; {SCORE} | true", "r.json", PYTHONUNBUFFERED="1"), (2, False),
        (0, True)),
    Row("stdout closed", ended("python main.py --config no >&- 2>&-"), (120, False), (2, False)),
    # YAML 1.1
    Row("leading zeros", of_recipe("seed: 0123"), 83, 123),
    Row("an eight after a leading zero", of_recipe("seed: 089"), ": seed must be a whole number, got '089'", 89),
    Row("underscores", of_recipe("seed: 1_000"), 1000, 1000),
    Row("hexadecimal", of_recipe("seed: 0x1F"), 31, f", line 2: seed {NUMBERS}, got '0x1F'"),
    Row("minutes", of_recipe("seed: 1:30"), 90, f", line 2: seed {NUMBERS}, got '1:30'"),
    Row("a rate", of_recipe("learning_rate: 1e-5"), 1e-5, 1e-5),
    Row("a folder of digits", of_recipe("dataset_path: 007"), "7", "007"),
    Row("a version", of_recipe("vlm_name: 1.10"), "1.1", "1.10"),
    Row("a date", of_recipe("dataset_path: 2026-01-02T10:00:00"), "2026-01-02 10:00:00", "2026-01-02T10:00:00"),
    Row("off as a name", of_recipe("dataset_path: off"), ": dataset_path must be text, got False", "off"),
    Row("off as a switch", of_recipe("no_lora: off"), False, False),
    Row("a switch that is none", of_recipe("no_lora: 2"), ": no_lora must be true or false, got 2",
        ", line 2: no_lora must be true or false, got '2'"),
    # the checkout's own outputs
    Row("where tests run", lambda folder: Path.cwd() == ROOT or any(Path.cwd().iterdir()), True, False),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_what_was_reported_comes_out_right(row, tmp_path):
    found = row.find(tmp_path)
    assert found == (pytest.approx(row.right) if isinstance(row.right, float) else row.right)


def test_no_width_of_zero_is_explained_beside_the_table(tmp_path, capsys):
    scored(tmp_path, problems([0] * 20))
    printed = capsys.readouterr().out
    assert "  Pass@1: 0.00%   [0.0, 13.9]" in printed
    assert "@1, @2: all 20 charts or texts agree: exact bounds, one-sided at 0 and 100 %" in printed
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metadata"]["intervals"]["exact_at"] == [1, 2]


LACKED = chr(0x10FF0D)  # for private use: in no font


def test_characters_that_no_font_has_are_told_in_one_line_and_no_warning(tmp_path, capfd, recwarn):
    scored(tmp_path, problems([0, 1, 2]))
    capfd.readouterr()
    picture = ["--results", str(tmp_path / "results.json"), "--labels", f"NSR {LACKED}"]
    assert plotting.main([*picture, "--output", str(tmp_path / "p.png")]) == 0
    assert capfd.readouterr().err == (
        f"note: no font here has {LACKED}, drawn as boxes: install one, or name the curves by --labels\n"
    )
    assert plotting.main([*picture, "--output", str(tmp_path / "p.svg")]) == 0
    assert not capfd.readouterr().err and not recwarn.list


def font_with(character: str, path: Path) -> Path:
    """A font of one square character."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (600, 700), (600, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (700, 0), "square": (700, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "One Square", "styleName": "Regular", "psName": "OneSquare"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_characters_that_another_font_has_are_drawn_with_it(tmp_path, capfd, recwarn, monkeypatch):
    from matplotlib.font_manager import fontManager

    scored(tmp_path, problems([0, 1, 2]))
    capfd.readouterr()
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    fontManager.addfont(font_with(LACKED, tmp_path / "square.ttf"))
    for name in ("p.svg", "p.pdf", "p.png"):
        flags = ["--labels", f"NSR {LACKED}", "--output", str(tmp_path / name)]
        assert plotting.main(["--results", str(tmp_path / "results.json"), *flags]) == 0
    assert "One Square" in (tmp_path / "p.svg").read_text() and b"OneSquare" in (tmp_path / "p.pdf").read_bytes()
    assert not capfd.readouterr().err and not recwarn.list


@pytest.mark.slow
def test_a_run_on_a_terminal_that_knows_ascii_alone_or_nothing_trains_samples_and_scores(tmp_path):
    train = "--mode w-reinforce --lambda-psr 0.1 --subset-size 4 --batch-size 4 --max-completion-length 8 --seed 7"
    train += " --held-out 0"
    run = "grpo-start-ckpts/tiny-prm-large-train-v2-w-reinforce-7"
    sample = f"--checkpoint-path {run} --dataset-name synthetic --subset-size 2 --num-samples 2 --max-new-tokens 8"
    for folder, end in (("ascii", ""), ("closed", " >&- 2>&-"), ("gone", " 2>&1 | true")):
        place = tmp_path / folder
        place.mkdir()
        ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
        start = f"set -o pipefail; python main.py {train} --report-to none{end}"
        assert ended(start, f"{run}/adapter_model.safetensors", **ascii_only)(place) == (0, True), folder
        start = f"set -o pipefail; python generate_samples.py {sample} --output-path samples.json{end}"
        assert ended(start, "samples.json", **ascii_only)(place) == (0, True), folder
