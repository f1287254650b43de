"""What is published loads with plain libraries, tells the truth and names no place of this machine."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch as accelerate
from huggingface_hub import constants
from transformers import AutoModelForImageTextToText, AutoProcessor

import generate_samples
from checkpoints import publish
from checkpoints.finding import find_checkpoint
from checkpoints.model_card import hub_data_set
from checkpoints.published_card import published_record
from checkpoints.published_commands import SERVER, command_line, commands, launcher
from common.launcher import Launch, launch
from evaluation import pass_at_k
from evaluation.results import read_results
from settings.arguments import parse_args
from settings.table import all_settings
from tests import hub
from tests.after_run import adapted, check_metadata, logits, refused, sample
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


def test_a_checkpoint_and_full_weights_are_published_too(runs, tmp_path):
    assert publish.main([str(runs["full"] / "checkpoint-2"), str(tmp_path / "full")]) == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "full", dtype=torch.float32)
    trained = AutoModelForImageTextToText.from_pretrained(runs["full"], dtype=torch.float32)
    assert torch.equal(logits(model), logits(trained)) and not list((tmp_path / "full").glob("optimizer*"))


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


# -- what a card says of a run's settings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "--mode nsr", "--mode nsr --seed 0 --held-out 0 --no-lora", "--mode ngrpo",
        "--mode grpo --loss gspo --clip 3e-4", "--mode ngrpo --clip 0.2",
        "--mode w-reinforce --lambda-psr 0.3 --negative-weight cosine",
        "--mode psr --lora-targets q_proj v_proj --reward accuracy format=0.2 --disable-gradient-checkpointing",
        "--mode grpo --loss cispo", "--mode grpo --clip 0.1 --clip-high 0.3",
        "--mode passk --passk-k 4 --num-generations 8",
        f"--mode own-advantage --advantage {ROOT}/examples/advantage.py:unlikely", "--mode nsr --eval-on-start no",
    ],
)  # fmt: skip
def test_the_command_line_of_a_card_gives_the_settings_again(line):
    settings = {name: vars(parse_args(shlex.split(line)))[name] for name in all_settings()}
    again = vars(parse_args(command_line(settings)))
    assert {name: again[name] for name in settings} == settings


def test_a_template_of_ones_own_is_named_once():
    """The record says "own" of such a prompt; with the file's flag beside it the line would be refused."""
    settings = {name: vars(parse_args(["--mode", "psr", "--prompt-file", "p.txt"]))[name] for name in all_settings()}
    assert command_line({**settings, "prompt": "own"}) == command_line(settings)
    assert parse_args(command_line(settings)).prompt_file == "p.txt"


def record_of(line: str, **more) -> dict:
    """A run's settings file as far as a card reads it."""
    args = vars(parse_args(shlex.split(line)))
    settings = {**{name: args[name] for name in all_settings()}, "num_processes": 1}
    model = {"name": "tiny", "source": "tiny"}
    return {"settings": settings, "model": model, "data": {"name": args["dataset_name"]}, **more}


def test_places_of_the_machine_are_left_out_and_own_functions_keep_their_name():
    line = "--mode own-advantage --dataset-name chartqa --dataset-path /home/me/data/ChartQA --output-root /scratch/me "
    line += "--prompt-file /home/me/prompt.txt --rollouts server --server-url http://10.1.2.3:8765/v1 "
    line += f"--server-model /home/me/base --advantage {ROOT}/examples/advantage.py:unlikely"
    model = {
        "name": "/home/me/base", "source": "/home/me/base", "weights": None,
        "start": {
            "folder": "/home/me/runs/first",
            "model": {"name": "qwen2-5-3b", "source": "Qwen/Qwen2.5-VL-3B-Instruct"},
        },
    }  # fmt: skip
    server = {"url": "http://10.1.2.3:8765/v1", "model": "/home/me/base", "version": "0.32.0", "dtype": "float32"}
    record = record_of(line, model=model, server=server, launch={"processes": 8, "zero": 3})
    shown = published_record(record)
    said = json.dumps(shown)
    assert not [place for place in ("/home/me", "/scratch", str(ROOT), "10.1.2.3", "8765") if place in said]
    assert shown["model"]["name"] == "base" and shown["model"]["start"]["folder"] == "first"
    assert shown["model"]["start"]["model"] == record["model"]["start"]["model"], "a name of the hub stays"
    assert shown["server"] == {"url": SERVER, "model": "base", "version": "0.32.0", "dtype": "float32"}
    text = commands("model", shown, [])
    assert text.startswith("accelerate launch --config_file=deepspeed_zero3.yaml --num_processes 8 main.py --mode own-")
    assert "--advantage advantage.py:unlikely" in text and "--dataset-path ChartQA" in text
    assert "--prompt-file prompt.txt" in text and f"--server-url {SERVER} --server-model base" in text
    assert record["settings"]["output_root"] == "/scratch/me", "the run's own record is left as it is"


