"""generate_samples.py as a user runs it, on the embedded model: files, resuming, shards, signals, refusals."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

import charts.loading
import generate_samples
from sampling import job
from sampling.journal import part_path

PROBLEMS, SAMPLES = 5, 6
BASE = ["--checkpoint-path", "tiny", "--dataset-name", "synthetic", "--subset-size", str(PROBLEMS),
        "--num-samples", str(SAMPLES), "--max-new-tokens", "24"]  # fmt: skip


def run(output, *flags) -> int:
    return generate_samples.main([*BASE, "--output-path", str(output), *map(str, flags)])


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """An uninterrupted run's .jsonl: its bytes are also those of a complete journal."""
    output = tmp_path_factory.mktemp("reference") / "s.jsonl"
    assert run(output) == 0
    return output


def refused(capsys, output, *flags, base=BASE) -> str:
    capsys.readouterr()
    assert generate_samples.main([*base, "--output-path", str(output), *map(str, flags)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_the_samples_file_holds_every_documented_field(reference, tmp_path, capsys):
    output = tmp_path / "samples.json"
    assert run(output) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"Samples saved to: {output}")
    problems = json.loads(output.read_text())
    settings = json.loads((tmp_path / "samples.settings.json").read_text())
    assert len(problems) == PROBLEMS
    for problem in problems:
        for name in ("samples", "extracted", "correct", "correct_strict", "reason", "well_formed", "tokens",
                     "truncated", "logprob"):  # fmt: skip
            assert len(problem[name]) == SAMPLES, name
        assert problem["num_correct"] == sum(problem["correct"]) and problem["num_total"] == SAMPLES
        assert problem["run"] == settings["run"]
        assert not any(problem["question"] in text for text in problem["samples"])
        assert (tmp_path / problem["image"]).read_bytes()[:4] == b"\x89PNG"
        assert all(count <= 24 for count in problem["tokens"]) and all(value <= 0 for value in problem["logprob"])
    assert settings["method"] == "base"
    assert settings["sampling"] == {"num_samples": SAMPLES, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
                                    "max_new_tokens": 24, "seed": 2025, "backend": "engine"}  # fmt: skip
    lines = reference.read_text().splitlines()
    assert json.loads(lines[0])["settings"]["run"] == settings["run"]
    assert [json.loads(line) for line in lines[1:]] == problems
    assert output.read_text().splitlines()[1:-1] == [f"{line}," for line in lines[1:-1]] + lines[-1:]


def test_a_run_cut_anywhere_ends_in_the_same_file(reference, tmp_path):
    whole, rng = reference.read_bytes(), random.Random(0)
    for cut in (0, 10, *rng.sample(range(len(whole)), 4), len(whole)):
        output = tmp_path / f"cut_{cut}.jsonl"
        part_path(output, (1, 1)).write_bytes(whole[:cut])
        assert run(output) == 0
        assert output.read_bytes() == whole
        assert not part_path(output, (1, 1)).exists()


def test_only_unfinished_problems_are_sampled_again(reference, tmp_path, capsys):
    output, lines = tmp_path / "s.jsonl", reference.read_bytes().splitlines(keepends=True)
    part_path(output, (1, 1)).write_bytes(b"".join(lines[:4]) + lines[4][:50])
    capsys.readouterr()
    assert run(output) == 0
    assert f"{PROBLEMS - 3} of {PROBLEMS} problems to sample" in capsys.readouterr().out


@pytest.mark.parametrize("count", [2, 3])
def test_shards_in_any_order_give_the_same_file(reference, tmp_path, capsys, count):
    output = tmp_path / "s.jsonl"
    for index in range(count, 0, -1):
        assert not output.exists()
        assert run(output, "--shard", f"{index}/{count}") == 0
    assert output.read_bytes() == reference.read_bytes()


def test_processes_under_a_launcher_are_the_shards(reference, tmp_path, monkeypatch):
    output = tmp_path / "s.jsonl"
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert run(output) == 0
    assert output.read_bytes() == reference.read_bytes()


def test_merge_alone_samples_nothing(reference, tmp_path, capsys):
    output, whole = tmp_path / "s.jsonl", reference.read_bytes()
    path = part_path(output, (1, 1))
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert f"{PROBLEMS - 2} of {PROBLEMS} problems are not sampled yet" in refused(capsys, output, "--merge")
    path.write_bytes(whole)
    assert run(output, "--merge") == 0
    assert output.read_bytes() == whole


@pytest.mark.usefixtures("without_nohup")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_finishes_the_line_and_says_how_to_go_on(reference, tmp_path, capsys, monkeypatch, name):
    output, number, sampled = tmp_path / "s.jsonl", getattr(signal, name), job._group

    def interrupted(sampler, group, *rest):
        for _ in range(0 if started else 2 if name == "SIGHUP" else 1):  # a terminal that closes sends several
            os.kill(os.getpid(), number)
        started.append(group)
        return sampled(sampler, group, *rest)

    started = []
    monkeypatch.setattr(job, "_group", interrupted)
    assert run(output) == 128 + number
    assert "The same command goes on from here" in capsys.readouterr().err
    assert len(started) == 1 and not output.exists()
    assert len(part_path(output, (1, 1)).read_bytes().splitlines()) == 2  # the header and the problem in work
    assert run(output) == 0
    assert output.read_bytes() == reference.read_bytes()


def test_an_unreadable_image_is_recorded_and_the_rest_goes_on(reference, tmp_path, monkeypatch):
    load = charts.loading.load_questions

    def with_a_bad_image(*args, **kwargs):
        def broken():
            raise ValueError("not an image that can be opened")

        data = load(*args, **kwargs)
        return replace(data, questions=[replace(data.questions[0], open_image=broken), *data.questions[1:]])

    monkeypatch.setattr(charts.loading, "load_questions", with_a_bad_image)
    output = tmp_path / "s.jsonl"
    assert run(output) == 0
    first, *rest = output.read_bytes().splitlines()[1:]
    assert json.loads(first)["error"] == "not an image that can be opened" and "samples" not in json.loads(first)
    assert rest == reference.read_bytes().splitlines()[2:]


def test_other_settings_are_refused_with_the_difference_until_overwrite(reference, tmp_path, capsys):
    output = tmp_path / "s.jsonl"
    part_path(output, (1, 1)).write_bytes(b"".join(reference.read_bytes().splitlines(keepends=True)[:3]))
    assert "sampling.temperature: 1.0 -> 0.7" in refused(capsys, output, "--temperature", "0.7")
    assert "prompt.name: structured -> short" in refused(capsys, output, "--prompt", "short")
    assert run(output, "--overwrite", "--subset-size", "2") == 0
    assert len(output.read_bytes().splitlines()) == 3


def test_a_finished_file_is_not_replaced_without_overwrite(reference, tmp_path, capsys):
    output = tmp_path / "s.jsonl"
    output.write_text("kept")
    assert "finished already" in refused(capsys, output)
    assert output.read_text() == "kept"
    assert run(output, "--overwrite") == 0
    assert output.read_bytes() == reference.read_bytes()


def test_the_stock_backend_writes_the_same_kind_of_file(tmp_path):
    output = tmp_path / "s.json"
    assert run(output, "--backend", "generate", "--subset-size", "2") == 0
    problems = json.loads(output.read_text())
    assert len(problems) == 2 and all(len(p["samples"]) == len(p["logprob"]) == SAMPLES for p in problems)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--num-samples", "0"], "--num-samples must be at least 1"),
        (["--num-samples", "-3"], "--num-samples must be at least 1"),
        (["--num-samples", "many"], "--num-samples"),
        (["--top-p", "0"], r"top-p must lie in (0, 1]"),
        (["--top-p", "1.5"], r"top-p must lie in (0, 1]"),
        (["--temperature", "0"], "temperature must be at least 1e-06"),
        (["--temperature", "1e-39"], "temperature must be at least 1e-06"),
        (["--top-k", "-1"], "top-k"),
        (["--max-new-tokens", "0"], "max-new-tokens"),
        (["--subset-size", "0"], "--subset-size"),
        (["--shard", "4/3"], "--shard 4/3"),
        (["--shard", "one"], "--shard one"),
        (["--checkpoint-path", "grpo-start-ckpts/tiny-prm-large-train-v2-nsr-2025"], "no such folder"),
        (["--checkpoint-path", "./missing"], "no such folder"),
        (["--checkpoint-path", "nobody/no-such-model"], "nobody/no-such-model"),
        (["--checkpoint-path", "tinny"], "tiny"),
        (["--dataset-name", "evohart"], "evochart"),
        (["--prompt", "fancy"], "--prompt fancy"),
        (["--output-path", "nowhere/s.json"], "nowhere does not exist"),
        (["--output-path", "s.csv"], ".json"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_code_2(tmp_path, capsys, flags, told):
    assert told in refused(capsys, tmp_path / "s.json", *flags)
    assert list(tmp_path.iterdir()) == []


def whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_killed_at_ten_random_moments_the_final_file_is_the_same(tmp_path, monkeypatch, shards):
    bigger = ["--subset-size", "48", "--num-samples", "10"]  # in groups of three
    expected, output, started = tmp_path / "expected.jsonl", tmp_path / "s.jsonl", tmp_path / "started"
    assert run(expected, *bigger) == 0  # also imports everything, so that forked processes start at once
    group, rng, kills = job._group, random.Random(shards), 0

    def noted(sampler, questions, *rest):
        with started.open("a") as stream:
            stream.writelines(f"{question.id}\n" for question in questions)
        return group(sampler, questions, *rest)

    monkeypatch.setattr(job, "_group", noted)
    fork = multiprocessing.get_context("fork")
    for attempt in range(10):
        index = attempt % shards + 1
        path = part_path(output, (index, shards))
        before, begun = whole_lines(path), started.stat().st_size if started.exists() else 0
        process = fork.Process(target=run, args=(output, *bigger, "--shard", f"{index}/{shards}"))
        process.start()
        while process.is_alive() and (started.stat().st_size if started.exists() else 0) == begun:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.3)  # about as long as a group takes
        kills += process.is_alive()
        process.kill()
        process.join()
        assert whole_lines(path).startswith(before) or output.exists()
    assert kills >= 5
    for index in range(1, shards + 1):
        if not output.exists():
            assert run(output, *bigger, "--shard", f"{index}/{shards}") == 0
    assert output.read_bytes() == expected.read_bytes()
    assert len(started.read_text().split()) <= 48 + 3 * kills  # at most one group redone each time
    assert not [path for path in tmp_path.iterdir() if "journal" in path.name or "partial" in path.name]
