"""The README.md of a run folder: what the weights in it are, how they are used on a chart, whom to cite.

Its head is the metadata that the hub reads, and refuses when a name in it is a path; so a base model that is only a
folder is told in words.
"""

import json
import re
from pathlib import Path

from huggingface_hub import ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from jinja2 import Template

from charts.adapters import ADAPTERS
from charts.named import has_adapter
from charts.prompt import SYSTEM, template
from checkpoints.card_task import box_range, task_of
from models.registry import MODELS
from trainers import METHODS

_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")  # a model in the hub's cache

_LENGTH = re.compile(r"^\| length \| .* \|$", re.MULTILINE)

# licences that the hub has no word for, and the repository where their text is
_LICENSE_OF = {"qwen-research": "{base}", "qwen": "Qwen/Qwen2.5-72B-Instruct"}

CARD = Path(__file__).with_name("model_card.md.jinja")


def model_card(name: str, record: dict, merged: bool = False) -> str:
    """The text of README.md for the run folder called `name`, from its training_settings.json.

    `merged`: the adapter of the run has been added into the weights.
    """
    settings, model = record["settings"], record["model"]
    is_adapter, base = not (merged or settings["no_lora"]), hub_name(model, settings["no_lora"])
    what = "A LoRA adapter for" if is_adapter else "With a LoRA adapter in its weights," if merged else "All weights of"
    asked = template(record.get("prompt", {}).get("text") or settings["prompt"])
    return Template(CARD.read_text(encoding="utf-8"), trim_blocks=True, keep_trailing_newline=True).render(
        metadata=_metadata(record, base, is_adapter),
        name=name,
        quoted_name=json.dumps(name),
        what=what,
        base=f"[{base}](https://huggingface.co/{base})" if base else _unnamed(model),
        place=base or _place(model),
        method=METHODS[settings["mode"]],
        data=record["data"],
        earlier=_earlier(model),
        text_only=_text_only(model),
        auto="AutoModelForCausalLM" if _text_only(model) else "AutoModelForImageTextToText",
        task=task_of(record),
        box_range=box_range(model["source"]) if task_of(record).boxed else "",
        system=_system(settings["prompt"], _text_only(model)),
        is_adapter=is_adapter,
        quoted_prompt=repr(asked.replace("{choices}", "").replace("{instruction}", "")),
        settings=settings,
        rows=_rows(settings, _text_only(model)),
        versions=", ".join(f"{package} {version}" for package, version in record["versions"].items() if version),
    )


def after_updates(card: str, updates: list[int] | None) -> str:
    """The card of a run as that of its weights after [made, planned] updates."""
    if updates is None or updates[0] >= updates[1]:
        return card
    return _LENGTH.sub("| length | {} of {} updates |".format(*updates), card, count=1)


def _text_only(model: dict) -> bool:
    return bool(model.get("text_only"))


def _system(prompt: str, text_only: bool) -> str:
    """The turn before the question as the example writes it, where the prompt has one."""
    said = SYSTEM.get(prompt)
    content = said if text_only else [{"type": "text", "text": said}]
    return json.dumps({"role": "system", "content": content}) + ", " if said else ""


def hub_name(model: dict, trains_all_weights: bool) -> str | None:
    """The hub's name of the model that this one was made from; None when it is only a folder.

    Fully trained weights that were trained on again are made from what the first stage was made from.
    """
    name, source = str(model["name"]), str(model.get("source"))
    if name in MODELS:
        known = MODELS[name].source
        return None if Path(known).is_absolute() else known
    snapshot = _SNAPSHOT.search(source)
    if snapshot:
        return f"{snapshot[1]}/{snapshot[2]}"
    if not Path(source).is_absolute() and _is_hub_id(source):
        return source
    start = model.get("start")
    return hub_name(start["model"], True) if start and trains_all_weights else None


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _unnamed(model: dict) -> str:
    embedded = model["name"] in MODELS
    return f"`{model['name']}`, a model inside this project's code" if embedded else "a model in a local folder"


def _place(model: dict) -> str:
    embedded = MODELS.get(model["name"])
    return "/".join(Path(embedded.source).parts[-2:]) if embedded else "the/folder/of/the/base/model"


