"""What every program shares: whole files and folders, signals, one-line errors."""

import errno
import importlib
import os
import signal
from argparse import Namespace
from pathlib import Path

import pytest
from PIL import Image

from checkpoints import merge
from common import files, signals
from common.commands import Parser, check_least, exit_code, name_some, say_error
from common.files import replace_folder, whole_file, whole_folder, write_whole
from common.signals import Stopped, StopSignals
from common.terminal import first_line
from sampling.problems import save_image


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "results.json"
    write_whole(path, "old \ud83d")
    with pytest.raises(OSError, match="No space"), whole_file(path) as partial:
        partial.write_text("ha")
        assert path.read_text() == "old \\ud83d"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"] and path.read_text() == "old \\ud83d"


def test_two_writers_of_one_file_do_not_write_into_each_other(tmp_path):
    path = tmp_path / "chart.png"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_chart_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    flush = files.flush
    monkeypatch.setattr(files, "flush", lambda path: (flush(path), flushed.append((path.suffix, path.stat().st_size))))
    name = save_image(Image.new("RGB", (9, 9)), "chart", tmp_path)
    assert flushed[0] == (".partial", (tmp_path / name).stat().st_size)


def test_a_chart_that_cannot_be_saved_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="cannot write mode"):
        save_image(Image.new("RGBa", (9, 9)), "chart", tmp_path)
    assert list((tmp_path / "sample_images").iterdir()) == []


def test_a_folder_replaces_another_whole(tmp_path):
    old, new = tmp_path / "model", tmp_path / ".model.partial"
    for folder, word in ((old, "old"), (new, "new")):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "weights").write_text(word)
    (tmp_path / ".model.replaced").mkdir()  # of a crash between the two renames
    replace_folder(new, old)
    assert (old / "inner" / "weights").read_text() == "new" and list(tmp_path.iterdir()) == [old]


@pytest.mark.usefixtures("without_nohup")
def test_a_launcher_that_passes_a_signal_on_does_not_stop_sampling_at_once(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    finished = False
    with pytest.raises(Stopped) as stopped, StopSignals() as stop, stop.finishing():
        os.kill(os.getpid(), signal.SIGINT)  # of the terminal
        os.kill(os.getpid(), signal.SIGINT)  # of the launcher
        finished = True
    assert finished and stopped.value.exit_code == 130


@pytest.mark.usefixtures("without_nohup")
@pytest.mark.parametrize("launched", [False, True])
def test_a_second_signal_stops_sampling_at_once(launched, monkeypatch):
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setattr(signals, "SAME_SIGNAL_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped, StopSignals() as stop, stop.finishing():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")
    assert stopped.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("--k 0\x1b[2J\nforged"), "error: --k 0\\x1b[2J\\nforged\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "s.json"),
            "error: s.json: No such file or direct",
        ),
        (OSError("the hub does not answer"), "error: the hub does not answer\n"),
    ],
)
def test_an_error_is_one_line_and_code_2_and_only_the_first_process_says_it(error, line, monkeypatch, capsys):
    def refuses():
        raise error

    assert exit_code(refuses) == 2
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1
    monkeypatch.setenv("RANK", "1")
    assert exit_code(refuses) == 2 and capsys.readouterr().err == ""
    say_error(error, every_process=True)
    assert capsys.readouterr().err == said


def test_a_bad_flag_is_an_error_of_the_caller_and_does_not_end_the_process(capsys):
    parser = Parser(prog="x")
    parser.add_argument("--number", type=int)
    with pytest.raises(ValueError, match=r"invalid int value: 'a' \(see --help\)"):
        parser.parse_args(["--number", "a"])
    with pytest.raises(ValueError, match="--num"):  # no abbreviations
        parser.parse_args(["--num", "1"])
    assert merge.main(["--no-such-flag"]) == 2 and capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "said"), [("one\ntwo", "one"), ("\n  one\ntwo", "one"), ("", "RuntimeError"), (" \n", "RuntimeError")]
)
def test_the_first_line_of_an_error_says_something(text, said):
    assert first_line(RuntimeError(text)) == said


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "model"
    (tmp_path / ".model.partial").mkdir()  # of a crash
    with whole_folder(place) as partial:
        partial.mkdir()
        (partial / "weights").write_text("old")
    with pytest.raises(OSError, match="No space"), whole_folder(place) as partial:
        partial.mkdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (place / "weights").read_text() == "old" and list(tmp_path.iterdir()) == [place]


def test_the_names_of_a_message_are_counted_where_they_are_many():
    assert name_some(["a", "b"]) == "a, b" and name_some(["a", "b", "c", "d"], 2) == "a, b and 2 more"


ROOT = Path(__file__).parent.parent
PROGRAMS = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("*/*.py")])
    if path.parent.name not in ("tests", "examples")
    and "\ndef parse_args(" in path.read_text(encoding="utf-8")
    and path.name != "arguments.py"  # the flags of main.py, which is there itself
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_flag_that_a_program_does_not_know_is_one_line_and_code_2(name, capsys):
    assert len(PROGRAMS) > 15 and "ArgumentParser(" not in Path(ROOT, *name.split(".")).with_suffix(".py").read_text()
    program = importlib.import_module(name)
    assert program.main(["--no-such-flag"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1


def test_an_option_below_its_least_is_named_and_one_that_is_not_given_is_none():
    args = Namespace(batch_size=0, seed=None)
    with pytest.raises(ValueError, match=r"^--batch-size must be at least 1, not 0$"):
        check_least(args, seed=0, batch_size=1)
    assert check_least(args, batch_size=0) is args
