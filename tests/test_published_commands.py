"""What a published card says of settings, launch and sampling."""

import json
import shlex

import pytest
from accelerate.commands import launch as accelerate

import generate_samples
from checkpoints.model_card import hub_data_set
from checkpoints.published_card import published_record
from checkpoints.published_commands import SERVER, command_line, commands, launcher
from common.launcher import Launch, launch
from evaluation import pass_at_k
from evaluation.results import read_results
from settings.arguments import parse_args
from settings.table import all_settings
from tests.test_publish import ROOT, published  # noqa: F401 (a fixture: a published folder)

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
def test_the_sampling_line_of_a_card_gives_the_flags_again(asked, sampling, more, published, tmp_path):  # noqa: F811
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
