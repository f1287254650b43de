"""After the run: its card, and its base model that has moved."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from PIL import Image

from charts.record import ChartQuestion
from checkpoints import card_task
from models.families import family_of
from models.inputs import framed, prompt_inputs
from models.registry import TINY_FOLDER, load_processor
from settings.arguments import parse_args
from tests.after_run import NAME, adapted, check_metadata, logits, refused, sample, samples, train

ROOT = Path(__file__).parent.parent


@pytest.fixture
def moved(runs, tmp_path):
    """A run folder whose base model is no longer where it was: (run folder, where the base is now)."""
    run, base = shutil.copytree(runs["folder"], tmp_path / "run"), shutil.copytree(runs["base"], tmp_path / "new")
    settings = json.loads((run / "training_settings.json").read_text())
    text = json.dumps(settings).replace(str(runs["base"]), str(tmp_path / "gone"))
    (run / "training_settings.json").write_text(text)
    return run, base


# -- the card ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "library", "method"), [("lora", "peft", "NSR"), ("full", "transformers", "W-REINFORCE")]
)
def test_the_card_names_the_method_its_paper_and_no_path(runs, which, library, method):
    for folder in (runs[which], runs[which] / "checkpoint-2"):
        card = (folder / "README.md").read_text()
        data = check_metadata(card)
        assert data["library_name"] == library and "base_model" not in data, "tiny is on no hub"
        assert f"trained with {method}" in card and "2506.01347" in card and "@inproceedings{zhu2025" in card
        assert "DeepSeekMath" not in card and "None" not in card
        assert str(runs[which].parent) not in card and str(ROOT) not in card


@pytest.mark.parametrize("which", ["lora", "full"])
def test_the_code_of_the_card_answers_a_question_about_a_picture(runs, which, tmp_path, monkeypatch, capsys):
    from charts.loading import load_questions

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / runs[which].name).symlink_to(runs[which])
    load_questions("synthetic", purpose="evaluate").questions[0].open_image().save("chart.png")
    (code,) = re.findall(r"```python\n(.*?)```", (runs[which] / "README.md").read_text(), re.DOTALL)
    assert '"type": "image"' in code and "pipeline(" not in code
    names = {}
    exec(code, names)
    assert capsys.readouterr().out.strip() and names["inputs"]["pixel_values"].numel()
    form = json.loads((runs[which] / "training_settings.json").read_text())["settings"]["prompt"]
    question = ChartQuestion("q", names["question"], ("7",), open_image=lambda: names["chart"])
    asked = prompt_inputs(names["processor"], question, names["chart"], prompt=form)
    assert asked.keys() == names["inputs"].keys()
    assert all(torch.equal(asked[name], names["inputs"][name]) for name in asked), "what the model was trained on"


def card_of(model: dict, data_name: str = "chartqa", **settings) -> str:
    from checkpoints.model_card import model_card

    defaults = vars(parse_args(["--mode", settings.pop("mode", "nsr")]))
    settings = {**defaults, "num_processes": 1, "learning_rate": 1e-5, "max_completion_length": 768,
                "gradient_accumulation_steps": 2, **settings}  # fmt: skip
    data = {"name": data_name, "split": "train", "num_questions": 10_000}
    return model_card("run", {"settings": settings, "model": model, "data": data, "versions": {"trl": "1.16"}})


def test_the_card_names_the_data_of_the_hub_and_no_copy_of_the_users():
    model = {"name": "qwen2-5-3b", "source": "Qwen/Qwen2.5-VL-3B-Instruct"}
    assert check_metadata(card_of(model))["datasets"] == ["HuggingFaceM4/ChartQA"]
    assert "datasets" not in check_metadata(card_of(model, dataset_path="/home/me/ChartQA"))


@pytest.mark.parametrize(
    ("data_name", "settings", "said", "asked"),
    [
        ("counting", {}, "counting questions about images of counting", "How many red objects are there?"),
        ("clevr", {}, "counting questions", "How many red objects are there?"),
        ("things", {"answer_kind": "count"}, "counting questions about images of things", "How many"),
        (
            "grounding",
            {},
            "questions for boxes in images of grounding",
            "Where is the tallest bar? Answer with its box",
        ),
        ("refcoco", {}, "questions for boxes", "in pixels of the image, which is"),
        ("things", {"rule": "iou"}, "questions for boxes in images", "[x1, y1, x2, y2]"),
        ("things", {}, "questions about images of things", "What does the image show?"),
        ("custom", {}, "questions about images of custom", "What does the image show?"),
        ("procedures", {}, "chart questions of procedures", "Which bar is the tallest?"),
    ],
)
def test_a_card_speaks_of_the_questions_that_were_trained_on(data_name, settings, said, asked):
    card = card_of({"name": "tiny", "source": str(TINY_FOLDER)}, data_name, **settings)
    assert said in card and asked in card
    about_charts = "chart-question-answering" in check_metadata(card)["tags"]
    assert about_charts == ("Which bar is the tallest" in card) == ("chart.png" in card) == said.startswith("chart ")


def test_the_example_of_a_card_names_the_frame_of_the_boxes(tmp_path, monkeypatch):
    """As models.inputs.framed does for a model that writes pixels of the resized image, and for one with 0 to 1000."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (300, 150), "white").save("image.png")
    card = card_of({"name": "tiny", "source": str(TINY_FOLDER)}, "grounding")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {"processor": load_processor("tiny", min_pixels=3136, max_pixels=401408), "Image": Image}
    exec(code[code.index("image = ") : code.index("prompt = ")], names)
    size, where = (300, 150), "Where is the tallest bar?"
    question = ChartQuestion("q", where, ("[1, 2, 3, 4]",), answer_kind="box", image_size=size)
    asked = framed(question, names["processor"], 3136, 401408)
    assert names["question"] == f"{asked.question} {asked.instruction}"
    family = replace(family_of(names["processor"]), box_range=lambda processor: 1000)
    monkeypatch.setattr(card_task, "family_of", lambda source: family)
    card = card_of({"name": "t", "source": str(TINY_FOLDER)}, "grounding")
    assert '[x1, y1, x2, y2], each from 0 to 1000."\n' in card


