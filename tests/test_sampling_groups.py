"""Problems that are sampled together: the samples that each gets alone, groups and shards."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import charts.loading
from sampling import engine, job
from sampling.engine import decode
from sampling.job import in_groups
from sampling.journal import part_path
from tests.test_generate_samples import SAMPLES, run


def run_grouped(output, *flags) -> int:
    """Nine problems in groups of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_LEAST_GROUPS", 4)
        return run(output, "--subset-size", 9, "--max-new-tokens", 40, *flags)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("grouped") / "s.jsonl"
    assert run_grouped(output) == 0
    return output


def test_groups_fill_the_batch_and_depend_on_problems_and_samples_alone():
    def sizes(problems: int, samples: int) -> list[int]:
        groups = in_groups(range(problems), samples)
        assert [question for group in groups for question in group] == list(range(problems))
        return [len(group) for group in groups]

    assert sizes(400, 256) == sizes(400, 300) == [1] * 400
    assert sizes(402, 64) == [4] * 100 + [2]
    assert sizes(1100, 1) == [32] * 34 + [12]  # no more prompts than 32
    assert sizes(100, 1) == [3] * 33 + [1] and sizes(5, 6) == [1] * 5  # at least 32 groups


def test_problems_sampled_together_get_the_samples_that_each_gets_alone(grouped, tmp_path):
    output = tmp_path / "alone.jsonl"
    assert run_grouped(output, "--chunk", SAMPLES) == 0
    together, alone = ([json.loads(line) for line in path.read_text().splitlines()[1:]] for path in (grouped, output))
    assert len({text for problem in together for text in problem["samples"]}) > 2 * 9
    for one, other in zip(together, alone, strict=True):
        assert one.pop("logprob") == pytest.approx(other.pop("logprob"), abs=2e-4)
        assert one == other


def test_half_a_group_is_sampled_as_a_whole_and_what_was_missing_is_added(grouped, tmp_path, capsys, monkeypatch):
    output, lines = tmp_path / "s.jsonl", grouped.read_bytes().splitlines(keepends=True)
    part_path(output, (1, 1)).write_bytes(b"".join(lines[: 1 + 3]))  # a group and half of the next
    part_path(output, (2, 2)).write_bytes(lines[0] + lines[1 + 7])
    capsys.readouterr()
    batches = []

    def counted(model, requests, **options):
        batches.append([len(request.samples) for request in requests])
        return decode(model, requests, **options)

    monkeypatch.setattr(engine, "decode", counted)
    assert run_grouped(output) == 0
    assert batches == [[SAMPLES] * 2] * 3 + [[SAMPLES]]  # all but the first group, as wholes
    assert "5 of 9 problems to sample" in capsys.readouterr().out
    assert output.read_bytes() == grouped.read_bytes()


def test_shards_take_whole_groups(grouped, tmp_path, capsys):
    output = tmp_path / "s.jsonl"
    for index in (1, 3, 2):
        assert run_grouped(output, "--shard", f"{index}/3", *(["--chunk", "100"] if index == 3 else [])) == 0
        assert index > 1 or "4 of 4 problems to sample" in capsys.readouterr().out  # the first and the fourth group
    assert output.read_bytes() == grouped.read_bytes()


def test_a_shard_without_a_problem_says_so(tmp_path, capsys):
    assert run(tmp_path / "s.jsonl", "--shard", "6/6") == 0
    assert "Shard 6/6 has nothing to do" in capsys.readouterr().out


def test_generate_takes_one_problem_after_another(tmp_path, monkeypatch):
    drawn, sampler = [], job.Sampler.__call__
    monkeypatch.setattr(
        job.Sampler, "__call__", lambda self, *asked: drawn.append(len(asked[0])) or sampler(self, *asked)
    )
    shorter = ("--num-samples", 2, "--max-new-tokens", 4, "--backend", "generate")
    assert run_grouped(tmp_path / "s.jsonl", *shorter) == 0
    assert drawn == [1] * 9


def test_a_signal_finishes_the_group(grouped, tmp_path, monkeypatch):
    output, sampled = tmp_path / "s.jsonl", job._group

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return sampled(*args)

    monkeypatch.setattr(job, "_group", interrupted)
    assert run_grouped(output) == 143
    assert part_path(output, (1, 1)).read_bytes().splitlines() == grouped.read_bytes().splitlines()[:3]


def test_unreadable_images_in_a_group_leave_its_other_problem_alone(grouped, tmp_path, monkeypatch):
    load = charts.loading.load_questions

    def with_a_bad_image(*args, **kwargs):
        def broken():
            raise ValueError("not an image that can be opened")

        data = load(*args, **kwargs)
        bad = [replace(question, open_image=broken) for question in data.questions[:3]]  # a group and half of the next
        return replace(data, questions=bad + data.questions[3:])

    monkeypatch.setattr(charts.loading, "load_questions", with_a_bad_image)
    output = tmp_path / "s.jsonl"
    assert run_grouped(output) == 0
    *bad, fourth, _ = [
        json.loads(line) for line in output.read_bytes().splitlines()[1:6]
    ]  # all of a group, half of one
    assert all("error" in problem and "samples" not in problem for problem in bad)
    expected = grouped.read_bytes().splitlines()
    assert fourth["samples"] == json.loads(expected[4])["samples"]
    assert output.read_bytes().splitlines()[5:] == expected[5:]
