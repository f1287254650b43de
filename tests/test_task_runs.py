"""Counting and grounding as a user runs them: trained, sampled, scored, shown."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageColor
from transformers import Qwen2_5_VLForConditionalGeneration

import generate_samples
import main
from evaluation import pass_at_k, report
from evaluation.show_data import GOLD
from study.compare_modes import complete_modes
from tests.families import family_config, family_processor, spread

TASKS = ("counting", "grounding")
BOXES = ("[10, 10, 60, 100]", "[10, 10, 60, 65]")
SMALL = "--vlm-name tiny --subset-size 4 --num-generations 4 --batch-size 4 --gradient-accumulation-steps 1 --no-lora"
SMALL += " --max-completion-length 8 --held-out 0 --report-to none --max-steps 1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_trained_on_sampled_scored_and_shown(task, folder, capsys):
    boxes = task == "grounding"
    reward = "iou" if boxes else "accuracy"
    line = ["--mode", "nsr", "--dataset-name", task, "--reward", reward, "format=0.2", *SMALL.split()]
    assert main.main(line) == 0
    said = capsys.readouterr().out
    assert "Rewards Accuracy: [-1.0, -1.0, -1.0, -1.0]" in said, "no answer in eight tokens: all wrong"
    (run,) = (folder / "grpo-start-ckpts").iterdir()
    record = json.loads((run / "training_settings.json").read_text())
    named = "iou=1, format=0.2, accuracy=0" if boxes else "accuracy=1, format=0.2"
    assert record["settings"]["reward_functions"] == named
    (state,) = run.glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["log_history"][0][f"rewards/{reward}/mean"] == 0.0
    # `tiny` finds no bar, and names a right count by chance
    line = f"--checkpoint-path {run} --dataset-name {task} --subset-size 2 --output-path samples.json --num-samples"
    assert generate_samples.main([*line.split(), *(["2"] if boxes else ["16", "--max-new-tokens", "96"])]) == 0
    problems = json.loads((folder / "samples.json").read_text())
    if boxes:
        assert all((one["image_size"], one["box_frame"]) == ([112, 112], [112, 112]) for one in problems)
        assert all(one["reason"] == ["no answer"] * 2 for one in problems)
    else:
        assert {mark for one in problems for mark in one["correct"]} == {True, False}
    assert pass_at_k.main(["--samples-path", "samples.json", "--output-path", "results.json"]) == 0
    assert f"marked by: {'iou' if boxes else 'strict'}" in capsys.readouterr().out
    assert report.main(["samples.json", "--output-path", "report.html"]) == 0
    assert ('"boxes":[[' in (folder / "report.html").read_text()) == boxes


def save_model(place: Path) -> None:
    """A random Qwen2.5-VL that says little but BOXES, each a token, and its end, all equally likely."""
    processor = family_processor("qwen2_5_vl")
    often = [f"<answer>{box}</answer>" for box in BOXES]
    processor.tokenizer.add_tokens(often)
    config = family_config("qwen2_5_vl", processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = spread(Qwen2_5_VLForConditionalGeneration(config))
    with torch.no_grad():  # the first number of a token's vector is the same for all, and outlives the layers
        model.get_input_embeddings().weight[:, 0] = 20.0
        said = processor.tokenizer.convert_tokens_to_ids([*often, processor.tokenizer.eos_token])
        model.get_output_embeddings().weight[said, 0] = 3.0
    model.save_pretrained(place)
    processor.save_pretrained(place)


def test_right_and_wrong_boxes_are_learned_from_and_scored(folder, capsys):
    """The gold box, and one with 55 of its 90 rows: an IoU of 0.61, which is wrong where 0.7 is asked for."""
    save_model(folder / "model")
    Image.new("RGB", (112, 112), "white").save(folder / "chart.png")
    rows = [{"image": "chart.png", "question": f"Where is bar {name}?", "answer": BOXES[0]} for name in "ABCD"]
    (folder / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = "--rule iou --reward iou --reward-threshold 0.7 --num-generations 8 --batch-size 16"
    small = SMALL.replace("--subset-size 4 ", "")
    line = f"--mode w-reinforce --dataset-name boxes.jsonl {small} --vlm-name model {more}"
    assert main.main(line.split()) == 0
    (run,) = (folder / "grpo-start-ckpts").iterdir()
    (state,) = run.glob("checkpoint-*/trainer_state.json")
    log = json.loads(state.read_text())["log_history"][0]
    assert 0 < log["rewards/iou/mean"] < 1 and log["decomposed/positive"] > 0 and log["decomposed/negative"] > 0
    line = f"--checkpoint-path {run} --dataset-name boxes.jsonl --subset-size 2 --num-samples 16"
    assert generate_samples.main([*line.split(), "--output-path", "samples.json"]) == 0
    found = {}
    for one in json.loads((folder / "samples.json").read_text()):
        found |= dict(zip(one["reason"], one["correct"], strict=True))
    assert found == {"IoU 1.00": True, "IoU 0.61": True, "no answer": False}
    capsys.readouterr()
    assert pass_at_k.main(["--samples-path", "samples.json", "--output-path", "results.json"]) == 0
    assert "Pass@16: 100.00%" in capsys.readouterr().out


def test_iou_is_refused_where_no_box_is_asked_for(folder, capsys):
    line = ["--mode", "nsr", "--dataset-name", "counting", "--reward", "iou", *SMALL.split()]
    assert main.main(line) == 2
    assert capsys.readouterr().err.startswith("error: --reward iou: no question asks for a box")


def test_a_training_prompt_and_a_sampling_prompt_name_the_same_frame(folder):
    """Of other limits the frame is another one, and the prompt says so, in both programs."""
    from sampling.preparation import prepare as prepare_sampling
    from settings.arguments import parse_args
    from training.preparing import load_data, resolve_data, resolve_defaults

    limits = ["--min-pixels", "50000", "--max-pixels", "60000"]
    args = parse_args(["--mode", "nsr", "--dataset-name", "grounding", *SMALL.split(), *limits])
    resolve_data(args)
    resolve_defaults(args)
    trained = load_data(args)[0].questions[0]
    flags = ["--checkpoint-path", "tiny", "--dataset-name", "grounding", "--subset-size", "2", *limits]
    asked = generate_samples.parse_args([*flags, "--output-path", "s.json"])
    asked.dataset_name = asked.dataset_name[0]
    sampled = prepare_sampling(asked).questions[0]
    assert trained.box_frame == sampled.box_frame == (224, 224) and trained.image_size == (112, 112)
    assert trained.instruction == sampled.instruction and "224 wide" in trained.instruction


def test_shown_boxes_are_asked_for_as_they_are_sampled(folder, capsys):
    """In the frame of the model, which must be known."""
    shown = "--dataset-name grounding --subset-size 2 --min-pixels 50000 --max-pixels 60000 --show-data"
    assert generate_samples.main(["--checkpoint-path", "tiny", *shown.split()]) == 0
    asked = "Answer with its box as [x1, y1, x2, y2], in pixels of the image, which is 224 wide and 224 high."
    assert capsys.readouterr().out.count(asked) == 3, "of each question, and in what the first is asked as"
    served = "--backend server --server-url http://127.0.0.1:1/v1 --server-model other"
    assert generate_samples.main([*served.split(), *shown.split()]) == 2
    assert "name it by --checkpoint-path" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["box", "list"])
def test_shown_gold_boxes_are_drawn_where_they_are(kind, folder, capsys):
    """On the small copy of a picture twice as large; a list of four numbers is no box."""
    Image.new("RGB", (480, 480), "white").save(folder / "chart.png")
    row = {"image": "chart.png", "question": "Where is it?", "answer": "[100, 100, 200, 300]", "answer_kind": kind}
    (folder / "test.jsonl").write_text(json.dumps(row))
    line = f"--checkpoint-path tiny --dataset-name custom --dataset-path {folder} --show-data page.html"
    assert generate_samples.main(line.split()) == 0
    (uri,) = re.findall(r"base64,([^\"]+)", (folder / "page.html").read_text())
    seen = Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB")
    white, gold = (255, 255, 255), ImageColor.getrgb(GOLD)
    assert seen.size == (240, 240)
    edges = [seen.getpixel(place) for place in ((50, 100), (100, 100), (75, 50), (75, 150))]
    assert edges == [gold if kind == "box" else white] * 4 and seen.getpixel((75, 100)) == white
    assert generate_samples.main(line.replace("page.html", "none/page.html").split()) == 2
    assert capsys.readouterr().err == "error: --show-data folder none does not exist: create it, or write elsewhere\n"


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mode", complete_modes())
def test_every_mode_trains_on_every_task(folder, mode, task):
    assert main.main(["--mode", mode, "--dataset-name", task, *SMALL.split()]) == 0


def test_without_a_subset_and_a_held_out_share_the_frame_is_named_too(folder):
    from settings.arguments import parse_args
    from training.preparing import load_data, resolve_data, resolve_defaults

    Image.new("RGB", (112, 112), "white").save(folder / "chart.png")
    row = {"image": "chart.png", "question": "Where is the bar?", "answer": "[10, 10, 60, 100]"}
    (folder / "boxes.jsonl").write_text(json.dumps(row) + "\n")
    own = ["--dataset-name", "boxes.jsonl", "--answer-kind", "box", "--rule", "iou"]
    args = parse_args(["--mode", "nsr", *own, *SMALL.replace("--subset-size 4 ", "").split()])
    resolve_data(args)
    resolve_defaults(args)
    train, held_out = load_data(args)
    assert args.subset_size is None and not len(held_out)
    assert [question.box_frame for question in train.questions] == [(112, 112)]
