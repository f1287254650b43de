"""What --checkpoint-path means: a run folder of ours (LoRA adapter or full weights), a model folder, a hub id, `tiny`.

A run folder brings its prompt and pixel limits along in training_settings.json; a flag that contradicts them is an
error, because training and evaluation must ask the same question. The base model of an adapter is named there too, and
--base-model says where it is when it has moved.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charts.prompt import of_record, prompt_hash
from checkpoints.fingerprints import differing, file_fingerprints, weight_files
from checkpoints.manifest import MANIFEST, checkpoints, damage, step_of
from common.files import user_path
from models.registry import MODELS, load_config, load_model, resolve_model
from models.weights import adapter_file, shapes
from settings.table import COMPLETION_LENGTH, all_settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SETTINGS_FILE, STATE_FILE = "training_settings.json", "trainer_state.json"
MIN_PIXELS, MAX_PIXELS = (all_settings()[name].default for name in ("min_pixels", "max_pixels"))  # where no run says
_RUN_NAME = "-prm-large-train-v2"
_GRPO_NAME = re.compile(r"-grpo-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """Everything about the model that a samples file records, known before the model is loaded."""

    path: str
    model_name: str  # the model, or the adapter's base model, as it was named: short name, folder or hub id
    source: str  # the folder or hub id that models.registry loads it from
    method: str  # training mode, or "base"
    adapter: Path | None = None
    prompt: str = "structured"
    min_pixels: int | None = MIN_PIXELS
    max_pixels: int | None = MAX_PIXELS
    max_new_tokens: int = COMPLETION_LENGTH
    base_4bit: bool = False  # the base model is loaded in 4 bits
    saved: dict[str, Any] = field(default_factory=dict)  # prompt and pixel limits that a run folder fixes
    record: dict[str, Any] = field(default_factory=dict)  # all of the run folder's training_settings.json

    @property
    def updates(self) -> list[int] | None:
        """[made, planned] updates of the weights; None where nothing says how many."""
        if "updates" in self.record:  # of a folder that was made from a run's
            return self.record["updates"]
        folder = self.adapter or Path(self.source)
        try:
            state, own = json.loads((folder / STATE_FILE).read_text(encoding="utf-8")), step_of(folder.resolve())
            made = own if own >= 0 else state["best_global_step" if self.record.get("collapsed") else "global_step"]
            return [int(made), int(state["max_steps"])]
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def fixed(self, name: str, flag: Any) -> Any:
        """The value of a setting: the flag's when it was given, else the checkpoint's; never two different ones."""
        if flag is not None and name in self.saved and flag != self.saved[name]:
            asked, saved = (
                f"the template {_shown(one)}" if len(str(one)) > 40 else one for one in (flag, self.saved[name])
            )
            raise ValueError(
                f"--{name.replace('_', '-')} {asked} contradicts {self.path}, which was trained with {saved}: leave "
                "the flag out"
            )
        return getattr(self, name) if flag is None else flag


def find_checkpoint(path: str, base_model: str | None = None) -> Checkpoint:
    """Resolves --checkpoint-path; ValueError for what is neither a checkpoint nor a known model.

    `base_model` (short name, folder or hub id) stands in for the base model that the run folder of an adapter names.
    """
    folder = _folder(path)
    if base_model is not None and (folder is None or not (folder / "adapter_config.json").is_file()):
        raise ValueError(f"--base-model {base_model}: only an adapter has a base model, and {path} is none")
    if folder is None:
        entry = resolve_model(path)
        return Checkpoint(
            path, path, entry.source, "base", max_new_tokens=entry.max_completion_length or COMPLETION_LENGTH
        )
    settings = _read_settings(folder)
    has_adapter, has_model = (folder / "adapter_config.json").is_file(), (folder / "config.json").is_file()
    if not (has_adapter or has_model):
        steps = checkpoints(folder)
        way_out = f"the run has not finished, its last checkpoint is {steps[0]}" if steps else "name another folder"
        if settings and settings.get("finished"):
            way_out = "the run has finished, so files are missing: copy the folder again"
        raise ValueError(f"checkpoint folder {path} holds neither an adapter nor a model: {way_out}")
    if settings is None:
        if has_adapter:
            raise ValueError(
                f"{path} holds an adapter but no {SETTINGS_FILE}: it was not made by this project's main.py"
            )
        return Checkpoint(path, _name_of(folder), str(folder.resolve()), "base")
    return _trained(path, folder, settings, has_adapter, base_model)


def _trained(path: str, folder: Path, settings: dict, has_adapter: bool, base_model: str | None) -> Checkpoint:
    try:
        limits = {name: settings["image"][name] for name in ("min_pixels", "max_pixels")}
        saved = {"prompt": of_record(settings["prompt"]), **limits}
        name, method = settings["model"]["name"], settings["settings"]["mode"]
        length = settings["settings"].get("max_completion_length") or COMPLETION_LENGTH
        saved_hash = settings["prompt"]["hash"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / SETTINGS_FILE} lacks {error}: it was not made by this project's main.py") from None
    texts, numbers = (name, method, saved["prompt"], saved_hash), (saved["min_pixels"], saved["max_pixels"], length)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise ValueError(f"{folder / SETTINGS_FILE} is damaged: copy it again from where main.py wrote it")
    _check_prompt(path, saved["prompt"], saved_hash)
    if settings.get("finished") is False and (folder / SETTINGS_FILE).is_file():
        steps = ", ".join(checkpoint.name for checkpoint in checkpoints(folder)[:3]) or "it has none"
        raise ValueError(
            f"the run in {path} is not finished, and weights that lie there are not its result: go on with main.py "
            f"--resume, or name one of its checkpoints ({steps})"
        )
    _check_unchanged(folder, settings)
    if has_adapter:
        source = _base_of(folder, settings["model"], base_model)
    else:
        name, source = _name_of(folder), str(folder.resolve())
    adapter = folder if has_adapter else None
    if has_adapter:
        saved["base_4bit"] = settings["settings"].get("base_4bit", False)
    kept = {"saved": saved, "record": settings, **saved}
    return Checkpoint(path, name, source, method, adapter, max_new_tokens=length, **kept)


def _name_of(folder: Path) -> str:
    """The folder's path, which is no short name: ./tiny prints as `tiny`, another model."""
    return f"./{folder}" if str(folder) in MODELS else str(folder)


