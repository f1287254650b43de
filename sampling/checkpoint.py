"""What --checkpoint-path means: a run folder of ours (LoRA adapter or full weights), a model folder, a hub id, `tiny`.

A run folder brings its prompt and pixel limits along in training_settings.json; a flag that contradicts them is an
error, because training and evaluation must ask the same question.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.weights import adapter_file, shapes
from training.checkpoints import MANIFEST, checkpoints, damage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SETTINGS_FILE = "training_settings.json"
MIN_PIXELS, MAX_PIXELS, MAX_NEW_TOKENS = 3136, 401408, 768  # where no run folder says otherwise
_WHOLE_FILE = 1 << 30  # larger files are fingerprinted by a sample of their bytes
_RUN_NAME = "-prm-large-train-v2"
_GRPO_NAME = re.compile(r"-grpo-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """Everything about the model that a samples file records, known before the model is loaded."""

    path: str
    model_name: str  # what models.registry loads: short name, folder or hub id
    source: str
    method: str  # training mode, or "base"
    adapter: Path | None = None
    prompt: str = "structured"
    min_pixels: int | None = MIN_PIXELS
    max_pixels: int | None = MAX_PIXELS
    max_new_tokens: int = MAX_NEW_TOKENS
    saved: dict[str, Any] = field(default_factory=dict)  # prompt and pixel limits that a run folder fixes

    def fixed(self, name: str, flag: Any) -> Any:
        """The value of a setting: the flag's when it was given, else the checkpoint's; never two different ones."""
        if flag is not None and name in self.saved and flag != self.saved[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} {flag} contradicts {self.path}, which was trained with "
                f"{self.saved[name]}: leave the flag out"
            )
        return getattr(self, name) if flag is None else flag


def find_checkpoint(path: str) -> Checkpoint:
    """Resolves --checkpoint-path; ValueError for what is neither a checkpoint nor a known model."""
    from models.registry import resolve_model

    folder = _folder(path)
    if folder is None:
        entry = resolve_model(path)
        return Checkpoint(path, path, entry.source, "base", max_new_tokens=_default_length(entry))
    settings = _read_settings(folder)
    has_adapter, has_model = (folder / "adapter_config.json").is_file(), (folder / "config.json").is_file()
    if not (has_adapter or has_model):
        steps = checkpoints(folder)
        way_out = f"the run has not finished, its last checkpoint is {steps[0]}" if steps else "name another folder"
        raise ValueError(f"checkpoint folder {path} holds neither an adapter nor a model: {way_out}")
    if settings is None:
        if has_adapter:
            raise ValueError(
                f"{path} holds an adapter but no {SETTINGS_FILE}: it was not made by this project's main.py"
            )
        entry = resolve_model(str(folder))
        return Checkpoint(path, str(folder), entry.source, "base", max_new_tokens=_default_length(entry))
    return _trained(path, folder, settings, has_adapter)


def _trained(path: str, folder: Path, settings: dict, has_adapter: bool) -> Checkpoint:
    from models.registry import resolve_model

    try:
        saved = {
            "prompt": settings["prompt"]["name"],
            "min_pixels": settings["image"]["min_pixels"],
            "max_pixels": settings["image"]["max_pixels"],
        }
        name, method = settings["model"]["name"], settings["settings"]["mode"]
        length = settings["settings"].get("max_completion_length") or MAX_NEW_TOKENS
        prompt_hash = settings["prompt"]["hash"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / SETTINGS_FILE} lacks {error}: it was not made by this project's main.py") from None
    texts, numbers = (name, method, saved["prompt"], prompt_hash), (saved["min_pixels"], saved["max_pixels"], length)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise ValueError(f"{folder / SETTINGS_FILE} is damaged: copy it again from where main.py wrote it")
    _check_prompt(path, saved["prompt"], prompt_hash)
    if not has_adapter:
        name = str(folder)
    source = resolve_model(name).source
    adapter = folder if has_adapter else None
    _check_unchanged(folder, settings)
    return Checkpoint(path, name, source, method, adapter, max_new_tokens=length, saved=saved, **saved)


def _check_prompt(path: str, name: str, saved_hash: str) -> None:
    from charts.prompt import PROMPTS, prompt_hash

    if name not in PROMPTS or prompt_hash(name) != saved_hash:
        state = "does not exist here" if name not in PROMPTS else "reads differently now"
        raise ValueError(f"{path} was trained with the prompt {name!r} ({saved_hash}), which {state}")


def _check_unchanged(folder: Path, settings: dict) -> None:
    """ValueError when the weights are not those that main.py has written: by its manifest or its settings."""
    problem = damage(folder) if (folder / MANIFEST).is_file() else None
    known = settings.get("weights") if (folder / SETTINGS_FILE).is_file() else None
    if known and weights_fingerprint(folder) != known:
        problem = "its weights have other content than when they were saved"
    if problem:
        raise ValueError(f"checkpoint {folder} is damaged: {problem}; copy it again")


def _default_length(entry: object) -> int:
    return getattr(entry, "max_completion_length", None) or MAX_NEW_TOKENS


def _folder(path: str) -> Path | None:
    """The folder meant by `path`; None when it names a model. ...-grpo-<seed> may be called ...-<seed>."""
    from models.registry import MODELS

    if path in MODELS:
        return None
    folder = Path(path).expanduser()
    for place in (folder, folder.parent / _GRPO_NAME.sub(r"-\1", folder.name)):
        if place.is_dir():
            return place
    is_hub_id = path.count("/") == 1 and not path.startswith((".", "/", "~")) and not folder.parent.is_dir()
    if "/" not in path or (is_hub_id and _RUN_NAME not in path):
        return None
    raise ValueError(f"--checkpoint-path {path}: no such folder; main.py makes it and fills it when training ends")


def _read_settings(folder: Path) -> dict | None:
    """training_settings.json of the folder, or of the run it is an intermediate checkpoint of."""
    places = [folder, folder.parent] if folder.name.startswith("checkpoint-") else [folder]
    for place in places:
        file = place / SETTINGS_FILE
        if file.is_file():
            try:
                return json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise ValueError(f"{file} cannot be read: {error}") from None
    return None


def check_adapter(checkpoint: Checkpoint) -> None:
    """ValueError when the adapter's tensors do not fit the base model; reads headers and configurations only."""
    from models.registry import load_config

    if checkpoint.adapter is None:
        return
    _check_adapter_config(checkpoint.adapter / "adapter_config.json")
    tensors = shapes(adapter_file(checkpoint.adapter))
    layers = {int(m[1]) for m in (re.search(r"layers\.(\d+)\.", name) for name in tensors) if m}
    widths = {shape[-1] for name, shape in tensors.items() if re.search(r"q_proj\.lora_A|k_proj\.lora_A", name)}
    text = load_config(checkpoint.model_name).get_text_config()
    if (layers and max(layers) >= text.num_hidden_layers) or (widths and widths != {text.hidden_size}):
        raise ValueError(
            f"the adapter in {checkpoint.path} was trained for another base model: it has {max(layers) + 1} layers of "
            f"width {min(widths, default='?')}, {checkpoint.model_name} has {text.num_hidden_layers} of "
            f"{text.hidden_size}"
        )


