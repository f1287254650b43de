"""Sample: a checkpoint and a data set -> many completions a problem, graded, in one samples file.

    python generate_samples.py --checkpoint-path grpo-start-ckpts/qwen2-5-3b-prm-large-train-v2-nsr-2025 \\
      --dataset-name evochart --output-path samples_nsr.json --num-samples 256

The same command again goes on where the last one stopped; with more samples or problems it adds them to the finished
file. Several processes share the problems under
`accelerate launch`, or as commands with --shard 1/3, 2/3, 3/3; the one that finishes last writes the file.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from charts.drawn import DRAWN
from common.network import stay_local
from common.terminal import hide_deprecations, printable, unfailing_output

DATA_SEED = 2025  # --seed moves the samples, never the problems: runs with other seeds stay comparable


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message} (see --help)")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint-path", required=True, help="run folder of main.py, model folder, hub id, tiny or organism")
    add("--base-model", help="where the base model of an adapter is now, if not where it was in training")
    add("--dataset-name", required=True, help="evochart, chartqa, ..., synthetic, procedures")
    add("--output-path", required=True, type=Path, help="samples file: .json (a list) or .jsonl (one problem a line)")
    add("--num-samples", type=int, default=256, help="completions per problem (default: %(default)s)")
    add("--temperature", type=float, default=1.0, help="default: %(default)s")
    add("--top-p", type=float, default=1.0, help="nucleus; 1 = off (default)")
    add("--top-k", type=int, default=0, help="0 = off (default)")
    add("--max-new-tokens", type=int, help="default: the checkpoint's completion length in training, else the model's")
    add("--seed", type=int, default=2025, help="of the random streams (default: %(default)s)")
    add("--subset-size", type=int, help="only this many problems, the same ones for every method")
    add("--subset-order", choices=("stratified", "sequential"), default="stratified", help="default: %(default)s")
    add("--split", help="default: the data set's evaluation split")
    add("--dataset-path", help="local copy of the data set instead of the hub")
    add("--prompt", help="default: the checkpoint's, else structured")
    add("--min-pixels", type=int, help="default: the checkpoint's, else 3136")
    add("--max-pixels", type=int, help="default: the checkpoint's, else 401408")
    add("--shard", default=None, metavar="I/N", help="this process samples the I-th of N parts of the problems")
    add("--merge", action="store_true", help="sample nothing; join the finished shards' journals")
    add("--chunk", type=int,
        help="most completions decoded at a time (default: all of a problem, or up to 256 of several problems; halved "
        "when memory runs out)")  # fmt: skip
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
        help="auto: bfloat16 on a GPU, float32 on a CPU")  # fmt: skip
    add("--merge-adapter", choices=("auto", "yes", "no"), default="auto",
        help="add the LoRA adapter into the weights; auto: in float32 only, exact to rounding")  # fmt: skip
    add("--backend", choices=("engine", "generate"), default="engine",
        help="generate: transformers' own loop, slow, to compare with")  # fmt: skip
    add("--overwrite", action="store_true", help="delete a finished file and a journal with other settings")
    args = parser.parse_args(argv)
    args.shard = _shard(args.shard)
    _check_numbers(args)
    return args


def _check_numbers(args: argparse.Namespace) -> None:
    for name in ("num_samples", "subset_size", "chunk", "min_pixels", "max_pixels"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    if args.output_path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"--output-path {args.output_path}: the name must end in .json or .jsonl")
    if not args.output_path.parent.is_dir():
        raise ValueError(f"--output-path: folder {args.output_path.parent} does not exist: create it first")
    if args.output_path.is_dir():
        raise ValueError(f"--output-path {args.output_path} is a folder: name a file")
    if not os.access(args.output_path.parent, os.W_OK):
        raise ValueError(f"--output-path: folder {args.output_path.parent} cannot be written to")


def _shard(text: str | None) -> tuple[int, int]:
    """(i, n) of --shard, or of the process's place under `accelerate launch`."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if text is None:
        return rank + 1, world
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard {text}: give I/N with 1 <= I <= N, such as 1/3")
    if world > 1:
        raise ValueError(f"--shard {text}: accelerate launch already shares the problems among {world} processes")
    return int(match[1]), int(match[2])


def load_problems(args: argparse.Namespace):
    """(questions with a gold answer, description of the data for the samples file)."""
    from charts.loading import load_questions

    data = load_questions(
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
    if not questions:
        raise ValueError(f"--dataset-name {args.dataset_name}: no question with a gold answer is left to sample")
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"--dataset-name {args.dataset_name}: two questions have the id {twice!r}")
    described = {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, "num_questions": len(ids)}
    described["marked_by"] = sorted({question.rule.partition(":")[0] for question in questions})
    return questions, described, notes


