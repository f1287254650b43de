"""Counting and grounding as a user runs them: trained, sampled, scored, shown."""

import json
from itertools import cycle

import pytest
from PIL import Image

import generate_samples
import main
from evaluation import pass_at_k, report
from study.compare_modes import complete_modes

SMALL = "--vlm-name tiny --subset-size 4 --num-generations 4 --batch-size 4 --gradient-accumulation-steps 1 --no-lora"
SMALL += " --max-completion-length 8 --held-out 0 --report-to none --max-steps 1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_boxes_are_trained_on_sampled_scored_and_shown(folder, capsys):
    line = ["--mode", "nsr", "--dataset-name", "grounding", "--reward", "iou", "format=0.2", *SMALL.split()]
    assert main.main(line) == 0
    assert "Rewards Accuracy: [-1.0, -1.0, -1.0, -1.0]" in capsys.readouterr().out, "no box in eight tokens: all wrong"
    (run,) = (folder / "grpo-start-ckpts").iterdir()
    record = json.loads((run / "training_settings.json").read_text())
    assert record["settings"]["reward_functions"] == "iou=1, format=0.2, accuracy=0"
    (state,) = run.glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["log_history"][0]["rewards/iou/mean"] == 0.0
    sampled = ["--checkpoint-path", str(run), "--dataset-name", "grounding", "--subset-size", "2", "--num-samples", "2"]
    assert generate_samples.main([*sampled, "--output-path", "samples.json"]) == 0
    problem = json.loads((folder / "samples.json").read_text())[0]
    assert (problem["image_size"], problem["box_frame"], problem["reason"]) == (
        [112, 112],
        [112, 112],
        ["no answer"] * 2,
    )
    assert pass_at_k.main(["--samples-path", "samples.json", "--output-path", "results.json"]) == 0
    assert "marked by: iou" in capsys.readouterr().out
    assert report.main(["samples.json", "--output-path", "report.html"]) == 0
    assert '"boxes":[[' in (folder / "report.html").read_text()


def test_iou_is_refused_where_no_box_is_asked_for(folder, capsys):
    line = ["--mode", "nsr", "--dataset-name", "counting", "--reward", "iou", *SMALL.split()]
    assert main.main(line) == 2
    assert capsys.readouterr().err.startswith("error: --reward iou: no question asks for a box")


def test_a_training_prompt_and_a_sampling_prompt_name_the_same_frame(folder):
    """Of other limits the frame is another one, and the prompt says so, in both programs."""
    from sampling.preparation import prepare as prepare_sampling
    from settings.arguments import parse_args
    from training.preparing import load_data, resolve_defaults

    limits = ["--min-pixels", "50000", "--max-pixels", "60000"]
    args = parse_args(["--mode", "nsr", "--dataset-name", "grounding", *SMALL.split(), *limits])
    resolve_defaults(args)
    trained = load_data(args)[0].questions[0]
    flags = ["--checkpoint-path", "tiny", "--dataset-name", "grounding", "--subset-size", "2", *limits]
    asked = generate_samples.parse_args([*flags, "--output-path", "s.json"])
    asked.dataset_name = asked.dataset_name[0]
    sampled = prepare_sampling(asked).questions[0]
    assert trained.box_frame == sampled.box_frame == (224, 224) and trained.image_size == (112, 112)
    assert trained.instruction == sampled.instruction and "224 wide" in trained.instruction


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "task"), list(zip(complete_modes()[::3], cycle(["counting", "grounding"]), strict=False))
)
def test_every_mode_trains_on_a_task(folder, mode, task):
    assert main.main(["--mode", mode, "--dataset-name", task, *SMALL.split()]) == 0


def test_without_a_subset_and_a_held_out_share_the_frame_is_named_too(folder):
    from settings.arguments import parse_args
    from training.preparing import load_data, resolve_defaults

    Image.new("RGB", (112, 112), "white").save(folder / "chart.png")
    row = {"image": "chart.png", "question": "Where is the bar?", "answer": "[10, 10, 60, 100]"}
    (folder / "boxes.jsonl").write_text(json.dumps(row) + "\n")
    own = ["--dataset-name", "boxes.jsonl", "--answer-kind", "box", "--rule", "iou"]
    args = parse_args(["--mode", "nsr", *own, *SMALL.replace("--subset-size 4 ", "").split()])
    resolve_defaults(args)
    train, held_out = load_data(args)
    assert args.subset_size is None and not len(held_out)
    assert [question.box_frame for question in train.questions] == [(112, 112)]
