"""What the tests of finished runs share: short runs of the embedded model, their samples, what a refusal says.

`runs` of conftest.py are `finished_runs`, once a process.
"""

import contextlib
import json
import shutil
from pathlib import Path

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


def finished_runs(root: Path) -> dict[str, Path]:
    """Finished runs of two updates: `lora`, `full`, and `folder` on a copy of the model at runs/base."""
    shutil.copytree(TINY_FOLDER, root / "base")
    assert train(root, "--mode nsr --vlm-name tiny") == 0
    assert train(root, "--mode w-reinforce --vlm-name tiny --no-lora --learning-rate 1e-4") == 0
    with contextlib.chdir(root):  # named from there, it is found from everywhere
        assert train(root, "--mode nsr --vlm-name", "base") == 0
    names = {"lora": "tiny", "full": "tiny", "folder": "base"}
    modes = {"lora": "nsr", "full": "w-reinforce", "folder": "nsr"}
    return {key: root / f"{names[key]}-{NAME}-{modes[key]}-7" for key in names} | {"base": root / "base"}


def refused(capsys, code: int) -> str:
    """The one line of an error; what stands before it is of earlier commands."""
    told = capsys.readouterr().err
    line = told.splitlines()[-1]
    assert code == 2 and line.startswith("error: ") and "Traceback" not in told, told
    return line


def same_weights(one: Path, other: Path) -> None:
    files = [next(root.glob("*/*model.safetensors")) for root in (one, other)]
    tensors = [load_file(file) for file in files]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


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