def _earlier(model: dict) -> str:
    """The stages before this one, the first one first."""
    stages, start = [], model.get("start")
    while start:
        mode, data = start["mode"], start.get("data") or {}
        method = METHODS[mode].label if mode in METHODS else mode  # of a version that knew more methods
        count, name = data.get("num_questions"), data.get("name")
        kind = task_of({"settings": {}, "model": model, "data": data}).kind if name else ""
        stages.append(method + (f" on {count:,} {kind} of {name}" if count and name else ""))
        start = start["model"].get("start")
    return f" Before that it was trained with {', then '.join(reversed(stages))}." if stages else ""


def _metadata(record: dict, base: str | None, is_adapter: bool) -> str:
    mode, data_set = record["settings"]["mode"], hub_data_set(record)
    return ModelCardData(
        base_model=base,
        datasets=[data_set] if data_set else None,
        base_model_relation="adapter" if base and is_adapter else None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation" if _text_only(record["model"]) else "image-text-to-text",
        tags=["trl", mode, "reinforcement-learning", *task_of(record).tags, *["lora"] * is_adapter],
        **licence_of(base, record["model"]),
    ).to_yaml()


def hub_data_set(record: dict) -> str | None:
    """The hub's name of the data that a run has trained on; None for what is not there and for a copy of the user's."""
    settings, adapter = record["settings"], ADAPTERS.get(record["data"]["name"])
    own = settings.get("dataset_path") or not has_adapter(settings["dataset_name"])  # ./chartqa is a folder
    place = adapter.train if adapter and not own else None
    return place.hub_id if place else None


def licence_of(base: str | None, model: dict) -> dict[str, str]:
    """The licence of the base model, where it is known: in the table of models, or in the folder's own card."""
    known = {entry.source: entry.license for entry in MODELS.values()}.get(base or "")
    if known in _LICENSE_OF:
        link = f"https://huggingface.co/{_LICENSE_OF[known].format(base=base)}/blob/main/LICENSE"
        return {"license": "other", "license_name": known, "license_link": link}
    if known:
        return {"license": known}
    card = Path(model["source"]) / "README.md"
    if not card.is_file():
        return {}
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(card).data.to_dict()
    except Exception:  # another program's card, damaged in whatever way
        return {}
    names = ("license", "license_name", "license_link")
    return {name: data[name] for name in names if isinstance(data.get(name), str) and data.get("license")}


def _rows(settings: dict, text_only: bool) -> dict[str, object]:
    """What the table of settings shows: name -> value."""
    accumulated = settings["gradient_accumulation_steps"]
    batch = settings["batch_size"] * settings["num_processes"] * accumulated
    rows = {
        "learning rate": f"{settings['learning_rate']:g}, constant",
        "length": f"{settings['max_steps']} updates" if settings["max_steps"] else f"{settings['num_epochs']:g} epochs",
        "an update": f"{batch} completions, {settings['num_generations']} a question",
        "temperature": f"{settings['temperature']:g}",
        "KL weight": f"{settings['kl_beta']:g}",
        "longest completion": f"{settings['max_completion_length']} tokens",
        "prompt": settings["prompt"],
        "image limits": f"{settings['min_pixels']:,} to {settings['max_pixels']:,} pixels",
        "seed": settings["seed"],
    }
    if text_only:
        del rows["image limits"]
    method = METHODS[settings["mode"]]
    if "reward_threshold" in method.shared_flags:
        rows["correct means accuracy of at least"] = f"{settings['reward_threshold']:g}"
    for name, option in method.options().items():
        value = settings.get(name, option.default)  # a run may be older than the option
        if value is not None:
            rows[option.metadata["shown"]] = value if isinstance(value, str) else f"{value:g}"
    if settings.get("reward"):
        rows["rewards"] = " ".join(settings["reward"])
    if not settings["no_lora"]:
        rows["LoRA"] = f"rank {settings['lora_rank']}, alpha {settings['lora_alpha']:g}, language model only"
        rows["LoRA"] += ", on a base in 4 bits (NF4)" if settings.get("base_4bit") else ""
    return rows
