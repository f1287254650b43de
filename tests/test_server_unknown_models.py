"""generate_samples.py --backend server with models of which nothing is known here, on servers that say little."""

import json

from evaluation import pass_at_k
from evaluation.samples import read_samples
from tests.test_server_sampling import (  # noqa: F401 (served and started: fixtures)
    PROBLEMS,
    SAMPLES,
    by_ids,
    problems,
    refusal,
    run,
    served,
    started,
)


def test_a_model_that_is_unknown_here_is_asked_for_answers_alone(served, tmp_path, capsys):  # noqa: F811
    """By a server that refuses all that OpenAI's schema does not have, and gives one completion an answer."""
    served.faults["plain"] = True
    output = tmp_path / "s.jsonl"
    assert run(output, served, "--server-model", "base", checkpoint=None) == 0
    settings = json.loads(output.read_text().splitlines()[0])["settings"]
    assert settings["method"] == settings["model"]["name"] == "base" and settings["model"]["fingerprint"] == "unknown"
    assert settings["server"]["version"] == settings["model"]["dtype"] == "unknown"
    for line in problems(output):
        assert len(line["samples"]) == SAMPLES and line["logprob"] == [None] * SAMPLES
        assert all(0 < count <= 20 for count in line["tokens"])
    assert "logit_bias" not in served.asked[-1] and "top_k" not in served.asked[-1]
    assert read_samples(output).n.tolist() == [SAMPLES] * PROBLEMS


def test_a_model_of_a_server_and_ones_own_stand_in_one_table(served, tmp_path, capsys):  # noqa: F811
    """Their results say which server has drawn one of them."""
    served.faults["plain"] = True
    assert run(tmp_path / "there.json", served, "--server-model", "base", checkpoint=None) == 0
    assert run(tmp_path / "here.json", None) == 0
    for name in ("here", "there"):
        paths = ["--samples-path", str(tmp_path / f"{name}.json"), "--output-path", str(tmp_path / f"of_{name}.json")]
        assert pass_at_k.main(paths) == 0
    assert pass_at_k.main(["--compare", str(tmp_path / "of_here.json"), str(tmp_path / "of_there.json")]) == 0
    assert "Pass@1" in capsys.readouterr().out
    here, there = (json.loads((tmp_path / f"of_{name}.json").read_text())["metadata"] for name in ("here", "there"))
    assert "server" not in here and there["server"]["url"] == f"{served.url}/v1"
    assert there["server"]["samples"].startswith("not reproducible") and there["sampling"]["seed"] is None


def test_what_a_plain_server_must_be_told_otherwise_is_told(served, tmp_path):  # noqa: F811
    """transformers serve knows top_k inside generation_config alone, and has defaults of its own for it."""
    served.faults["plain"] = True
    assert by_ids(tmp_path / "s.jsonl", served, "--top-k", 7, "--subset-size", 1) == 0
    told = json.loads(served.asked[-1]["generation_config"])
    assert told["top_k"] == 7 and told["eos_token_id"] == [2] and told["repetition_penalty"] == 1.0
    assert "logit_bias" in served.asked[-1]


def test_a_setting_that_a_server_of_an_unknown_model_refuses_is_not_dropped(served, tmp_path, capsys):  # noqa: F811
    served.faults["plain"] = True
    assert run(tmp_path / "s.jsonl", served, "--server-model", "base", "--top-k", 7, checkpoint=None) == 2
    assert "422 Unexpected fields in the request" in refusal(capsys)


def test_limits_that_no_image_can_keep_are_refused_of_an_unknown_model_too(served, tmp_path, capsys):  # noqa: F811
    served.faults["plain"] = True
    flags = ("--server-model", "base", "--min-pixels", 10, "--max-pixels", 100)
    assert run(tmp_path / "s.jsonl", served, *flags, checkpoint=None) == 2
    assert "max_pixels 100 is below min_pixels" in refusal(capsys) and not list(tmp_path.iterdir())