def _base_of(folder: Path, model: dict, base_model: str | None) -> str:
    """The folder or hub id of an adapter's base model, by the run's record of it or by --base-model.

    ValueError when it is not there, and when its weights are not those that the adapter was trained on.
    """
    name, recorded = model["name"], str(model.get("source"))
    settings = next(place / SETTINGS_FILE for place in _places(folder) if (place / SETTINGS_FILE).is_file())
    is_folder = Path(recorded).is_absolute() or name != recorded
    if base_model is None and name not in MODELS and is_folder:  # first where it was, then as it was named
        there = [place for place in (recorded, name) if Path(place).is_dir()]
        if not there:
            raise ValueError(
                f"the adapter in {folder} was trained on {recorded}, which is not there any more (the name stands in "
                f"{settings}): say where the model is now with --base-model"
            )
        base_model = there[0]
    source = resolve_model(base_model or name).source
    known = model.get("weights")
    if isinstance(known, dict) and Path(source).is_dir():
        changed = differing(known, file_fingerprints(sorted(Path(source).glob("*.safetensors"))))
        if changed:
            raise ValueError(
                f"the adapter in {folder} was trained on other weights than those in {source}: {changed[0]} differs "
                f"from its record in {settings}; give the model it was trained on with --base-model"
            )
    return source


def _check_prompt(path: str, prompt: str, saved_hash: str) -> None:
    try:
        state = "" if prompt_hash(prompt) == saved_hash else "reads differently now"
    except ValueError:
        state = "does not exist here"
    if state:
        raise ValueError(f"{path} was trained with the prompt {_shown(prompt)} ({saved_hash}), which {state}")


def _shown(prompt: Any) -> str:
    return repr(prompt) if len(str(prompt)) <= 40 else f"{str(prompt)[:40]!r}..."


def _check_unchanged(folder: Path, settings: dict) -> None:
    """ValueError when the weights are not those that main.py has written: by its manifest or its settings."""
    problem = damage(folder) if (folder / MANIFEST).is_file() else None
    known = settings.get("weights") if (folder / SETTINGS_FILE).is_file() else None
    if isinstance(known, dict):
        changed = differing(known, file_fingerprints(weight_files(folder)))
        if changed:
            problem = f"{' and '.join(changed)} differ{'s' * (len(changed) == 1)} from what main.py has saved"
    if problem and "adapter_config.json" in problem:
        problem += " (a base model that has moved is named with --base-model, not in that file)"
    if problem:
        raise ValueError(f"checkpoint {folder} is damaged: {problem}; copy it again")


