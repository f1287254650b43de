"""What of a sampling job can fail for a reason of the user's: before PyTorch is imported and a model loaded."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charts import loading
from charts.boxes import KIND
from charts.images import STEP, fitted_size
from charts.named import file_name, is_here, same_set
from charts.own_columns import Columns, as_columns
from charts.prompt import doubt, of_record, prompt_record, read_template, template
from charts.record import ChartQuestion, QuestionSet
from checkpoints.finding import Checkpoint, check_adapter, find_checkpoint, merges_adapter
from checkpoints.fingerprints import adapter_fingerprint, model_fingerprint
from common.network import stay_local
from models import four_bit
from models.inputs import check_limits, check_seen, framed
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
    if args.backend == "server":
        return _prepare_served(args)
    checkpoint = start(args)
    _check_4bit(checkpoint)
    check_model_weights(checkpoint.source)
    check_adapter(checkpoint)
    questions, data, notes = load_problems(args, checkpoint)
    device, dtype = device_and_dtype(args.dtype)
    settings = describe(args, checkpoint, data, dtype)
    notes += filter(None, [doubt(of_record(settings["prompt"]), questions)])
    if args.without_image != "remove":
        check_seen(checkpoint.source, questions)
    questions = _framed(questions, checkpoint, settings["image"])
    return Prepared(checkpoint, settings, questions, notes, device)


def _framed(
    questions: list[ChartQuestion], checkpoint: Checkpoint, limits: dict[str, int | None]
) -> list[ChartQuestion]:
    """The questions for a box as they are put to this model; ValueError where nothing of it is known here."""
    if checkpoint.source:
        processor = load_processor(checkpoint.source, **limits)
        check_limits(processor, **limits)
        return [framed(question, processor, **limits) for question in questions]
    if _ask_for_boxes(questions):
        raise ValueError("the frame of the boxes asked for depends on the model: name it by --checkpoint-path")
    if any(question.open_image for question in questions):
        # as sampling.served fits images to a model that is not known
        fitted_size((STEP, STEP), limits["min_pixels"], limits["max_pixels"])
    return questions


def _ask_for_boxes(questions: list[ChartQuestion]) -> bool:
    return any(question.answer_kind == KIND for question in questions)


def _limits(args: Namespace, checkpoint: Checkpoint) -> dict[str, int | None]:
    return {name: checkpoint.fixed(name, getattr(args, name)) for name in ("min_pixels", "max_pixels")}


def _check_4bit(checkpoint: Checkpoint) -> None:
    config = load_config(checkpoint.source)
    if checkpoint.base_4bit:
        four_bit.check_package()
        four_bit.check_shape(checkpoint.model_name, config)


def _prepare_served(args: Namespace) -> Prepared:
    """`prepare` for a model on a server, which has been asked the first problems; ServerError where it does not answer.

    Without --checkpoint-path nothing of the model is known here but its name.
    """
    checkpoint = start(args)
    if args.checkpoint_path is not None:
        check_adapter(checkpoint)
        if args.server_check == "weights":  # they are loaded here to be compared
            _check_4bit(checkpoint)
    from sampling.served import check_served, find_served, server_sampler

    questions, data, notes = load_problems(args, checkpoint)
    if checkpoint.source and args.without_image != "remove":
        check_seen(checkpoint.source, questions)
    served = find_served(args, checkpoint)
    settings = describe(args, checkpoint, data, served.record["dtype"], served.record)
    notes += filter(None, [doubt(of_record(settings["prompt"]), questions)])
    questions = _framed(questions, checkpoint, settings["image"])
    sampler = server_sampler(args, checkpoint, settings, served)
    first = check_served(sampler, served, questions, checkpoint)
    if checkpoint.source:
        said = "are compared" if sampler.chat.ids_compared else "are not given, only their number is compared"
        notes.append(f"prompt ids of the server {said}")
    return Prepared(checkpoint, settings, questions, notes, device_and_dtype("auto")[0], sampler, first)


def start(args: Namespace) -> Checkpoint:
    """The checkpoint, after reading the prompt's file and telling the libraries whether they need the hub.

    Without --checkpoint-path, of a server's model, its name alone.
    """
    if args.prompt_file is not None:
        args.prompt = read_template(args.prompt_file)
    if args.checkpoint_path is None:
        checkpoint = Checkpoint(args.server_model, args.server_model, "", args.server_model)
    else:
        checkpoint = find_checkpoint(args.checkpoint_path, args.base_model)
        checkpoint = replace(checkpoint, base_4bit=checkpoint.fixed("base_4bit", args.base_4bit))
    stay_local(checkpoint.source, data_is_here=is_here(args.dataset_name, args.dataset_path))
    return checkpoint


def columns_of(args: Namespace, checkpoint: Checkpoint) -> Columns:
    """How the set is read: by the flags, and otherwise as in training, if the checkpoint was trained on that set.
    ValueError for a flag that contradicts the training on it."""
    trained = checkpoint.record.get("settings", {})
    same = same_set(str(trained.get("dataset_name")), args.dataset_name)
    columns = as_columns(vars(args))
    for name, value in as_columns(trained if same else {}).items():
        if None not in (value, columns[name]) and value != columns[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} {columns[name]} contradicts {checkpoint.path}, which was trained on that "
                f"set with {value}: leave the flag out"
            )
        columns[name] = columns[name] or value
    return Columns(**columns)


def show_problems(args: Namespace) -> None:
    """--show-data: ten problems as they were read and are asked, without a model. Raises ValueError."""
    from evaluation.show_data import PAGE, show

    checkpoint = start(args)
    data = read_problems(args, checkpoint)
    if _ask_for_boxes(data.questions):
        data = replace(data, questions=_framed(data.questions, checkpoint, _limits(args, checkpoint)))
    page = f"{file_name(args.dataset_name)}_{PAGE}" if args.show_data is True else args.show_data
    print(*show(data, prompt_of(args, checkpoint), page), sep="\n", flush=True)


def read_problems(args: Namespace, checkpoint: Checkpoint) -> QuestionSet:
    return loading.load_questions(
        args.dataset_name,
        purpose="evaluate",
        split=args.split,
        path=args.dataset_path,
        subset_size=args.subset_size,
        subset_order=args.subset_order,
        seed=DATA_SEED,
        columns=columns_of(args, checkpoint),
    )


def load_problems(args: Namespace, checkpoint: Checkpoint) -> tuple[list[ChartQuestion], dict[str, Any], list[str]]:
    """(questions with a gold answer, description of the data for the samples file, notes for the user)."""
    data = read_problems(args, checkpoint)
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


def prompt_of(args: Namespace, checkpoint: Checkpoint) -> str:
    """What the questions are asked with: the flag's, the checkpoint's, else the data set's own."""
    own = None if "prompt" in checkpoint.saved else loading.default_prompt(args.dataset_name)
    return checkpoint.fixed("prompt", args.prompt or own)


