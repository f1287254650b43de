"""The README.md of a run folder: what the weights in it are, how they are used on a chart, whom to cite.

Its head is the metadata that the hub reads, and refuses when a name in it is a path; so a base model that is only a
folder is told in words.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from charts.prompt import PROMPTS, SYSTEM
from models.registry import MODELS
from trainers import METHODS
from trainers.method import Paper

_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")  # a model in the hub's cache

# licences that the hub has no word for, and the repository where their text is
_LICENSE_OF = {"qwen-research": "{base}", "qwen": "Qwen/Qwen2.5-72B-Instruct"}

EXAMPLE = """```python
{imports}
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

name = {name}  # this folder, or its name on the hub
{load}
processor = AutoProcessor.from_pretrained(name)

chart = Image.open("chart.png").convert("RGB")
question = "Which bar is the tallest?"
prompt = {prompt!r}
content = [{{"type": "image", "image": chart}}, {{"type": "text", "text": prompt.replace("{{question}}", question)}}]
inputs = processor.apply_chat_template(
    [{system}{{"role": "user", "content": content}}],
    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
).to(model.device)
output = model.generate(**inputs, max_new_tokens={length})
print(processor.batch_decode(output[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)[0])
```"""
TEXT_EXAMPLE = """```python
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer

name = {name}  # this folder, or its name on the hub
{load}
tokenizer = AutoTokenizer.from_pretrained(name)

question = "What is 7 x 8?"
prompt = {prompt!r}
inputs = tokenizer.apply_chat_template(
    [{system}{{"role": "user", "content": prompt.replace("{{question}}", question)}}],
    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
).to(model.device)
output = model.generate(**inputs, max_new_tokens={length})
print(tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)[0])
```"""
LOAD_ADAPTER = """base = {auto}.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, name)"""
LOAD_MODEL = """model = {auto}.from_pretrained(name, dtype="auto")"""


def model_card(name: str, record: dict, merged: bool = False) -> str:
    """The text of README.md for the run folder called `name`, from its training_settings.json.

    `merged`: the adapter of the run has been added into the weights.
    """
    settings, model, data = record["settings"], record["model"], record["data"]
    method = METHODS[settings["mode"]]
    is_adapter, base = not (merged or settings["no_lora"]), hub_name(model, settings["no_lora"])
    spoken = f"[{base}](https://huggingface.co/{base})" if base else _unnamed(model)
    what = "A LoRA adapter for" if is_adapter else "With a LoRA adapter in its weights," if merged else "All weights of"
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items() if version)
    return f"""---
{_metadata(settings["mode"], base, is_adapter, model)}
---

# {name}

{what} {spoken}, trained with {method.label} on {data["num_questions"]:,} {_kind(model)} of {data["name"]}
({data["split"]}).{_earlier(model)} It has learned from {method.learns_from}{_cited(method.paper)}.

## Use

{_example(name, settings, base or _place(model), is_adapter, _text_only(model))}

## Training

| | |
|---|---|
{_table(settings, _text_only(model))}

`training_settings.json` has the rest. Versions: {versions}.
{_citation(method.paper)}"""


def _text_only(model: dict) -> bool:
    return bool(model.get("text_only"))


def _kind(model: dict) -> str:
    return "questions" if _text_only(model) else "chart questions"


def _cited(paper: Paper | None) -> str:
    return f":\n[{paper.title}](https://arxiv.org/abs/{paper.arxiv})" if paper else ""


def _citation(paper: Paper | None) -> str:
    return f"\n## Citation\n\n```bibtex\n{paper.bibtex}\n```\n" if paper else ""


def _example(name: str, settings: dict, base: str, is_adapter: bool, text_only: bool) -> str:
    auto = "AutoModelForCausalLM" if text_only else "AutoModelForImageTextToText"
    said = SYSTEM.get(settings["prompt"])
    content = said if text_only else [{"type": "text", "text": said}]
    return (
        (TEXT_EXAMPLE if text_only else EXAMPLE)
        .format(
            imports="from peft import PeftModel" if is_adapter else "",
            name=json.dumps(name),
            load=LOAD_ADAPTER.format(base=base, auto=auto) if is_adapter else LOAD_MODEL.format(auto=auto),
            system=json.dumps({"role": "system", "content": content}) + ", " if said else "",
            prompt=PROMPTS[settings["prompt"]],
            length=settings["max_completion_length"],
        )
        .replace("```python\n\n", "```python\n")
    )


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
        stages.append(method + (f" on {count:,} {_kind(model)} of {name}" if count and name else ""))
        start = start["model"].get("start")
    return f" Before that it was trained with {', then '.join(reversed(stages))}." if stages else ""


def _metadata(mode: str, base: str | None, is_adapter: bool, model: dict) -> str:
    license_ = _license(base, model)
    tags = [] if _text_only(model) else ["chart-question-answering"]
    return ModelCardData(
        base_model=base,
        base_model_relation="adapter" if base and is_adapter else None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation" if _text_only(model) else "image-text-to-text",
        tags=["trl", mode, "reinforcement-learning", *tags, *["lora"] * is_adapter],
        **license_,
    ).to_yaml()


def _license(base: str | None, model: dict) -> dict[str, str]:
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


def _table(settings: dict, text_only: bool) -> str:
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
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())
