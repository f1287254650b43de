"""What of a sampling job can fail for a reason of the user's: before PyTorch is imported and a model loaded."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from charts import loading
from charts.drawn import DRAWN
from charts.prompt import PROMPTS, prompt_hash
from charts.record import ChartQuestion
from checkpoints.finding import Checkpoint, check_adapter, find_checkpoint, merges_adapter
from checkpoints.fingerprints import adapter_fingerprint, model_fingerprint
from common.network import stay_local
from models.registry import load_config, load_processor
from models.weights import check_model_weights
from sampling.journal import run_hash
from sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from sampling.chat import Asked
    from sampling.served import ServerSampler

DATA_SEED = 2025  # --seed moves the samples, never the problems: runs with other seeds stay comparable


@dataclass(frozen=True)
class Prepared:
    """A sampling job as all of its processes see it."""

    checkpoint: Checkpoint
    settings: dict[str, Any]  # what the samples file records, see `describe`
    questions: list[ChartQuestion]
    notes: list[str]
    device: str
    server: ServerSampler | None = None  # in place of a model
    first: list[Asked] = field(default_factory=list)  # what the server has been asked


def prepare(args: Namespace) -> Prepared:
    """The job that the flags of generate_samples.py describe. Raises ValueError."""
    SamplingSettings(args.temperature, args.top_p, args.top_k, args.max_new_tokens or 1, args.seed)
    data_is_here = bool(args.dataset_path) or args.dataset_name in DRAWN
    if args.backend == "server":
        return _prepare_served(args, data_is_here)
    checkpoint = find_checkpoint(args.checkpoint_path, args.base_model)
    stay_local(checkpoint.source, data_is_here=data_is_here)
    load_config(checkpoint.source)
    check_model_weights(checkpoint.source)
    check_adapter(checkpoint)
    questions, data, notes = load_problems(args)
    device, dtype = device_and_dtype(args.dtype)
    settings = describe(args, checkpoint, data, dtype)
    load_processor(checkpoint.source, **settings["image"])
    return Prepared(checkpoint, settings, questions, notes, device)


def _prepare_served(args: Namespace, data_is_here: bool) -> Prepared:
    """`prepare` for a model on a server, which has been asked the first problems; ServerError where it does not answer.

    Without --checkpoint-path nothing of the model is known here but its name.
    """
    name = args.server_model
    checkpoint = Checkpoint(name, name, "", name)
    if args.checkpoint_path is not None:
        checkpoint = find_checkpoint(args.checkpoint_path, args.base_model)
        check_adapter(checkpoint)
    stay_local(checkpoint.source, data_is_here=data_is_here)
    from sampling.served import check_served, find_served, server_sampler

    questions, data, notes = load_problems(args)
    served = find_served(args, checkpoint)
    settings = describe(args, checkpoint, data, served.record["dtype"], served.record)
    sampler = server_sampler(args, checkpoint, settings, served)
    first = check_served(sampler, served, questions, checkpoint)
    if checkpoint.source:
        said = "are compared" if sampler.chat.ids_compared else "are not given, only their number is compared"
        notes.append(f"prompt ids of the server {said}")
    return Prepared(checkpoint, settings, questions, notes, device_and_dtype("auto")[0], sampler, first)


def load_problems(args: Namespace) -> tuple[list[ChartQuestion], dict[str, Any], list[str]]:
    """(questions with a gold answer, description of the data for the samples file, notes for the user)."""
    data = loading.load_questions(
        args.dataset_name,
        purpose="evaluate",
        split=args.split,
        path=args.dataset_path,
        subset_size=args.subset_size,
        subset_order=args.subset_order,
        seed=DATA_SEED,
    )
    questions = [question for question in data.questions if question.answers]
    unscorable = len(data) - len(questions)
    notes = [*data.notes, *([f"{unscorable} questions without a gold answer are left out"] if unscorable else [])]
    if data.skipped:
        notes.append(f"{len(data.skipped)} rows left out, the first: {': '.join(data.skipped[0])}")
    if args.without_image:
        notes.append(f"--without-image {args.without_image}: the model is asked without seeing the charts")
    if not questions:
        raise ValueError(f"--dataset-name {args.dataset_name}: no question with a gold answer is left to sample")
    if args.without_image and all(question.open_image is None for question in questions):
        raise ValueError(f"--without-image {args.without_image}: no question of {args.dataset_name} has an image")
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"--dataset-name {args.dataset_name}: two questions have the id {twice!r}")
    described = {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, "num_questions": len(ids)}
    described["marked_by"] = sorted({question.rule.partition(":")[0] for question in questions})
    return questions, described, notes


def describe(
    args: Namespace, checkpoint: Checkpoint, data: dict[str, Any], dtype: str, server: dict[str, str] | None = None
) -> dict[str, Any]:
    """Everything that decides which samples come out, and where from; stored with them.

    `server`: the record of the server that draws them. Its random numbers are its own.
    """
    length = args.max_new_tokens or checkpoint.max_new_tokens
    sampling = SamplingSettings(args.temperature, args.top_p, args.top_k, length, args.seed)
    prompt = checkpoint.fixed("prompt", args.prompt)
    if prompt not in PROMPTS:
        raise ValueError(f"--prompt {prompt}: unknown; choose one of {', '.join(PROMPTS)}")
    settings: dict[str, Any] = {
        "method": checkpoint.method,
        "model": {
            "name": checkpoint.model_name,
            "fingerprint": model_fingerprint(checkpoint.source) if checkpoint.source else "unknown",
            "adapter": adapter_fingerprint(checkpoint.adapter) if checkpoint.adapter else None,
            "dtype": dtype,
            "merged": server is None and merges_adapter(checkpoint, dtype, args.merge_adapter),
        },
        "checkpoint": checkpoint.path,
        "data": data,
        "prompt": {"name": prompt, "hash": prompt_hash(prompt)},
        "image": {name: checkpoint.fixed(name, getattr(args, name)) for name in ("min_pixels", "max_pixels")},
        "sampling": {"num_samples": args.num_samples, **sampling.as_dict(), "backend": args.backend},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
    }
    if args.without_image:  # absent otherwise: files sampled before there was a choice are of the same run
        settings["without_image"] = args.without_image
    if server is not None:
        settings["sampling"]["seed"] = None
        settings["server"] = server
    return {"run": run_hash(settings), **settings}


def device_and_dtype(wanted: str) -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}", "bfloat16" if wanted == "auto" else wanted
    return "cpu", "float32" if wanted == "auto" else wanted