def test_a_card_says_first_of_all_that_the_base_was_in_4_bits():
    model = {"name": "qwen2-5-3b", "source": "Qwen/Qwen2.5-VL-3B-Instruct"}
    head = card_of(model, base_4bit=True).partition("## Use")[0]
    assert "the base was in 4 bits" in head and "on full weights, as below, the answers\ndiffer a little" in head
    assert "4 bits" not in card_of(model)


@pytest.mark.parametrize(
    ("name", "source", "base"),
    [
        ("qwen2-5-3b", "Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("qwen2-5-3b", "/mnt/copies/qwen", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("someone/their-model", "someone/their-model", "someone/their-model"),
        ("/home/me/models/mine", "/home/me/models/mine", None),
        ("mine", "/home/me/models/mine", None),
        (
            "/home/me/.cache/huggingface/hub/models--Qwen--Qwen2-VL-2B-Instruct/snapshots/0123abc",
            "/home/me/.cache/huggingface/hub/models--Qwen--Qwen2-VL-2B-Instruct/snapshots/0123abc",
            "Qwen/Qwen2-VL-2B-Instruct",
        ),
    ],
)
@pytest.mark.parametrize("no_lora", [False, True])
def test_the_base_model_of_a_card_is_a_name_of_the_hub_or_left_out(name, source, base, no_lora):
    text = card_of({"name": name, "source": source}, no_lora=no_lora)
    data = check_metadata(text)
    assert data.get("base_model") == base and "/home/me" not in text and "/mnt" not in text
    assert (data.get("base_model_relation") == "adapter") == (base is not None and not no_lora)


def test_the_card_has_the_licence_of_the_base_model_where_it_is_known(tmp_path):
    data = check_metadata(card_of({"name": "qwen2-5-3b", "source": "Qwen/Qwen2.5-VL-3B-Instruct"}))
    assert (data["license"], data["license_name"]) == ("other", "qwen-research") and "Qwen2.5-VL-3B" in data[
        "license_link"
    ]
    assert (
        check_metadata(card_of({"name": "qwen2-7b", "source": "Qwen/Qwen2-VL-7B-Instruct"}))["license"] == "apache-2.0"
    )
    data = check_metadata(card_of({"name": "internvl3-2b", "source": "OpenGVLab/InternVL3-2B-hf"}))
    assert (data["license"], data["license_name"]) == ("other", "qwen")
    assert data["license_link"] == "https://huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE"
    assert "license" not in check_metadata(card_of({"name": "a/b", "source": "a/b"}))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    assert check_metadata(card_of({"name": str(tmp_path), "source": str(tmp_path)}))["license"] == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert "license" not in check_metadata(card_of({"name": str(tmp_path), "source": str(tmp_path)}))


def test_grpo_cites_its_own_paper():
    card = card_of({"name": "a/b", "source": "a/b"}, mode="grpo")
    assert "trained with GRPO" in card and "2402.03300" in card and "2506.01347" not in card


def test_the_three_lines_of_the_documentation_load_an_adapter(runs, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "after_training.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "PeftModel" in code)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN_FOLDER").symlink_to(runs["lora"])
    names = {}
    exec(code.replace("Qwen/Qwen2.5-VL-3B-Instruct", str(TINY_FOLDER)), names)
    assert isinstance(names["model"], PeftModel)
    assert torch.equal(logits(names["model"].float()), logits(adapted(runs["lora"])))


# -- a base model that has moved --------------------------------------------------------------------------------------


def test_a_base_model_that_has_moved_is_named_with_base_model(moved, runs, tmp_path, capsys):
    run, base = moved
    error = refused(capsys, sample(run, tmp_path / "s.json"))
    assert str(tmp_path / "gone") in error and "training_settings.json" in error and "--base-model" in error
    assert sample(run, tmp_path / "s.json", "--base-model", base) == 0
    assert sample(runs["folder"], tmp_path / "before.json") == 0
    assert samples(tmp_path / "s.json") == samples(tmp_path / "before.json")


def test_a_second_stage_and_a_merge_find_a_base_model_that_has_moved(moved, tmp_path, capsys):
    from checkpoints.merge import main as merge

    run, base = moved
    assert "--base-model" in refused(capsys, train(tmp_path, "--mode psr --vlm-name", run))
    assert "--base-model" in refused(capsys, merge([str(run), str(tmp_path / "merged")]))
    assert train(tmp_path, "--mode psr --vlm-name", run, "--base-model", base) == 0
    assert sample(tmp_path / f"run-{NAME}-psr-7", tmp_path / "s.json") == 0, "the new run knows the new place"
    assert merge([str(run), str(tmp_path / "merged"), "--base-model", str(base)]) == 0


@pytest.mark.slow
def test_a_run_whose_base_model_has_moved_is_resumed(runs, tmp_path, capsys):
    shutil.copytree(runs["base"], tmp_path / "old" / "base")
    root, line = tmp_path / "out", "--mode nsr --vlm-name"
    assert train(root, line, tmp_path / "old" / "base", "--max-steps", 1) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    again = ("--max-steps", 2, "--resume")
    assert "--base-model" in refused(capsys, train(root, line, tmp_path / "old" / "base", *again))
    shutil.copytree(root, tmp_path / "out2")
    assert train(root, line, tmp_path / "old" / "base", *again, "--base-model", tmp_path / "new" / "base") == 0
    assert train(tmp_path / "out2", line, tmp_path / "new" / "base", *again) == 0, "the same weights by another path"


def test_a_base_model_with_other_weights_is_refused(moved, tmp_path, capsys):
    run, base = moved
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    error = refused(capsys, sample(run, tmp_path / "s.json", "--base-model", base))
    assert "other weights" in error and "model.safetensors differs" in error


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_the_damage_message_names_the_file_that_differs(runs, name, tmp_path, capsys):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    if name == "adapter_config.json":  # what one does about a base model that has moved
        config = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**config, "base_model_name_or_path": "/new/place"}))
    else:
        content = bytearray((run / name).read_bytes())
        content[-1] ^= 1
        (run / name).write_bytes(content)
    error = refused(capsys, sample(run, tmp_path / "s.json"))
    assert f"{name} differs" in error
    assert ("--base-model" in error) == (name == "adapter_config.json")


def test_a_finished_run_without_its_adapter_is_not_called_unfinished(runs, tmp_path, capsys):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    (run / "adapter_config.json").unlink()
    assert "the run has finished, so files are missing" in refused(capsys, sample(run, tmp_path / "s.json"))


@pytest.mark.parametrize("path", ["tiny", "full", "missing"])
def test_base_model_is_for_adapters_only(runs, path, tmp_path, capsys):
    checkpoint = {"tiny": "tiny", "full": runs["full"], "missing": tmp_path / "no-such-run"}[path]
    error = refused(capsys, sample(checkpoint, tmp_path / "s.json", "--base-model", "tiny"))
    assert "only an adapter has a base model" in error or "no such folder" in error
    code = train(tmp_path, "--mode nsr --vlm-name", checkpoint, "--base-model", "tiny")
    error = refused(capsys, code)
    assert "only an adapter has a base model" in error or "no run folder with an adapter" in error