def describe(args: argparse.Namespace, checkpoint: Any, data: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Everything that decides which samples come out, and where from; stored with them."""
    from importlib.metadata import version

    from charts.prompt import PROMPTS, prompt_hash
    from checkpoints.finding import merges_adapter
    from checkpoints.fingerprints import adapter_fingerprint, model_fingerprint
    from sampling.journal import run_hash
    from sampling.settings import SamplingSettings

    length = args.max_new_tokens or checkpoint.max_new_tokens
    sampling = SamplingSettings(args.temperature, args.top_p, args.top_k, length, args.seed)
    prompt = checkpoint.fixed("prompt", args.prompt)
    if prompt not in PROMPTS:
        raise ValueError(f"--prompt {prompt}: unknown; choose one of {', '.join(PROMPTS)}")
    settings = {
        "method": checkpoint.method,
        "model": {
            "name": checkpoint.model_name,
            "fingerprint": model_fingerprint(checkpoint.source),
            "adapter": adapter_fingerprint(checkpoint.adapter) if checkpoint.adapter else None,
            "dtype": dtype,
            "merged": merges_adapter(checkpoint, dtype, args.merge_adapter),
        },
        "checkpoint": args.checkpoint_path,
        "data": data,
        "prompt": {"name": prompt, "hash": prompt_hash(prompt)},
        "image": {name: checkpoint.fixed(name, getattr(args, name)) for name in ("min_pixels", "max_pixels")},
        "sampling": {"num_samples": args.num_samples, **sampling.as_dict(), "backend": args.backend},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
    }
    return {"run": run_hash(settings), **settings}


def device_and_dtype(wanted: str) -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}", "bfloat16" if wanted == "auto" else wanted
    return "cpu", "float32" if wanted == "auto" else wanted


def prepare(args: argparse.Namespace):
    """All that can fail for a reason of the user's, before the model is loaded: (checkpoint, settings, questions)."""
    from checkpoints.finding import check_adapter, find_checkpoint
    from models.registry import load_config, load_processor
    from models.weights import check_model_weights
    from sampling.settings import SamplingSettings

    SamplingSettings(args.temperature, args.top_p, args.top_k, args.max_new_tokens or 1, args.seed)
    if args.max_new_tokens is not None and args.max_new_tokens < 1:
        raise ValueError(f"--max-new-tokens must be at least 1, got {args.max_new_tokens}")
    checkpoint = find_checkpoint(args.checkpoint_path, args.base_model)
    stay_local(checkpoint.source, data_is_here=bool(args.dataset_path) or args.dataset_name in DRAWN)
    load_config(checkpoint.source)
    check_model_weights(checkpoint.source)
    check_adapter(checkpoint)
    questions, data, notes = load_problems(args)
    device, dtype = device_and_dtype(args.dtype)
    settings = describe(args, checkpoint, data, dtype)
    load_processor(checkpoint.source, **settings["image"])
    return checkpoint, settings, questions, notes, device


def work(args: argparse.Namespace, stop: Any) -> int:
    from sampling.extension import clear_the_way
    from sampling.job import ROWS, in_groups
    from sampling.journal import Journal, merge, part_path, read_parts

    checkpoint, settings, questions, notes, device = prepare(args)
    output, (index, count) = args.output_path, args.shard
    ids = [question.id for question in questions]
    together = args.num_samples if args.backend == "engine" else ROWS  # generate() takes one problem after another
    groups = in_groups(questions, together)[index - 1 :: count]
    mine = [question for group in groups for question in group]
    if not mine:
        print(f"Shard {index}/{count} has nothing to do: the problems are fewer than that", flush=True)
        return 0
    earlier = clear_the_way(output, settings, questions, overwrite=args.overwrite)
    if args.merge:
        missing = merge(output, settings, ids)
        if missing:
            raise ValueError(f"{len(missing)} of {len(ids)} problems are not sampled yet, such as {missing[0]!r}")
        return _finished(output)
    parts = read_parts(output, settings)
    finished = {name: line for part in parts for name, line in part.lines.items()}
    left = [question for question in mine if question.id not in finished]
    journal = Journal(part_path(output, args.shard), settings)
    for note in notes:
        say(note, index)
    say(f"{len(left)} of {len(mine)} problems to sample, {args.num_samples} completions each", index)
    if earlier:
        counts = {len(entry["samples"]) for entry in earlier.values()}
        say(f"{output} has {max(counts)} completions of each of {len(earlier)} problems already, which are kept", index)
    if left:
        _sample(args, checkpoint, settings, device, groups, finished, journal, stop, earlier)
    journal.close()
    missing = merge(output, settings, ids)
    if missing:
        say(f"Shard {index}/{count} is done; the shard that finishes last writes {output}")
        return 0
    return _finished(output)


def _finished(output: Path) -> int:
    say(f"Samples saved to: {output}")
    return 0


def _sample(args, checkpoint, settings, device: str, groups, finished: dict[str, bytes], journal, stop, earlier):
    from checkpoints.finding import load
    from models.registry import load_processor
    from sampling.job import Sampler, run_job
    from sampling.progress import Progress
    from sampling.settings import SamplingSettings

    model, image = settings["model"], settings["image"]
    names = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
    sampler = Sampler(
        model=load(checkpoint, dtype=model["dtype"], device=device, merge_adapter=model["merged"]),
        processor=load_processor(checkpoint.source, **image),
        settings=SamplingSettings(**{name: settings["sampling"][name] for name in names}),
        n=args.num_samples,
        prompt=settings["prompt"]["name"],
        chunk=args.chunk,
        backend=args.backend,
        **image,
    )
    kept = [finished[question.id] for group in groups for question in group if question.id in finished]
    progress = Progress(sum(map(len, groups)), kept)
    try:
        folder, run = args.output_path.parent, settings["run"]
        run_job(sampler, groups, finished, journal, progress, folder, run, stop, earlier)
    except ValueError as error:  # not the user's: keep its traceback
        raise RuntimeError("sampling failed") from error
    finally:
        progress.close()
    print(f"{progress.samples} samples: {progress.summary()}", flush=True)


def say(line: str, index: int = 1) -> None:
    if index == 1:
        print(printable(line), flush=True)


def main(argv: list[str] | None = None) -> int:
    from common.signals import Stopped, StopSignals

    hide_deprecations()
    try:
        with StopSignals() as stop:
            return work(parse_args(argv), stop)
    except Stopped as stopped:
        print("Stopped; every finished problem is kept. The same command goes on from here.", file=sys.stderr)
        return stopped.exit_code
    except (ValueError, OSError) as error:
        if os.environ.get("RANK", "0") == "0":
            where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            text = (error.strerror or error) if isinstance(error, OSError) else error
            print(printable(f"error: {where}{text}"), file=sys.stderr)
        return 2


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
