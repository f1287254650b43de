"""generate_samples.py --backend server, against a server that answers with this project's engine (tests/server.py)."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

import generate_samples
from sampling import job, server
from sampling.journal import part_path
from sampling.server import check_url
from tests.server import serving
from tests.test_finding import folder, made  # noqa: F401 (fixtures: a run folder with an adapter)

PROBLEMS, SAMPLES = 4, 3
BASE = ["--dataset-name", "synthetic", "--subset-size", str(PROBLEMS), "--num-samples", str(SAMPLES),
        "--max-new-tokens", "20"]  # fmt: skip
KEY = "sk-never-to-be-seen"


@pytest.fixture(scope="module")
def started():
    with serving() as served:
        yield served


@pytest.fixture
def served(started, monkeypatch):
    """The server without faults; retries do not wait."""
    monkeypatch.setattr(server, "FIRST_WAIT", 0.01)
    monkeypatch.delenv(server.KEY, raising=False)
    started.faults.clear()
    started.asked.clear()
    started.log.clear()
    started.most_in_flight = 0
    return started


def run(output, served, *flags, checkpoint="tiny") -> int:
    to = ["--backend", "server", "--server-url", served.url] if served else []
    known = ["--checkpoint-path", str(checkpoint)] if checkpoint else []
    return generate_samples.main([*known, *BASE, *to, "--output-path", str(output), *map(str, flags)])


def by_ids(output, served, *flags, **options) -> int:
    """Without loading the model here."""
    return run(output, served, "--server-check", "ids", *flags, **options)


def refusal(capsys) -> str:
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    return told


def problems(output) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()[1:]]


# -- the same completions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True], ids=["base", "adapter"])
def test_greedy_completions_are_those_of_the_engine(served, folder, tmp_path, capsys, trained):  # noqa: F811
    checkpoint = folder if trained else "tiny"
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    assert run(here, None, "--top-k", 1, "--num-samples", 1, checkpoint=checkpoint) == 0
    assert run(there, served, "--top-k", 1, "--num-samples", 1, checkpoint=checkpoint) == 0
    assert "a token from those of the weights here" in capsys.readouterr().out
    for one, other in zip(problems(here), problems(there), strict=True):
        for line in (one, other):
            line.pop("run")
            line.pop("logprob")
        assert one == other
    settings = json.loads(there.read_text().splitlines()[0])["settings"]
    assert settings["server"]["model"] == (settings["model"]["adapter"] if trained else "base")
    if trained and served.log:  # a real one, of tests/with_vllm.sh, keeps none
        assert served.log.count(f"load {settings['model']['adapter']}") == 1
        assert settings["method"] == "nsr" and settings["prompt"]["name"] == "short"


def test_at_temperature_1_the_samples_are_of_one_distribution(served, tmp_path):
    """Log-probabilities of whole completions have one mean, and are those that the engine gives them."""
    sums = []
    for name, to in (("here", None), ("there", served)):
        output = tmp_path / f"{name}.jsonl"
        ids = ["--server-check", "ids"] if to else []
        assert run(output, to, "--subset-size", 3, "--num-samples", 256, "--prompt", "short", *ids) == 0
        sums.append(np.array([line["logprob"] for line in problems(output)]))
    here, there = sums
    assert len({*there.ravel()}) > 10, "its draws differ"
    error = np.sqrt(((here.var(1) + there.var(1)) / here.shape[1]).sum()) / len(here)
    assert abs(here.mean() - there.mean()) < 4 * error
    cold = there * 0 + there.max(1, keepdims=True)
    assert abs(here.mean() - cold.mean()) > 4 * error, "a server that draws the likeliest alone is told apart"


@pytest.mark.slow
def test_at_temperature_1_pass_at_1_is_that_of_the_engine(served, tmp_path):
    shares = []
    for name, to in (("here", None), ("there", served)):
        output = tmp_path / f"{name}.jsonl"
        more = ("--subset-size", 24, "--num-samples", 32, "--max-new-tokens", 192)
        assert run(output, to, *more) == 0
        shares.append(np.array([np.mean(line["correct"]) for line in problems(output)]))
    here, there = shares
    error = np.sqrt((here * (1 - here) + there * (1 - there)).sum() / 32) / len(here)
    print(f"Pass@1 of the engine {here.mean():.3f}, of the server {there.mean():.3f}, standard error {error:.3f}")
    assert 0.2 < here.mean() < 0.8 and abs(here.mean() - there.mean()) < 4 * error


def test_the_request_says_all_that_the_distribution_depends_on(served, tmp_path):
    more = ("--temperature", 0.6, "--top-p", 0.95, "--top-k", 20, "--chunk", 2, "--subset-size", 1)
    assert by_ids(tmp_path / "s.jsonl", served, *more) == 0
    greedy, *asked = served.asked
    assert greedy["temperature"] == 0 and greedy["top_k"] == -1
    assert [body["n"] for body in asked] == [2, 1], "--chunk: completions of a request"
    for body in asked:
        told = {name: body[name] for name in ("temperature", "top_p", "top_k", "max_tokens", "repetition_penalty")}
        assert told == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 20, "repetition_penalty": 1.0}
        assert "seed" not in body and body["stop_token_ids"] == [2]
        ids = served.processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|vision_start|>"])
        assert {str(token) for token in ids} <= set(body["logit_bias"]) and {*body["logit_bias"].values()} == {-100}


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_samples_file_says_where_from_and_that_no_seed_repeats_it(served, tmp_path, monkeypatch, capsys):
    served.faults["key"] = KEY
    monkeypatch.setenv(server.KEY, KEY)
    assert by_ids(tmp_path / "s.json", served) == 0
    settings = json.loads((tmp_path / "s.settings.json").read_text())
    assert settings["server"] == {
        "url": f"{served.url}/v1", "model": "base", "version": "0.0.test", "dtype": "float32",
        "samples": "not reproducible from the seed: the server draws with random numbers of its own",
    }  # fmt: skip
    assert settings["sampling"]["seed"] is None and settings["sampling"]["backend"] == "server"
    assert settings["model"]["dtype"] == "float32" and settings["model"]["merged"] is False
    out = capsys.readouterr()
    assert "prompt ids of the server are compared" in out.out
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in out.out + out.err and KEY.encode() not in written


def test_a_refused_key_is_told_without_the_key(served, tmp_path, monkeypatch, capsys):
    served.faults["key"] = "another"
    monkeypatch.setenv(server.KEY, KEY)
    assert by_ids(tmp_path / "s.json", served, "--server-model", "base") == 2
    told = refusal(capsys)
    assert "401" in told and "***" in told and KEY not in told


def test_a_key_is_not_carried_elsewhere(served, tmp_path, monkeypatch, capsys):
    served.faults["statuses"] = [(307, {"Location": f"{served.url}/v1/elsewhere"})]
    monkeypatch.setenv(server.KEY, KEY)
    assert by_ids(tmp_path / "s.json", served) == 2
    assert "307" in refusal(capsys) and not [line for line in served.log if "elsewhere" in line]
    monkeypatch.setenv(server.KEY, "two\nlines")
    assert by_ids(tmp_path / "s.json", served) == 2
    assert refusal(capsys) == "error: the environment variable SERVER_API_KEY holds characters that no key has"


# -- going on ----------------------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_asked_for_and_shards_make_one_file(served, tmp_path, capsys):
    output = tmp_path / "s.jsonl"
    assert by_ids(output, served) == 0
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    output.unlink()
    part_path(output, (1, 1)).write_bytes(b"".join(lines[:3]) + lines[3][:40])
    served.asked.clear()
    assert by_ids(output, served, "--shard", "2/2") == 0 and not output.exists()
    assert by_ids(output, served, "--shard", "1/2") == 0
    assert output.read_bytes().splitlines()[:3] == whole.splitlines()[:3], "kept as they are"
    drawn = [body for body in served.asked if body["temperature"] == 1]
    assert len(drawn) == PROBLEMS - 2
    served.asked.clear()
    assert by_ids(output, served, "--num-samples", SAMPLES + 2) == 0
    assert [body["n"] for body in served.asked if body["temperature"] == 1] == [2] * PROBLEMS, "added to the file"
    assert all(len(line["samples"]) == SAMPLES + 2 for line in problems(output))


def test_a_busy_server_is_asked_again(served, tmp_path, capsys, monkeypatch):
    waits = []
    monkeypatch.setattr(server, "sleep", waits.append)
    served.faults["statuses"] = [(503, {}), (429, {"Retry-After": "7"}), (502, {})]
    assert by_ids(tmp_path / "s.jsonl", served, "--concurrency", 1) == 0
    assert len(waits) == 3 and waits[1] == 7, "as long as it asks for"
    assert "429 not now; trying again in 7 s" in capsys.readouterr().err
    assert len(problems(tmp_path / "s.jsonl")) == PROBLEMS


def test_a_server_that_stays_away_ends_the_job_in_one_line_and_the_command_goes_on(served, tmp_path, capsys):
    output = tmp_path / "s.jsonl"
    served.faults["dies_after"] = 2 + 2  # two of the check, two problems
    assert by_ids(output, served, "--concurrency", 1) == 2
    assert "400 EngineCore encountered an issue" in refusal(capsys)
    assert len(part_path(output, (1, 1)).read_bytes().splitlines()) == 1 + 2 and not output.exists()
    served.faults.clear()
    assert by_ids(output, served) == 0 and len(problems(output)) == PROBLEMS


def test_an_answer_of_another_form_is_one_line(served, tmp_path, capsys):
    served.faults["odd"] = True
    assert by_ids(tmp_path / "s.json", served) == 2
    assert "an answer in a form that is not known here: KeyError('logprob')" in refusal(capsys)


def test_no_server_is_one_line_at_once(tmp_path, capsys):
    to = ["--backend", "server", "--server-url", "http://127.0.0.1:9", "--output-path", str(tmp_path / "s.json")]
    assert generate_samples.main(["--checkpoint-path", "tiny", *BASE, *to]) == 2
    assert "http://127.0.0.1:9/v1/models: no answer" in refusal(capsys) and not list(tmp_path.iterdir())


def test_as_many_problems_are_asked_at_a_time_as_are_wanted(served, tmp_path):
    served.faults["delay"] = 0.3
    assert by_ids(tmp_path / "s.jsonl", served, "--concurrency", 2) == 0
    assert served.most_in_flight == 2


@pytest.mark.usefixtures("without_nohup")
def test_a_signal_finishes_the_problems_in_work(served, tmp_path, monkeypatch, capsys):
    output, sampled = tmp_path / "s.jsonl", job._group

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return sampled(*args)

    monkeypatch.setattr(job, "_group", interrupted)
    assert by_ids(output, served, "--concurrency", 1) == 143
    assert "The same command goes on from here" in capsys.readouterr().err
    assert len(part_path(output, (1, 1)).read_bytes().splitlines()) == 1 + 1


# -- the address and the adapter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://h:1", "http://h:1/v1"), ("http://h:1/", "http://h:1/v1"), ("https://h/v1/", "https://h/v1"),
        ("https://h/api/v2/openai", "https://h/api/v2/openai"),
    ],
)  # fmt: skip
def test_an_address_is_that_of_the_api(given, meant):
    assert check_url(given) == meant


def test_two_commands_may_load_the_adapter_at_once(served, folder, tmp_path, monkeypatch):  # noqa: F811
    client = server.Server(served.url)
    monkeypatch.setattr(client, "models", list)  # what it serves was asked before the other command loaded it
    copy = shutil.copytree(folder, tmp_path / "copy")
    client.load_adapter("mine", copy)
    client.load_adapter("mine", copy)
