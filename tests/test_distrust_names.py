"""Names, answers and messages from elsewhere are harmless in terminals, logs, JSON, CSV, HTML and pictures."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import generate_samples
import main
from common.terminal import printable
from evaluation import pass_at_k, plotting, report
from models.registry import TINY_FOLDER
from tests.test_distrust_code import samples

NASTY = "\x1b[2J\x1b]0;owned\x07\r\nerror: forged </script><b onload=x>'\"`$(id);\u202e\u2028\ud83d"


def test_text_for_a_terminal_is_one_line_without_controls_or_passwords():
    shown = printable(NASTY)
    assert shown.isprintable() and "\\x1b[2J" in shown and "\\r\\nerror: forged" in shown and "\\u202e" in shown
    assert printable("λ ✓ é 図 a/b") == "λ ✓ é 図 a/b"
    assert printable("get https://user:token@host/x and hf://t0k3n@y") == "get https://***@host/x and hf://***@y"


def sampled(folder: Path, method: str, name: str) -> Path:
    """A samples file in which everything that can be text is `name`."""
    problem = dict.fromkeys(["problem_id", "question", "answer", "kind", "image", "image_id"], name)
    problem |= {"answers": [name], "samples": [name] * 2, "extracted": [name] * 2, "correct": [True, False]}
    error = {"problem_id": name + "2", "error": name}
    path = folder / f"{method.strip('=')}.json"
    path.write_text(json.dumps([problem, error]))
    path.with_name(f"{path.stem}.settings.json").write_text(json.dumps({"method": name}))
    return path


def one_line_each(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n")), repr(text)
    assert not any(line.startswith("error: forged") for line in text.split("\n"))


def test_names_in_samples_files_are_harmless_wherever_they_go(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, results = sampled(tmp_path, "x", NASTY), tmp_path / "results.json"
    flags = ["--missing", "skip", "--metrics", "all"]
    assert pass_at_k.main(["--samples-path", str(path), "--output-path", str(results), *flags]) == 0
    told = capsys.readouterr()
    one_line_each(told.out + told.err)
    assert pass_at_k.main(["--samples-path", str(path)]) == 2, "the error quotes the problem"
    assert pass_at_k.main(["--compare", str(results), str(results)]) == 0
    assert plotting.main(["--results", str(results), "--output", "p.svg"]) == 0
    assert report.main([str(path), "--output-path", "page.html", "--title", NASTY]) == 0
    told = capsys.readouterr()
    one_line_each(told.out + told.err)
    page = (tmp_path / "page.html").read_text()
    assert page.count("</script>") == 2 and "<b onload" not in page and "\\u003c/script>" in page
    assert "<b onload" not in (tmp_path / "p.svg").read_text()
    json.loads(results.read_text())
    table = list(csv.reader((tmp_path / "p.csv").open(newline="")))
    assert len({len(row) for row in table}) == 1


def test_a_spreadsheet_computes_nothing_from_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = sampled(tmp_path, "=x", "=HYPERLINK(1)")
    assert pass_at_k.main(["--samples-path", str(path), "--output-path", "r.json", "--missing", "skip"]) == 0
    assert plotting.main(["--results", "r.json", "--output", "p.svg"]) == 0
    assert [row[0] for row in csv.reader((tmp_path / "p.csv").open(newline=""))][1:] == ["'=HYPERLINK(1)"] * 2


@pytest.mark.parametrize("program", ["main", "generate", "score", "plot", "sweep"])
def test_an_error_that_quotes_a_flag_is_one_harmless_line(program, capsys):
    from study import sweep

    run = {
        "main": lambda: main.main(["--mode", "nsr", "--vlm-name", NASTY, "--report-to", "none"]),
        "generate": lambda: generate_samples.main(samples(Path(NASTY))),
        "score": lambda: pass_at_k.main(["--samples-path", NASTY]),
        "plot": lambda: plotting.main(["--output", "x.png", NASTY]),
        "sweep": lambda: sweep.main(["--lambdas", NASTY]),
    }[program]
    try:
        code = run()
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.endswith("\n") and error[:-1].isprintable(), error


def test_a_model_folder_with_a_nasty_name_trains_and_says_so_harmlessly(tmp_path, capsys):
    name = NASTY[:-1].replace("/", "|")  # a path holds no half of a character
    model = Path(shutil.copytree(TINY_FOLDER, tmp_path / name))
    line = "--mode nsr --dataset-name synthetic --subset-size 8 --report-to none --max-steps 1 --held-out 0"
    short = "--max-completion-length 4 --num-generations 2 --disable-gradient-checkpointing"
    argv = [*line.split(), *short.split(), "--vlm-name", str(model), "--output-root", str(tmp_path / "runs")]
    assert main.main(argv) == 0
    told = capsys.readouterr()
    one_line_each(told.out)
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "training_settings.json").read_text())["model"]["name"] == str(model)


def test_completions_that_are_shown_can_neither_move_the_cursor_nor_forge_a_line(capsys):
    from training.escape_completions import escape_shown_completions

    escape_shown_completions()
    from trl.trainer import grpo_trainer

    turn = [{"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": NASTY}]}]
    rewards = {"accuracy": [0.0]}
    grpo_trainer.print_prompt_completions_sample([turn], [[{"role": "assistant", "content": NASTY}]], rewards, [0.0], 1)
    shown = capsys.readouterr().out
    assert "owned" in shown and "\x1b]0" not in shown and "\x07" not in shown and "\u202e" not in shown
