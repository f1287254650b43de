"""What a run starts from: a model, or a run folder, which begins a second stage.

The adapter of a run folder is trained further, as TRL trains a PeftModel that it is given: nothing is merged, the new
run folder holds one adapter that is both stages, and a KL term refers to the adapter of the start. A run folder with
full weights is a model like any other. Prompt, image limits and the length of completions are those of the first stage
where no flag says otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints.finding import SETTINGS_FILE, Checkpoint, check_adapter_config, find_checkpoint
from checkpoints.fingerprints import file_fingerprints, weight_files
from common.files import user_path
from models.families import family_of
from models.registry import LORA_TARGETS, MODELS, load_config, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INHERITED = ("prompt", "min_pixels", "max_pixels")


def begin(args: argparse.Namespace) -> Checkpoint:
    """What `args` start from, kept in `args.start`; fills in what a first stage has fixed. Raises ValueError.

    --base-model says where the base model of a run folder's adapter is, or, with --resume, the model that the run was
    started from.
    """
    if getattr(args, "start", None) is not None:
        return args.start
    if _is_run(args.vlm_name):
        args.start = find_checkpoint(args.vlm_name, args.base_model)
        for name in INHERITED:
            if name not in args.explicit:
                setattr(args, name, args.start.saved.get(name, getattr(args, name)))
        if args.max_completion_length is None:
            args.max_completion_length = args.start.max_new_tokens
        if args.start.adapter is not None:
            _take_shape(args, args.start.adapter)
    else:
        if args.base_model is not None and not args.resume:
            raise ValueError(
                f"--base-model {args.base_model}: --vlm-name {args.vlm_name} is no run folder with an adapter; name "
                "the model with --vlm-name itself"
            )
        source = _source(args)
        args.start = Checkpoint(args.vlm_name, args.vlm_name, source, "base")
    return args.start


def _source(args: argparse.Namespace) -> str:
    try:
        return resolve_model(args.base_model or args.vlm_name).source
    except ValueError as error:
        if not args.resume or args.base_model or "/" not in args.vlm_name:
            raise
        raise ValueError(f"{error}; a model that has moved since the run began is named with --base-model") from None


def _is_run(name: str) -> bool:
    folder = user_path(name)
    places = (folder / "adapter_config.json", folder / SETTINGS_FILE, folder / "manifest.json")
    return name not in MODELS and any(place.is_file() for place in places)


def _take_shape(args: argparse.Namespace, adapter: Path) -> None:
    """Rank, alpha and targets of the adapter that is trained further; ValueError for flags that ask for others."""
    config = check_adapter_config(adapter / "adapter_config.json")
    shape = {"lora_rank": config["r"], "lora_alpha": config["lora_alpha"]}
    shape["lora_targets"] = sorted(config["target_modules"])
    asked = dict(vars(args), lora_targets=sorted(args.lora_targets or ()))
    merge = f"merge it first (python -m checkpoints.merge {args.vlm_name} FOLDER) and start from that folder"
    if args.no_lora:
        raise ValueError(f"--no-lora trains every weight, and {args.vlm_name} holds an adapter: {merge}")
    for name, value in shape.items():
        if name in args.explicit and asked[name] != value:
            shown, wanted = (" ".join(v) if isinstance(v, list) else v for v in (value, asked[name]))
            raise ValueError(
                f"--{name.replace('_', '-')} {wanted}: the adapter in {args.vlm_name} has {shown} and is trained "
                f"further; leave the flag out, or {merge}"
            )
    if "base_4bit" in args.explicit and args.base_4bit != args.start.base_4bit:
        known = "in 4 bits" if args.start.base_4bit else "in full"
        raise ValueError(
            f"--base-4bit: the adapter in {args.vlm_name} was trained on a base {known}, and is trained further on it; "
            f"leave the flag out, or {merge}"
        )
    args.base_4bit = args.start.base_4bit
    args.lora_rank, args.lora_alpha = shape["lora_rank"], shape["lora_alpha"]
    if set(shape["lora_targets"]) != set(LORA_TARGETS):
        args.lora_targets = shape["lora_targets"]


def with_adapter(model: PreTrainedModel, start: Checkpoint, *, zero3: bool) -> PreTrainedModel:
    """`model` with the adapter that is trained further, if there is one, in float32 beside its weights.

    Under ZeRO-3 the adapter keeps the model's dtype, as TRL has it: its parameters are gathered in one buffer.
    """
    if start.adapter is None:
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(start.adapter), is_trainable=True, autocast_adapter_dtype=not zero3)


def model_record(start: Checkpoint) -> dict:
    """What training_settings.json says of the model: its name, where it is, its weights, and an earlier stage."""
    is_folder = Path(start.source).is_dir()
    weights = file_fingerprints(sorted(Path(start.source).glob("*.safetensors"))) if is_folder else None
    record: dict[str, Any] = {"name": start.model_name, "source": start.source, "weights": weights}
    if not family_of(load_config(start.source)).sees:
        record["text_only"] = True
    if start.record:
        first = start.record
        folder = start.adapter or Path(start.source)
        record["start"] = {
            "folder": str(folder.resolve()),
            "weights": file_fingerprints(weight_files(folder)),
            "mode": start.method,
            "data": first.get("data"),
            "model": first["model"],
        }
    return record