def _check_adapter_config(file: Path) -> None:
    """ValueError for what is no LoRA of ours: other kinds may name modules to import or texts to download."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind, rank, modules = config["peft_type"], config["r"], config.get("megatron_config")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{file} is damaged: copy it again") from None
    if kind != "LORA" or type(rank) is not int or modules or config.get("auto_mapping"):
        raise ValueError(f"{file} describes no LoRA adapter as main.py makes them")


def model_fingerprint(source: str) -> str:
    """The commit of a hub model; a hash over the configuration and weights of a folder."""
    from models.registry import load_config

    folder = Path(source)
    if not folder.is_dir():
        return getattr(load_config(source), "_commit_hash", None) or "unknown"
    return files_fingerprint([folder / "config.json", *sorted(folder.glob("*.safetensors"))])


def weights_fingerprint(folder: Path) -> str:
    """A hash over what main.py has trained: the adapter, or the weights of the whole model."""
    is_adapter = (folder / "adapter_config.json").is_file()
    return adapter_fingerprint(folder) if is_adapter else model_fingerprint(str(folder))


def adapter_fingerprint(folder: Path) -> str:
    return files_fingerprint([folder / "adapter_config.json", adapter_file(folder)])


def files_fingerprint(files: list[Path]) -> str:
    """First 16 hex digits of a sha256 over the files; of a file above 1 GiB, over its size and 64 pieces of it."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE_FILE:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            for piece in range(64):
                stream.seek(piece * (size - (1 << 20)) // 63)
                digest.update(stream.read(1 << 20))
    return digest.hexdigest()[:16]


def merges_adapter(checkpoint: Checkpoint, dtype: str, choice: str) -> bool:
    """Whether the adapter is added into the weights.

    "auto" does so in float32, where it changes nothing but the last bits and saves two matrix products a layer; in
    half precision the sum would be rounded, so the adapter stays beside the weights.
    """
    return checkpoint.adapter is not None and (choice == "yes" or (choice == "auto" and dtype == "float32"))


def load(checkpoint: Checkpoint, *, dtype: str, device: str, merge_adapter: bool = False) -> PreTrainedModel:
    """The model, with its adapter, in evaluation mode on the device."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    from models.registry import load_model

    disable_progress_bar()
    model = load_model(checkpoint.model_name, dtype=getattr(torch, dtype))
    if checkpoint.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(checkpoint.adapter))
        if merge_adapter:
            model = model.merge_and_unload()
    return model.to(device).eval()