@pytest.mark.parametrize(
    ("given", "read", "shown"),
    [
        ("chartqa", "chartqa", "chartqa"), ("synthetic@val", "synthetic", "synthetic@val"),
        ("org/set", "org/set", "org/set"), ("org/set:config@split", "org/set", "org/set:config@split"),
        ("/home/me/rows.jsonl", "rows", "rows.jsonl"), ("data/rows.jsonl@val", "rows", "rows.jsonl@val"),
        ("~/data/folder", "folder", "folder"), ("../data/folder/", "folder", "folder"),
        ("rows.csv", "rows", "rows.csv"), ("/home/me/chartqa", "chartqa", "./chartqa"),
        ("../chartqa@val", "chartqa", "./chartqa@val"), ("./chartqa", "chartqa", "./chartqa"),
        ("/home/me@work/rows.jsonl", "rows", "rows.jsonl"),
    ],
)  # fmt: skip
def test_a_data_set_keeps_its_name_split_and_configuration_and_loses_its_folder(given, read, shown):
    record = record_of(f"--mode nsr --dataset-name {given}", data={"name": read})
    shown_record = published_record(record)
    assert shown_record["settings"]["dataset_name"] == shown
    on_the_hub = "HuggingFaceM4/ChartQA" if given == "chartqa" else None
    assert hub_data_set(record) == hub_data_set(shown_record) == on_the_hub


# -- what a card says of the launch ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "file"),
    [
        (Launch(), None),
        (Launch(1, zero=3), "deepspeed_zero3.yaml"),
        (Launch(8, zero=3), "deepspeed_zero3.yaml"),
        (Launch(16, 2, zero=3), "recipes/launch/zero3.yaml"),
        (Launch(2, zero=2, offload=True), "recipes/launch/zero2_offload.yaml"),
        (Launch(2), "recipes/launch/ddp.yaml"),
        (Launch(16, 2), "recipes/launch/ddp.yaml"),
        (Launch(4, fsdp=True), "recipes/launch/fsdp2.yaml"),
        (Launch(16, 2, fsdp=True), "recipes/launch/fsdp2.yaml"),
        (Launch(4, zero=2), None),
        (Launch(4, 2, zero=3, offload=True), None),
    ],
)
def test_the_launch_of_a_card_shares_the_model_in_the_same_way(started, file, monkeypatch):
    """Read by accelerate, and by this project from the environment that accelerate gives its processes."""
    words = launcher(started)
    if started == Launch():
        assert words == ["python"]
        return
    assert ("--config_file=" + str(file) in words) == (file is not None)
    monkeypatch.chdir(ROOT)  # launch files are named from there
    parsed = accelerate.launch_command_parser().parse_args([*words[2:], "main.py", "--mode", "nsr"])
    args, *_ = accelerate._validate_launch_command(parsed)
    args.main_process_port, args.deepspeed_fields_from_accelerate_config = 0, ""  # any free port of this machine
    if args.use_deepspeed:
        _, told = accelerate.prepare_deepspeed_cmd_env(args)
    else:
        told = accelerate.prepare_multi_gpu_env(args)
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):
        monkeypatch.setenv(name, told.get(name, "false"))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", str(args.num_processes))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(args.num_processes // args.num_machines))
    assert launch() == started


@pytest.mark.parametrize(
    ("zero", "started"),
    [
        ({"stage": 3}, Launch(zero=3)),
        ({"stage": 2, "offload_optimizer": {"device": "cpu"}}, Launch(zero=2, offload=True)),
    ],
)
def test_deepspeeds_own_file_says_how_a_run_was_launched(zero, started, tmp_path, monkeypatch):
    """accelerate launch --deepspeed_config_file names no stage beside it."""
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": zero}))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "ds.json"))
    assert launch() == started


@pytest.mark.parametrize(
    ("asked", "sampling", "more"),
    [
        ({"dataset_name": "synthetic", "subset_size": 2}, {"backend": "engine", "seed": 3}, {}),
        ({"dataset_name": "org/set:config@split"}, {"backend": "server", "seed": None}, {}),
        (
            {"dataset_name": "/home/me/rows.jsonl@val", "question_column": "ask", "subset_order": "sequential"},
            {"backend": "generate", "seed": 0, "top_p": 0.9}, {"without_image": "mask"},
        ),
        ({"dataset_name": "chartqa", "dataset_path": "/home/me/ChartQA", "split": "val"}, {"temperature": 0.6}, {}),
    ],
)  # fmt: skip
def test_the_sampling_line_of_a_card_gives_the_flags_again(asked, sampling, more, published, tmp_path):
    content = json.loads((published.parent / "results_nsr.json").read_text())
    names = {"org/set:config@split": "org/set", "/home/me/rows.jsonl@val": "rows"}
    content["metadata"] |= {"asked": asked, **more, "data": {"name": names.get(asked["dataset_name"], "chartqa")}}
    content["metadata"]["sampling"] |= sampling
    (tmp_path / "r.json").write_text(json.dumps(content))
    text = commands("model", record_of("--mode nsr"), [read_results(tmp_path / "r.json")])
    assert "None" not in text and "/home" not in text
    _, draw, score = map(shlex.split, text.splitlines())
    again = vars(generate_samples.parse_args(draw[2:]))
    served = sampling.get("backend") == "server"
    wanted = {**asked, **content["metadata"]["sampling"], **more, "server_url": SERVER if served else None}
    shown = {"dataset_name": ["rows.jsonl@val" if "rows" in asked["dataset_name"] else asked["dataset_name"]]}
    shown |= {"dataset_path": "ChartQA"} if "dataset_path" in asked else {}
    shown |= {"seed": 2025} if served else {}  # its default, which a server does not ask for
    assert {name: again[name] for name in wanted} == wanted | shown
    pass_at_k.parse_args(score[2:])