def describe(
    args: Namespace, checkpoint: Checkpoint, data: dict[str, Any], dtype: str, server: dict[str, str] | None = None
) -> dict[str, Any]:
    """Everything that decides which samples come out, and where from; stored with them.

    `server`: the record of the server that draws them. Its random numbers are its own.
    """
    length = args.max_new_tokens or checkpoint.max_new_tokens
    sampling = SamplingSettings(args.temperature, args.top_p, args.top_k, length, args.seed)
    prompt = prompt_of(args, checkpoint)
    template(prompt)
    folder = checkpoint.source and Path(checkpoint.source).is_dir()  # "" of a model that a server alone knows
    settings: dict[str, Any] = {
        "method": checkpoint.method,
        "model": {
            "name": Path(checkpoint.source).name if folder else checkpoint.model_name,
            "fingerprint": model_fingerprint(checkpoint.source) if checkpoint.source else "unknown",
            "adapter": adapter_fingerprint(checkpoint.adapter) if checkpoint.adapter else None,
            "dtype": dtype,
            "merged": server is None and merges_adapter(checkpoint, dtype, args.merge_adapter),
        },
        "checkpoint": checkpoint.path,
        "data": data,
        "asked": _asked(args),
        "prompt": prompt_record(prompt),
        "image": _limits(args, checkpoint),
        "sampling": {"num_samples": args.num_samples, **asdict(sampling), "backend": args.backend},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
    }
    if checkpoint.base_4bit:  # absent otherwise, as below
        settings["model"]["base_4bit"] = True
    if args.without_image:  # absent otherwise: files sampled before there was a choice are of the same run
        settings["without_image"] = args.without_image
    if server is not None:
        settings["sampling"]["seed"] = None
        settings["server"] = server
    return {"run": run_hash(settings), **settings}


def _asked(args: Namespace) -> dict[str, Any]:
    """The flags that name the problems, as they were given."""
    names = ("dataset_name", "dataset_path", "split", "subset_size", "subset_order", *as_columns({}))
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {name: value for name, value in given.items() if (name, value) != ("subset_order", "stratified")}


def device_and_dtype(wanted: str) -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}", "bfloat16" if wanted == "auto" else wanted
    return "cpu", "float32" if wanted == "auto" else wanted