def _folder(path: str) -> Path | None:
    """The folder meant by `path`; None when it names a model. ...-grpo-<seed> may be called ...-<seed>."""
    if path in MODELS:
        return None
    folder = user_path(path)
    for place in (folder, folder.parent / _GRPO_NAME.sub(r"-\1", folder.name)):
        if place.is_dir():
            return place
    is_hub_id = path.count("/") == 1 and not path.startswith((".", "/", "~")) and not folder.parent.is_dir()
    if "/" not in path or (is_hub_id and _RUN_NAME not in path):
        return None
    raise ValueError(f"--checkpoint-path {path}: no such folder; main.py makes it and fills it when training ends")


def _read_settings(folder: Path) -> dict | None:
    """training_settings.json of the folder, or of the run it is an intermediate checkpoint of."""
    for place in _places(folder):
        file = place / SETTINGS_FILE
        if file.is_file():
            try:
                return json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise ValueError(f"{file} cannot be read: {error}") from None
    return None


def _places(folder: Path) -> list[Path]:
    """Where the settings of a folder may lie: in it, or in the run that it is a checkpoint of, named as `.` too."""
    named = next((one for one in (folder, folder.resolve()) if one.name.startswith("checkpoint-")), None)
    return [folder, named.parent] if named else [folder]


def check_adapter(checkpoint: Checkpoint) -> None:
    """ValueError when the adapter's tensors do not fit the base model; reads headers and configurations only."""
    if checkpoint.adapter is None:
        return
    check_adapter_config(checkpoint.adapter / "adapter_config.json")
    tensors = shapes(adapter_file(checkpoint.adapter))
    layers = {int(m[1]) for m in (re.search(r"layers\.(\d+)\.", name) for name in tensors) if m}
    widths = {shape[-1] for name, shape in tensors.items() if re.search(r"q_proj\.lora_A|k_proj\.lora_A", name)}
    text = load_config(checkpoint.source).get_text_config()
    if (layers and max(layers) >= text.num_hidden_layers) or (widths and widths != {text.hidden_size}):
        raise ValueError(
            f"the adapter in {checkpoint.path} was trained for another base model: it has {max(layers) + 1} layers of "
            f"width {min(widths, default='?')}, {checkpoint.model_name} has {text.num_hidden_layers} of "
            f"{text.hidden_size}"
        )


def check_adapter_config(file: Path) -> dict[str, Any]:
    """The adapter's configuration; ValueError for no LoRA of ours: other kinds may name modules to import or texts to
    download."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind, modules = config["peft_type"], config.get("megatron_config")
        shape = config["r"], config["lora_alpha"], config["target_modules"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{file} is damaged: copy it again") from None
    ours = type(shape[0]) is int and isinstance(shape[1], int | float) and isinstance(shape[2], list)
    if kind != "LORA" or not ours or modules or config.get("auto_mapping"):
        raise ValueError(f"{file} describes no LoRA adapter as main.py makes them")
    return config


def merges_adapter(checkpoint: Checkpoint, dtype: str, choice: str) -> bool:
    """Whether the adapter is added into the weights.

    "auto" does so in float32, where it changes nothing but the last bits and saves two matrix products a layer; in
    half precision the sum would be rounded, so the adapter stays beside the weights. ValueError for "yes" without an
    adapter, and on a base in 4 bits, to which nothing can be added.
    """
    if choice == "yes" and checkpoint.adapter is None:
        raise ValueError(f"--merge-adapter yes: {checkpoint.path} holds no adapter; leave it out")
    if checkpoint.base_4bit:
        if choice == "yes":
            raise ValueError(
                f"--merge-adapter yes: the base of {checkpoint.path} is in 4 bits, to which nothing can be added; "
                "leave it out, or add it into the full weights with python -m checkpoints.merge"
            )
        return False
    return checkpoint.adapter is not None and (choice == "yes" or (choice == "auto" and dtype == "float32"))


def load(checkpoint: Checkpoint, *, dtype: str, device: str, merge_adapter: bool = False) -> PreTrainedModel:
    """The model, with its adapter, in evaluation mode on the device."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    quantised = checkpoint.base_4bit
    model = load_model(checkpoint.source, dtype=getattr(torch, dtype), base_4bit=quantised, device=device)
    if checkpoint.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(checkpoint.adapter))
        if merge_adapter:
            model = model.merge_and_unload()
    return model.to(device).eval()
