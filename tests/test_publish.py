"""What is published loads with plain libraries, tells the truth and names no place of this machine."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForImageTextToText, AutoProcessor

import generate_samples
from checkpoints import merge, publish
from checkpoints.finding import find_checkpoint
from evaluation import pass_at_k
from settings.arguments import parse_args
from settings.table import all_settings
from tests import hub
from tests.after_run import adapted, check_metadata, logits, refused, sample, train
from tests.commands import check

ROOT = Path(__file__).parent.parent


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".json", ".jinja")}


@pytest.fixture(scope="module")
def published(runs, tmp_path_factory):
    """The adapter's folder, with results of the base and of the adapter on its card."""
    folder = tmp_path_factory.mktemp("published")
    results = []
    for name, checkpoint in (("base", "tiny"), ("nsr", runs["lora"])):
        assert sample(checkpoint, folder / f"samples_{name}.json") == 0
        results.append(folder / f"results_{name}.json")
        paths = ["--samples-path", str(folder / f"samples_{name}.json"), "--output-path", str(results[-1])]
        assert pass_at_k.main([*paths, "--method-name", "NSR" if name == "nsr" else "Base"]) == 0
    words = [runs["lora"], folder / "tiny-nsr", "--results", *results]
    assert publish.main([str(word) for word in words]) == 0
    return folder / "tiny-nsr"


def test_the_folder_loads_with_plain_peft_and_transformers(published, runs):
    assert torch.equal(logits(adapted(published)), logits(adapted(runs["lora"])))
    processor = AutoProcessor.from_pretrained(published)
    assert processor.image_processor.size["longest_edge"] == 401408
    assert {path.suffix for path in published.iterdir()} <= {".md", ".json", ".jinja", ".png", ".safetensors", ".txt"}


