"""main.py --rollouts server, against a server that answers with this project's engine (tests/server.py)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file

import main
from charts.loading import load_questions
from checkpoints.run_folder import PUBLISHED
from evaluation.training_curves import HELD_OUT
from models.inputs import image_rule, prompt_inputs
from models.registry import load_model, load_processor, lora_config
from sampling import server
from sampling.engine import sample
from sampling.server import ServerError
from sampling.settings import SamplingSettings
from tests.after_run import SHORT, train
from tests.server import serving
from tests.test_finding import folder, made  # noqa: F401 (fixtures: a run folder with an adapter)
from update.ratios import GAP
from update.server_rollouts import MOST_APART, Policy

STEPS = "--mode nsr --vlm-name tiny --subset-size 16 --num-generations 4 --updates-per-rollout 1"
ROOT = Path(__file__).parent.parent
ZERO3 = ["accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}", "--num_processes", "2"]
LAUNCHES = {"ddp": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"], "zero3": ZERO3}
RUN = "tiny-prm-large-train-v2-nsr-7"


@pytest.fixture(scope="module")
def started():
    with serving() as served:
        yield served


@pytest.fixture
def served(started, monkeypatch):
    monkeypatch.setattr(server, "FIRST_WAIT", 0.01)
    started.faults.clear()
    started.log.clear()
    started.asked.clear()
    started.adapters.clear()
    started.known.clear()
    return started


def run(root, served, steps, *more) -> int:
    return train(root, STEPS, "--rollouts", "server", "--server-url", served.url, "--max-steps", steps, *more)


def logged(where) -> list[dict]:
    history = json.loads((where / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


def last_line(capsys) -> str:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told.strip().splitlines()[-1]


def test_eight_updates_on_what_the_server_draws_with_the_adapter_of_every_step(served, tmp_path):
    assert run(tmp_path, served, 8) == 0
    gaps = [entry[GAP] for entry in logged(tmp_path / RUN)]
    print("rollout/logp_gap", *(f"{gap:.1e}" for gap in gaps))
    assert len(gaps) == 8 and all(0 < gap < MOST_APART / 5 for gap in gaps)
    assert (tmp_path / RUN / "adapter_model.safetensors").is_file()
    assert not (tmp_path / RUN / PUBLISHED).exists()
    record = json.loads((tmp_path / RUN / "training_settings.json").read_text())["server"]
    assert (record["url"], record["model"]) == (f"{served.url}/v1", "base") and record["dtype"] == "float32"
    if not served.log:  # a real one, of tests/with_vllm.sh
        return
    loads, unloads = ([line.split()[1] for line in served.log if line.startswith(how)] for how in ("load", "unload"))
    assert len({*loads}) == 8 and unloads == loads, "a new name for every step, and none stays"
    assert [name.split("-")[1] for name in loads] == [str(step) for step in range(8)]
    assert [body["model"] for body in served.asked] == loads and not served.adapters


@pytest.mark.slow
def test_in_half_precision_rounding_ends_no_run(served, tmp_path):
    assert run(tmp_path, served, 8, "--precision", "bf16") == 0
    gaps = [entry[GAP] for entry in logged(tmp_path / RUN)]
    print("rollout/logp_gap", *(f"{gap:.1e}" for gap in gaps))
    assert len(gaps) == 8 and max(gaps) > MOST_APART


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_policy_that_was_published_once_ends_the_run(precision, served, tmp_path, capsys, monkeypatch):
    """The control: what the check is for."""
    publish = Policy.publish
    monkeypatch.setattr(Policy, "publish", lambda self, *args: self.name or publish(self, *args))
    assert run(tmp_path, served, 8, "--precision", precision) == 1
    assert "answers with an older one" in last_line(capsys)


@pytest.mark.parametrize("fault", [pytest.param("first_adapter", marks=pytest.mark.slow), "ignores_adapters"])
def test_a_server_that_does_not_follow_ends_the_run_in_one_line_and_moves_nothing(fault, served, tmp_path, capsys):
    served.faults[fault] = True
    assert run(tmp_path, served, 8) == 1
    told = last_line(capsys)
    found = re.match(r"error: update ([2-8]): the server's log-probabilities are .* goes on with --resume$", told)
    assert found, told
    assert "it leaves the adapter out or answers with an older one. No weight was moved" in told
    assert_unmoved(served, tmp_path / RUN / f"checkpoint-{found[1]}")
    served.faults.clear()
    served.log.clear()
    assert run(tmp_path, served, 8, "--resume") == 0
    loads = [line.split("-")[1] for line in served.log if line.startswith("load")]
    assert loads == [str(step) for step in range(int(found[1]), 8)], "with the very weights, from the checkpoint on"
    assert [entry["step"] for entry in logged(tmp_path / RUN)] == [*range(1, 9)]


def assert_unmoved(served, checkpoint) -> None:
    """The weights in the checkpoint are those that were published last."""
    published = get_peft_model_state_dict(served.model, adapter_name=[*served.known.values()][-1])
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert saved.keys() == published.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in published.items())


@pytest.mark.slow
def test_held_out_charts_are_measured_through_the_server_with_the_policy_in_training(served, tmp_path):
    assert run(tmp_path, served, 4, "--held-out", 0.2, "--eval-steps", 4) == 0
    history = json.loads((tmp_path / RUN / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if HELD_OUT[0] in entry] == [0, 4]
    loads = [line.split()[1] for line in served.log if line.startswith("load")]
    assert [name.split("-")[1] for name in loads] == ["0", "1", "2", "3", "4"], "that of step 0 once, for both"
    asked = [body["model"] for body in served.asked]
    questions = (len(asked) - 4) // 2
    assert questions > 1 and asked == [loads[0]] * questions + loads[:4] + [loads[4]] * questions


def test_a_server_of_other_weights_is_noticed_at_the_first_update(served, tmp_path, capsys):
    weight = served.model.get_output_embeddings().weight
    before = weight.data.clone()
    with torch.no_grad():
        weight.copy_(weight.flip(0))
    try:
        assert run(tmp_path, served, 2) == 1
    finally:
        weight.data.copy_(before)
    assert "error: update 1: " in (told := last_line(capsys)) and "it serves other weights" in told


@pytest.mark.parametrize(
    ("fault", "value", "said"),
    [("statuses", [(400, {})], "400 not now"), ("odd", True, "an answer in a form that is not known here")],
)
def test_a_server_that_fails_ends_the_run_in_one_line(fault, value, said, served, tmp_path, capsys):
    served.faults[fault] = value
    assert run(tmp_path, served, 2) == 1
    told = last_line(capsys)
    assert told.startswith("error: http://127.0.0.1") and said in told and "; go on with the same command" in told


def two_processes(root, served, launch, *more) -> subprocess.CompletedProcess:
    flags = f"{SHORT} {STEPS} --rollouts server --server-url {served.url} --output-root {root}".split()
    words = [sys.executable, "-m", *LAUNCHES[launch], "main.py", *flags, *map(str, more)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.parametrize("launch", LAUNCHES)
def test_one_of_two_processes_publishes_and_both_draw(launch, served, tmp_path):
    done = two_processes(tmp_path, served, launch, "--max-steps", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    loads = [line.split()[1] for line in served.log if line.startswith("load")]
    assert len(loads) == 2 and [body["model"] for body in served.asked] == [name for name in loads for _ in range(2)]
    gaps = [entry[GAP] for entry in logged(tmp_path / RUN)]
    assert len(gaps) == 2 and all(0 < gap < MOST_APART / 5 for gap in gaps)


@pytest.mark.slow
@pytest.mark.parametrize("launch", LAUNCHES)
def test_on_two_processes_an_older_policy_moves_nothing_either(launch, served, tmp_path):
    """Under DeepSpeed the step is part of the backward pass of the last of two passes."""
    served.faults["first_adapter"] = True
    halves = ("--batch-size", 2, "--gradient-accumulation-steps", 2)
    done = two_processes(tmp_path, served, launch, "--max-steps", 8, *halves)
    assert done.returncode != 0 and "not finite" not in done.stdout
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    found = re.match(r"error: update ([2-8]): the server's log-probabilities are .* goes on with --resume$", told)
    assert found and "No weight was moved" in told, told
    assert_unmoved(served, tmp_path / RUN / f"checkpoint-{found[1]}")


def test_weights_that_no_process_has_whole_are_refused_by_the_launch(served, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert run(tmp_path, served, 2) == 2
    assert "under FSDP no process has the whole adapter" in last_line(capsys) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--rollouts server", "--rollouts server needs --server-url"),
        ("--rollouts server --server-url http://127.0.0.1:9 --no-lora", "--no-lora has none; leave one out"),
        ("--server-url http://127.0.0.1:9", "is for --rollouts server alone"),
        ("--rollouts generate --server-model base", "--server-model base is for --rollouts server alone"),
        ("--rollouts server --server-url 127.0.0.1:9", "give the address of a server"),
        ("--rollouts server --server-url http://127.0.0.1:9", "http://127.0.0.1:9/v1/models: no answer"),
    ],
)
def test_what_no_server_can_do_is_one_line_before_a_model_is_loaded(flags, told, tmp_path, capsys):
    assert train(tmp_path, f"--mode nsr --vlm-name tiny {flags}") == 2
    assert told in last_line(capsys) and not list(tmp_path.iterdir())


def test_an_adapter_that_a_server_leaves_out_in_part_is_not_trained_on(served, folder, tmp_path, capsys):  # noqa: F811
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_dora": True}))
    line = f"--mode nsr --vlm-name {folder} --rollouts server --server-url {served.url}"
    short = SHORT.replace(" --prompt short", "").split()
    assert main.main([*short, *line.split(), "--output-root", str(tmp_path / "o")]) == 2
    assert "has use_dora, which servers ignore: merge it" in last_line(capsys)


# -- one prompt --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted():
    torch.manual_seed(0)
    base = load_model("tiny")
    model = get_peft_model(base, lora_config(base.config)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.mark.parametrize("seeing", [True, False])
def test_the_server_reads_the_very_ids_and_the_image_where_it_stands(seeing, served, adapted, tmp_path):
    question = load_questions("synthetic", purpose="evaluate", subset_size=1).questions[0]
    processor = load_processor("tiny")
    image = image_rule(processor, 3136, 12544)(question.open_image())
    inputs = prompt_inputs(processor, question, image, prompt="short", min_pixels=3136, max_pixels=12544)
    if not seeing:
        ids = processor.tokenizer("<|im_start|>user\nTwo and two?<|im_end|>\n<|im_start|>assistant\n").input_ids
        inputs, image = {"input_ids": torch.tensor([ids])}, None
    policy = Policy(served.url, None, tmp_path / PUBLISHED)
    policy.publish(adapted, 0)
    settings = {"temperature": 1.0, "top_p": 1.0, "top_k": 1, "max_tokens": 24, "output_kind": 2, "logprobs": 0}
    drawn = policy.complete(inputs["input_ids"][0].tolist(), image, 2, {**settings, "stop_token_ids": [2]})
    options = {"settings": SamplingSettings(top_k=1, max_new_tokens=24), "eos_ids": [2], "problem_id": "x"}
    assert drawn.token_ids == sample(adapted, inputs, n=2, **options).token_ids
    assert ("features" in served.asked[-1]) == seeing
    if seeing:
        with adapted.disable_adapter():
            assert drawn.token_ids != sample(adapted, inputs, n=2, **options).token_ids, "the adapter acts"
        with pytest.raises(ServerError, match="tokens of an image, which stand not so in the prompt here"):
            policy.complete(inputs["input_ids"][0, 8:].tolist(), image, 2, settings)
    policy.withdraw()


def test_a_run_that_goes_on_has_the_server_forget_what_the_one_cut_off_had_published(served, adapted, tmp_path):
    Policy(served.url, None, tmp_path / PUBLISHED).publish(adapted, 4)
    (tmp_path / PUBLISHED / "step-3-unknown").mkdir()  # the server was started anew since
    name = Policy(served.url, None, tmp_path / PUBLISHED).publish(adapted, 3)
    assert [*served.adapters] == [name] == [path.name for path in (tmp_path / PUBLISHED).iterdir()]


def test_a_name_and_folder_used_again_answer_with_the_weights_of_before(served, adapted, tmp_path, monkeypatch):
    """Why every step has a name and a folder of its own: the server of these tests has the fault of the real one."""
    monkeypatch.setattr("update.server_rollouts.secrets.token_hex", lambda count: "same")
    policy, asked = Policy(served.url, None, tmp_path / PUBLISHED), [1, 5, 6, 7]
    answers = []
    for scale in (1.0, -3.0):
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.data.mul_(scale)
        policy.publish(adapted, 0)
        greedy = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 12, "output_kind": 2, "logprobs": 0}
        answers.append(policy.complete(asked, None, 1, greedy).logprobs)
        policy.withdraw()
        policy.name = None
    assert answers[0] == answers[1]
