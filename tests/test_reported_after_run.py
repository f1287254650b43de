"""After the run: its card, its base model that has moved, a second stage, merging, more epochs and more samples."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import generate_samples
import main
from models.registry import TINY_FOLDER
from training.arguments import parse_args

ROOT = Path(__file__).parent.parent
SHORT = "--dataset-name synthetic --subset-size 4 --num-generations 2 --batch-size 4 --gradient-accumulation-steps 1"
SHORT += " --updates-per-rollout 2 --max-completion-length 12 --learning-rate 1e-3 --held-out 0 --report-to none"
SHORT += " --disable-gradient-checkpointing --seed 7 --prompt short"
NAME = "prm-large-train-v2"


def train(root, line, *more) -> int:
    return main.main([*SHORT.split(), *line.split(), *map(str, more), "--output-root", str(root)])


def sample(checkpoint, output, *more) -> int:
    base = ["--checkpoint-path", checkpoint, "--dataset-name", "synthetic", "--output-path", output]
    flags = ["--subset-size", 2, "--num-samples", 3, "--max-new-tokens", 12]
    return generate_samples.main([str(word) for word in (*base, *flags, *more)])


def samples(output) -> list:
    return [entry["samples"] for entry in json.loads(Path(output).read_text())]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs of two updates: `lora`, `full`, and `folder` on a copy of the model at runs/base."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(TINY_FOLDER, root / "base")
    assert train(root, "--mode nsr --vlm-name tiny") == 0
    assert train(root, "--mode w-reinforce --vlm-name tiny --no-lora --learning-rate 1e-4") == 0
    with contextlib.chdir(root):  # named from there, it is found from everywhere
        assert train(root, "--mode nsr --vlm-name", "base") == 0
    names = {"lora": "tiny", "full": "tiny", "folder": "base"}
    modes = {"lora": "nsr", "full": "w-reinforce", "folder": "nsr"}
    return {key: root / f"{names[key]}-{NAME}-{modes[key]}-7" for key in names} | {"base": root / "base"}


@pytest.fixture
def moved(runs, tmp_path):
    """A run folder whose base model is no longer where it was: (run folder, where the base is now)."""
    run, base = shutil.copytree(runs["folder"], tmp_path / "run"), shutil.copytree(runs["base"], tmp_path / "new")
    settings = json.loads((run / "training_settings.json").read_text())
    text = json.dumps(settings).replace(str(runs["base"]), str(tmp_path / "gone"))
    (run / "training_settings.json").write_text(text)
    return run, base


def refused(capsys, code: int) -> str:
    """The one line of an error; what stands before it is of earlier commands."""
    told = capsys.readouterr().err
    line = told.splitlines()[-1]
    assert code == 2 and line.startswith("error: ") and "Traceback" not in told, told
    return line


# -- the card ---------------------------------------------------------------------------------------------------------


def check_metadata(text: str) -> dict:
    """What the hub refuses a card for, without asking it: names that are paths, words it does not know."""
    data = yaml.safe_load(text.split("---\n")[1])
    assert ModelCard(text).data.to_dict() == data
    for name in ([data["base_model"]] if "base_model" in data else []) + data.get("datasets", []):
        validate_repo_id(name)
    assert all(isinstance(tag, str) and "/" not in tag for tag in data["tags"])
    assert data["library_name"] in ("peft", "transformers") and data["pipeline_tag"] == "image-text-to-text"
    assert data.get("license", "other") in ("apache-2.0", "mit", "other") and "licence" not in data
    return data


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


def card_of(model: dict, **settings) -> str:
    from training.model_card import model_card

    defaults = vars(parse_args(["--mode", settings.pop("mode", "nsr")]))
    settings = {**defaults, "num_processes": 1, "learning_rate": 1e-5, "max_completion_length": 768,
                "gradient_accumulation_steps": 2, **settings}  # fmt: skip
    data = {"name": "chartqa", "split": "train", "num_questions": 10_000}
    return model_card("run", {"settings": settings, "model": model, "data": data, "versions": {"trl": "1.16"}})


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
    from models.merge import main as merge

    run, base = moved
    assert "--base-model" in refused(capsys, train(tmp_path, "--mode psr --vlm-name", run))
    assert "--base-model" in refused(capsys, merge([str(run), str(tmp_path / "merged")]))
    assert train(tmp_path, "--mode psr --vlm-name", run, "--base-model", base) == 0
    assert sample(tmp_path / f"run-{NAME}-psr-7", tmp_path / "s.json") == 0, "the new run knows the new place"
    assert merge([str(run), str(tmp_path / "merged"), "--base-model", str(base)]) == 0


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
@pytest.mark.parametrize("older", [False, True])
def test_the_damage_message_names_the_file_that_differs(runs, name, older, tmp_path, capsys):
    from models.fingerprints import files_fingerprint, weight_files

    run = shutil.copytree(runs["lora"], tmp_path / "run")
    if older:  # as recorded before each file had a fingerprint of its own
        settings = json.loads((run / "training_settings.json").read_text())
        settings["weights"] = files_fingerprint(weight_files(run))
        (run / "training_settings.json").write_text(json.dumps(settings))
        assert sample(run, tmp_path / "whole.json") == 0
        capsys.readouterr()
    if name == "adapter_config.json":  # what one does about a base model that has moved
        config = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**config, "base_model_name_or_path": "/new/place"}))
    else:
        content = bytearray((run / name).read_bytes())
        content[-1] ^= 1
        (run / name).write_bytes(content)
    error = refused(capsys, sample(run, tmp_path / "s.json"))
    assert f"{name} differs" in error or (older and name in error)
    assert older or ("--base-model" in error) == (name == "adapter_config.json")


@pytest.mark.parametrize("path", ["tiny", "full", "missing"])
def test_base_model_is_for_adapters_only(runs, path, tmp_path, capsys):
    checkpoint = {"tiny": "tiny", "full": runs["full"], "missing": tmp_path / "no-such-run"}[path]
    error = refused(capsys, sample(checkpoint, tmp_path / "s.json", "--base-model", "tiny"))
    assert "only an adapter has a base model" in error or "no such folder" in error
    code = train(tmp_path, "--mode nsr --vlm-name", checkpoint, "--base-model", "tiny")
    error = refused(capsys, code)
    assert "only an adapter has a base model" in error or "no run folder with an adapter" in error


# -- a second stage ---------------------------------------------------------------------------------------------------


def probe() -> dict:
    processor = AutoProcessor.from_pretrained(TINY_FOLDER)
    return processor.tokenizer("Which bar is the tallest?", return_tensors="pt")


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(**probe()).logits.float()


def base_model() -> torch.nn.Module:
    return AutoModelForImageTextToText.from_pretrained(TINY_FOLDER, dtype=torch.float32)


def adapted(run) -> torch.nn.Module:
    return PeftModel.from_pretrained(base_model(), run)


def trainer_of(tmp_path, line, *more):
    args = parse_args([*SHORT.split(), *line.split(), *map(str, more), "--output-root", str(tmp_path)])
    config, questions, held_out, *_ = main.prepare(args)
    return main.build_trainer(args, config, questions, held_out)


def test_a_second_stage_starts_from_the_very_adapter_of_the_first(runs, tmp_path):
    trainer = trainer_of(tmp_path, "--mode psr --vlm-name", runs["lora"], "--kl-beta", 0.1)
    expected = logits(adapted(runs["lora"]))
    assert (logits(trainer.model) - expected).abs().max() < 1e-5
    assert (expected - logits(base_model())).abs().max() > 1e-3, "the first stage has moved something"
    trainer.model.set_adapter("ref")  # what the KL term compares with
    assert (logits(trainer.model) - expected).abs().max() < 1e-5


def test_the_kl_term_of_a_second_stage_is_zero_at_its_start(runs, tmp_path):
    assert train(tmp_path, "--mode nsr --vlm-name", runs["lora"], "--kl-beta", 0.1) == 0
    run = tmp_path / f"{runs['lora'].name}-{NAME}-nsr-7"
    log = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert log[0]["kl"] == pytest.approx(0, abs=1e-7) and log[1]["kl"] > 1e-6
    assert not list(run.rglob("ref")), "the start is in the first run folder and not saved again"


def test_a_second_stage_in_bfloat16_leaves_the_weights_of_the_base_model_alone(runs):
    from sampling.checkpoint import find_checkpoint
    from training.starting import with_adapter

    base = AutoModelForImageTextToText.from_pretrained(TINY_FOLDER, dtype=torch.bfloat16)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = with_adapter(base, find_checkpoint(str(runs["lora"])), zero3=False)
    after = {name.replace(".base_layer", ""): value for name, value in model.get_base_model().state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    saved = load_file(runs["lora"] / "adapter_model.safetensors")
    trained = {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == saved.keys() and all(torch.equal(trained[name], saved[name]) for name in saved)


def test_the_run_folder_of_a_second_stage_is_both_stages_by_itself(runs, tmp_path):
    first = shutil.copytree(runs["lora"], tmp_path / "first")
    assert train(tmp_path, "--mode w-reinforce --vlm-name", first) == 0
    second = tmp_path / f"first-{NAME}-w-reinforce-7"
    shutil.rmtree(first)
    assert sample(second, tmp_path / "s.json") == 0
    settings = json.loads((tmp_path / "s.settings.json").read_text())
    assert settings["method"] == "w-reinforce" and settings["model"]["name"] == "tiny"
    start = json.loads((second / "training_settings.json").read_text())["model"]["start"]
    assert start["mode"] == "nsr" and start["folder"] == str(first)
    assert "Before that it was trained with NSR" in (second / "README.md").read_text()
    ours, base, before = (logits(model) for model in (adapted(second), base_model(), adapted(runs["lora"])))
    assert (ours - before).abs().max() > 1e-4 and (ours - base).abs().max() > 1e-3


@pytest.mark.slow
def test_a_second_stage_that_is_interrupted_goes_on_exactly(runs, tmp_path):
    line = ("--mode nsr --kl-beta 0.1 --save-steps 1 --vlm-name", runs["lora"])
    assert train(tmp_path / "whole", *line, "--max-steps", 3) == 0
    assert train(tmp_path / "broken", *line, "--max-steps", 2) == 0
    assert train(tmp_path / "broken", *line, "--max-steps", 3, "--resume") == 0
    same_weights(tmp_path / "whole", tmp_path / "broken")


def same_weights(one: Path, other: Path) -> None:
    files = [next(root.glob("*/*model.safetensors")) for root in (one, other)]
    tensors = [load_file(file) for file in files]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--lora-rank 16", "--lora-rank 16: the adapter in"),
        ("--lora-alpha 7", "--lora-alpha 7.0: the adapter in"),
        ("--lora-targets q_proj", "--lora-targets q_proj: the adapter in"),
        ("--no-lora", "--no-lora trains every weight"),
    ],
)
def test_another_shape_than_the_adapters_is_refused_with_the_way_out(runs, flags, told, tmp_path, capsys):
    error = refused(capsys, train(tmp_path, f"--mode psr {flags} --vlm-name", runs["lora"]))
    assert told in error and "python -m models.merge" in error and not list(tmp_path.iterdir())


def test_a_second_stage_asks_as_the_first_did_unless_told_otherwise(runs, tmp_path):
    line = "--mode psr --dataset-name synthetic --subset-size 4 --report-to none --vlm-name"
    for more, prompt, pixels in (
        ([], "short", 401408),
        (["--prompt", "structured", "--max-pixels", "9000"], "structured", 9000),
    ):
        args = parse_args([*line.split(), str(runs["lora"]), *more])
        main.resolve_defaults(args)
        assert (args.prompt, args.max_pixels, args.max_completion_length) == (prompt, pixels, 12)


@pytest.mark.parametrize("flags", ["", "--no-lora"])
def test_a_second_stage_on_fully_trained_weights(runs, flags, tmp_path):
    assert train(tmp_path, f"--mode nsr {flags} --vlm-name", runs["full"]) == 0
    second = tmp_path / f"{runs['full'].name}-{NAME}-nsr-7"
    assert sample(second, tmp_path / "s.json") == 0
    assert "Before that it was trained with W-REINFORCE" in (second / "README.md").read_text()


def test_a_checkpoint_inside_a_run_begins_a_second_stage_too(runs, tmp_path):
    assert train(tmp_path, "--mode psr --vlm-name", runs["lora"] / "checkpoint-2") == 0
    assert (tmp_path / f"{runs['lora'].name}-checkpoint-2-{NAME}-psr-7").is_dir()


# -- merging ----------------------------------------------------------------------------------------------------------


def test_a_merged_folder_is_a_full_model_for_plain_transformers(runs, tmp_path, capsys):
    from models.merge import main as merge

    out = tmp_path / "merged"
    assert merge([str(runs["lora"]), str(out)]) == 0
    model = AutoModelForImageTextToText.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.float32 and (logits(model) - logits(adapted(runs["lora"]))).abs().max() < 1e-5
    ours, theirs = AutoProcessor.from_pretrained(out), AutoProcessor.from_pretrained(runs["lora"])
    assert ours.image_processor.size == theirs.image_processor.size and ours.chat_template == theirs.chat_template
    generation = json.loads((TINY_FOLDER / "generation_config.json").read_text())
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == generation["eos_token_id"]
    check_metadata((out / "README.md").read_text())
    assert sample(out, tmp_path / "merged.json") == sample(runs["lora"], tmp_path / "beside.json") == 0
    assert samples(tmp_path / "merged.json") == samples(tmp_path / "beside.json")
    assert json.loads((tmp_path / "merged.settings.json").read_text())["prompt"]["name"] == "short"

    before = (out / "model.safetensors").read_bytes()
    assert "--overwrite" in refused(capsys, merge([str(runs["lora"]), str(out)]))
    assert (out / "model.safetensors").read_bytes() == before
    assert merge([str(runs["lora"]), str(out), "--overwrite", "--dtype", "bfloat16"]) == 0
    assert {value.dtype for value in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert train(tmp_path, "--mode nsr --lora-rank 2 --vlm-name", out) == 0, "a new adapter of another rank"


@pytest.mark.parametrize(
    ("source", "output", "told"),
    [
        ("lora", "thesis", "no model folder"),
        ("lora", "none/merged", "does not exist"),
        ("lora", "lora", "folder that is read"),
        ("lora", "lora/merged", "folder that is read"),
        ("full", "merged", "no adapter"),
        ("tiny", "merged", "no adapter"),
        ("nowhere/at/all", "merged", "no such folder"),
    ],
)
def test_a_merge_that_cannot_be_is_refused_and_touches_nothing(runs, source, output, told, tmp_path, capsys):
    from models.merge import main as merge

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    place = runs["lora"] / output.removeprefix("lora/") if output.startswith("lora/") else tmp_path / output
    place = runs["lora"] if output == "lora" else place
    before = sorted(path for path in [*tmp_path.rglob("*"), *runs["lora"].rglob("*")])
    assert told in refused(capsys, merge([str(runs.get(source, source)), str(place), "--overwrite"]))
    assert sorted(path for path in [*tmp_path.rglob("*"), *runs["lora"].rglob("*")]) == before


# -- more epochs ------------------------------------------------------------------------------------------------------

LONGER = "--mode w-reinforce --vlm-name tiny --subset-size 8 --held-out 0.1"


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    assert train(root, LONGER, "--num-epochs", 2) == 0
    return root


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(["--num-epochs", 1], ["--num-epochs", 2], id="an epoch"),
        pytest.param(["--max-steps", 3], ["--num-epochs", 2], id="amid a rollout batch", marks=pytest.mark.slow),
    ],
)
def test_a_finished_run_that_goes_on_ends_as_the_longer_one_bit_for_bit(two_epochs, first, then, tmp_path, capsys):
    assert train(tmp_path, LONGER, *first) == 0
    error = refused(capsys, train(tmp_path, LONGER, *first))
    assert error.index("--resume") < error.index("--overwrite"), "what keeps the run is named first"
    assert train(tmp_path, LONGER, *then, "--resume") == 0
    same_weights(tmp_path, two_epochs)
    steps = [
        {(entry["step"], entry["loss"], entry["entropy"]) for entry in log if "loss" in entry}
        for log in (
            json.loads(next(root.glob("*/trainer_state.json")).read_text())["log_history"]
            for root in (tmp_path, two_epochs)
        )
    ]
    assert steps[0] == steps[1] and len(steps[0]) == 8
    assert json.loads(next(tmp_path.glob("*/training_settings.json")).read_text())["finished"] is True


def test_a_run_that_has_got_as_far_already_says_how_far(two_epochs, capsys):
    for length in (["--num-epochs", 2], ["--num-epochs", 1], ["--max-steps", 5]):
        error = refused(capsys, train(two_epochs, LONGER, *length, "--resume"))
        assert "is finished for 8 updates, 2 epochs" in error and "--overwrite" not in error


def test_other_settings_than_its_length_still_end_a_run(two_epochs, capsys):
    error = refused(capsys, train(two_epochs, LONGER, "--num-epochs", 3, "--resume", "--temperature", 0.5))
    assert "temperature: 1.0 -> 0.5" in error and "num_epochs" not in error


def test_a_run_ended_by_a_collapse_is_trained_further_as_a_second_stage(two_epochs, tmp_path, capsys):
    shutil.copytree(two_epochs, tmp_path / "runs")
    (settings,) = (tmp_path / "runs").glob("*/training_settings.json")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "collapsed": "entropy has doubled"}))
    error = refused(capsys, train(tmp_path / "runs", LONGER, "--num-epochs", 3, "--resume"))
    assert "--stop-on-collapse" in error and "--vlm-name" in error


def test_the_old_result_is_not_taken_for_that_of_a_run_which_goes_on(two_epochs, tmp_path, capsys):
    shutil.copytree(two_epochs, tmp_path / "runs")
    (settings,) = (tmp_path / "runs").glob("*/training_settings.json")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "finished": False}))
    error = refused(capsys, sample(settings.parent, tmp_path / "s.json"))
    assert "is not finished" in error and "checkpoint-8" in error
    assert sample(settings.parent / "checkpoint-8", tmp_path / "s.json") == 0


@pytest.mark.slow
def test_measuring_changes_no_update(two_epochs, tmp_path):
    assert train(tmp_path, LONGER, "--num-epochs", 2, "--eval-steps", 3) == 0
    same_weights(tmp_path, two_epochs)


# -- more samples -----------------------------------------------------------------------------------------------------


def drawn(output, problems, number, *more) -> int:
    return sample("tiny", output, "--subset-size", problems, "--num-samples", number, *more)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("at_once")
    for suffix in ("json", "jsonl"):
        assert drawn(folder / f"s.{suffix}", 4, 16) == 0
    return folder


@pytest.mark.parametrize(
    ("suffix", "steps"),
    [("json", [(4, 8), (4, 16)]), ("json", [(2, 16), (4, 16)]), ("jsonl", [(2, 3), (3, 8), (4, 16)])],
)
def test_samples_and_problems_that_are_added_are_those_of_one_job(at_once, suffix, steps, tmp_path):
    output = tmp_path / f"s.{suffix}"
    for problems, number in steps:
        assert drawn(output, problems, number) == 0
    assert output.read_bytes() == (at_once / output.name).read_bytes()
    assert (suffix == "jsonl") or (tmp_path / "s.settings.json").read_text() == (
        at_once / "s.settings.json"
    ).read_text()


def test_a_file_from_before_settings_said_what_marks_the_answers_is_added_to(at_once, tmp_path, capsys):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    output, settings = tmp_path / "s.json", tmp_path / "s.settings.json"
    older = json.loads(settings.read_text())
    del older["data"]["marked_by"]
    settings.write_text(json.dumps(older))
    assert "finished already" in refused(capsys, drawn(output, 4, 16))
    assert drawn(output, 4, 17) == 0
    assert [texts[:16] for texts in samples(output)] == samples(at_once / "s.json")


def test_shards_add_to_a_finished_file_and_the_last_one_replaces_it(at_once, tmp_path):
    output = tmp_path / "s.json"
    assert drawn(output, 4, 8) == 0
    before = output.read_bytes()
    assert drawn(output, 4, 16, "--shard", "2/2") == 0
    assert output.read_bytes() == before, "whole until all is there"
    assert drawn(output, 4, 16, "--shard", "2/2") == 0, "and again, with its part done"
    assert drawn(output, 4, 16, "--shard", "1/2") == 0
    assert output.read_bytes() == (at_once / "s.json").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "journal" in path.name]


@pytest.mark.parametrize(
    ("problems", "number", "flags", "told"),
    [
        (4, 8, [], "holds 16 samples a problem, and --num-samples 8 asks for fewer"),
        (3, 16, [], "1 problems that are not asked for"),
        (4, 16, [], "finished already: ask for more (--num-samples"),
        (4, 32, ["--temperature", "0.5"], "sampling.temperature: 1.0 -> 0.5"),
        (4, 32, ["--seed", "3"], "sampling.seed: 2025 -> 3"),
        (4, 32, ["--merge"], "4 of 4 problems are not sampled yet"),
    ],
)
def test_a_finished_file_that_cannot_be_added_to_is_left_as_it_is(
    at_once, problems, number, flags, told, tmp_path, capsys
):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert told in refused(capsys, drawn(tmp_path / "s.json", problems, number, *flags))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("spoilt", ["no settings", "settings of another job", "another question"])
def test_nothing_is_added_to_a_file_that_is_not_what_its_settings_say(at_once, spoilt, tmp_path, capsys):
    shutil.copytree(at_once, tmp_path, dirs_exist_ok=True)
    settings, output = tmp_path / "s.settings.json", tmp_path / "s.json"
    if spoilt == "no settings":
        settings.unlink()
    elif spoilt == "settings of another job":
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "run": "0" * 16}))
    else:
        entries = json.loads(output.read_text())
        entries[1]["question"] = "Another one?"
        output.write_text(json.dumps(entries))
    before = output.read_bytes()
    error = refused(capsys, drawn(output, 4, 32))
    assert ("read differently" if spoilt == "another question" else "nothing can be added") in error
    assert output.read_bytes() == before


def test_the_stock_backend_adds_problems_but_no_samples(tmp_path, capsys):
    output = tmp_path / "s.json"
    assert drawn(output, 1, 2, "--backend", "generate") == 0
    assert "--backend generate" in refused(capsys, drawn(output, 1, 3, "--backend", "generate"))
    assert drawn(output, 2, 2, "--backend", "generate") == 0
    assert [len(texts) for texts in samples(output)] == [2, 2]