def test_no_text_of_it_names_a_place_of_this_machine(published, runs):
    for name, text in texts(published).items():
        for place in (runs["lora"].parent, ROOT, Path.home()):
            assert str(place) not in text, name
    config = json.loads((published / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"


def test_the_card_shows_curves_results_data_and_the_commands(published, runs, monkeypatch):
    card = (published / "README.md").read_text()
    check_metadata(card)
    assert "![Training](training.png)" in card and (published / "training.png").stat().st_size > 1000
    assert "![Pass@k](pass_at_k.png)" in card and (published / "pass_at_k.png").stat().st_size > 1000
    rows = [
        line for line in card.splitlines() if line.startswith("| **NSR**, this model |") or line.startswith("| Base |")
    ]
    found = json.loads((published.parent / "results_nsr.json").read_text())
    low, high = found["intervals"]["1"]
    assert rows[0].startswith("| **NSR**, this model | 2 | 3 |") and len(rows) == 2
    assert f"| {100 * found['pass_at_k']['1']:.1f} [{100 * low:.1f}, {100 * high:.1f}] |" in rows[0]
    data = json.loads((published / "training_settings.json").read_text())["data"]
    assert f"4 questions of synthetic (train), fingerprint `{data['fingerprint']}`; rewards: accuracy." in card
    assert "## Licence" in card and card.index("## Licence") < card.index("## Citation")
    (block,) = re.findall(r"```bash\n(.*?)```", card, re.DOTALL)
    train, draw, score = map(shlex.split, block.splitlines())
    for words in (train, draw, score):
        check(words, monkeypatch)
    assert train[:2] == ["python", "main.py"]
    assert draw[:4] == ["python", "generate_samples.py", "--checkpoint-path", "tiny-nsr"]
    drawn = generate_samples.parse_args(draw[2:])
    assert (drawn.dataset_name, drawn.subset_size, drawn.num_samples) == (["synthetic"], 2, 3), "as it was sampled"
    assert (drawn.max_new_tokens, drawn.seed, drawn.backend) == (12, 2025, "engine") and score[
        1
    ] == "evaluation/pass_at_k.py"
    assert train[train.index("--vlm-name") + 1] == "tiny" and "--dataset-name" in train, "defaults, but said"
    settings = json.loads((runs["lora"] / "training_settings.json").read_text())["settings"]
    again = vars(parse_args(train[2:]))
    differing = {name for name in all_settings() if name in settings and again[name] != settings[name]}
    assert differing <= {"output_root", "report_to"}


def test_results_of_several_sets_and_of_one_name_are_told_apart(published, runs, tmp_path, capsys):
    own = json.loads((published.parent / "results_nsr.json").read_text())
    own["metadata"]["data"] = {**own["metadata"]["data"], "name": "counting"}
    (tmp_path / "other.json").write_text(json.dumps(own))
    words = [str(runs["lora"]), str(tmp_path / "model"), "--results", str(published.parent / "results_nsr.json")]
    assert publish.main([*words, str(tmp_path / "other.json")]) == 0, capsys.readouterr().err
    card = (tmp_path / "model" / "README.md").read_text()
    assert (
        "| **NSR on synthetic (test)**, this model |" in card and "| **NSR on counting (test)**, this model |" in card
    )
    assert "Unbiased Pass@k in percent, with" in card
    assert "Unbiased Pass@k in percent on synthetic (test), with" in (published / "README.md").read_text()
    line = refused(capsys, publish.main([*words, words[-1], "--overwrite"]))
    assert "two of them are called 'NSR'; evaluation/pass_at_k.py --method-name gives" in line


def test_it_is_a_checkpoint_like_any_other(published, runs):
    one, other = find_checkpoint(str(published)), find_checkpoint(str(runs["lora"]))
    assert (one.source, one.prompt, one.method, one.max_new_tokens) == (
        other.source, other.prompt, other.method, other.max_new_tokens
    )  # fmt: skip


def test_one_model_instead_of_two(runs, tmp_path):
    assert publish.main([str(runs["lora"]), str(tmp_path / "merged"), "--merged"]) == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert torch.allclose(logits(model), logits(adapted(runs["lora"])), atol=1e-5)
    card = (tmp_path / "merged" / "README.md").read_text()
    assert check_metadata(card)["library_name"] == "transformers" and "# merged" in card
    assert find_checkpoint(str(tmp_path / "merged")).prompt == "short"


@pytest.mark.slow
def test_the_card_of_a_checkpoint_says_after_how_many_updates_it_was_kept(tmp_path):
    assert train(tmp_path, "--mode nsr --vlm-name tiny --max-steps 3 --save-steps 1") == 0
    run = next(tmp_path.iterdir())
    cut, whole = "| length | 1 of 3 updates |", "| length | 3 updates |"
    assert cut in (run / "checkpoint-1" / "README.md").read_text() and whole in (run / "README.md").read_text()
    for source, output, *more in (("checkpoint-1", "one"), ("checkpoint-1", "merged", "--merged"), ("", "all")):
        assert publish.main([str(run / source), str(tmp_path / output), *more]) == 0
    assert publish.main([str(tmp_path / "one"), str(tmp_path / "again")]) == 0
    assert merge.main([str(run / "checkpoint-1"), str(tmp_path / "full")]) == 0
    said = "The first line trains all 3 updates; these weights are those after update 1."
    for name in ("one", "merged", "again"):
        card = (tmp_path / name / "README.md").read_text()
        assert cut in card and said in card, name
    card = (tmp_path / "all" / "README.md").read_text()
    assert whole in card and "these weights are those after" not in card
    assert cut in (tmp_path / "full" / "README.md").read_text()


def test_a_checkpoint_and_full_weights_are_published_too(runs, tmp_path):
    assert publish.main([str(runs["full"] / "checkpoint-2"), str(tmp_path / "full")]) == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "full", dtype=torch.float32)
    trained = AutoModelForImageTextToText.from_pretrained(runs["full"], dtype=torch.float32)
    assert torch.equal(logits(model), logits(trained)) and not list((tmp_path / "full").glob("optimizer*"))


def test_a_dtype_of_weights_that_are_not_merged_is_refused(runs, tmp_path, capsys):
    error = refused(capsys, publish.main([str(runs["lora"]), str(tmp_path / "out"), "--dtype", "bfloat16"]))
    assert "--dtype bfloat16 is that of merged weights" in error and not list(tmp_path.iterdir())


def test_what_cannot_be_published_is_refused_in_one_line(runs, published, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    out = str(tmp_path / "out")

    def said(*words):
        return refused(capsys, publish.main([*map(str, words)]))

    assert "is no run folder of main.py" in said("tiny", out)
    assert "holds no adapter" in said(runs["full"], out, "--merged")
    assert "--public says what --push-to-hub makes" in said(runs["lora"], out, "--public")
    other = published.parent / "results_base.json"
    assert "none was measured with the weights in" in said(runs["lora"], out, "--results", other)
    assert "holds the checkpoints of a run" in said(runs["full"], runs["lora"], "--overwrite")
    assert "is there already" in said(runs["lora"], published)
    assert "HF_HUB_OFFLINE is set" in said(runs["lora"], out, "--push-to-hub", "me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert "needs a login: `hf auth login`, or HF_TOKEN" in said(runs["lora"], out, "--push-to-hub", "me/model")
    assert "--push-to-hub a/b/c: " in said(runs["lora"], out, "--push-to-hub", "a/b/c")
    assert not Path(out).exists()


def test_a_push_sends_every_file_to_a_private_repository(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in knows git's large files alone
    with hub.running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        words = [str(runs["lora"]), str(tmp_path / "model"), "--push-to-hub", "me/model"]
        assert publish.main(words) == 0, capsys.readouterr().err
        sent = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
        assert server.files == sent and server.tokens == {"Bearer hf_of_a_test"}
        assert [(one["name"], one["organization"], one["visibility"]) for one in server.created] == [
            ("model", "me", "private")
        ]
        assert f"✓ Pushed to {server.url}/me/model" in capsys.readouterr().out
        server.refuses = True
        line = refused(capsys, publish.main([*words, "--overwrite"]))
        assert "--push-to-hub me/model: " in line and "is whole and can be pushed again" in line
        assert "hf_of_a_test" not in line and (tmp_path / "model" / "README.md").is_file()
