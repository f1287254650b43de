"""Sample: a checkpoint and a data set -> many completions a problem, graded, in one samples file.

    python generate_samples.py --checkpoint-path grpo-start-ckpts/qwen2-5-3b-prm-large-train-v2-nsr-2025 \\
      --dataset-name evochart --output-path samples_nsr.json --num-samples 256

The same command again goes on where the last one stopped; with more samples or problems it adds them to the finished
file. Several processes share the problems under
`accelerate launch`, or as commands with --shard 1/3, 2/3, 3/3; the one that finishes last writes the file.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charts.named import file_name, has_adapter
from charts.own_columns import as_columns
from common.commands import Parser, check_least, exit_code
from common.files import check_output
from common.imports import rare_collection
from common.launcher import num_processes, rank
from common.signals import Stopped, StopSignals
from common.terminal import hide_deprecations, unfailing_output
from sampling.settings import WITHOUT_IMAGE


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--checkpoint-path", help="run folder of main.py, model folder, hub id, tiny or organism")
    add("--base-model", help="where the base model of an adapter is now, if not where it was in training")
    add("--base-4bit", action="store_true", default=None, help="load it in 4 bits (adapters trained so: always)")
    add("--dataset-name", required=True, nargs="+", metavar="NAME",
        help="a data set of charts/README.md, org/set[:config][@split] of the hub, or a file or folder; of several, "
        "one after another, --output-path names {dataset}")  # fmt: skip
    add("--output-path", type=Path, help="samples file: .json (a list) or .jsonl (one problem a line)")
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
    _add_what_is_asked(add)
    add("--without-image", choices=WITHOUT_IMAGE,
        help="what can be answered blind? mask: a grey image of the same size, so the prompt has the same tokens; "
        "remove: the prompt has no image")  # fmt: skip
    add("--shard", default=None, metavar="I/N", help="this process samples the I-th of N parts of the problems")
    add("--merge", action="store_true", help="sample nothing; join the finished shards' journals")
    add("--chunk", type=int,
        help="most completions decoded at a time (default: all of a problem, or up to 256 of several problems; halved "
        "when memory runs out)")  # fmt: skip
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
        help="auto: bfloat16 on a GPU, float32 on a CPU")  # fmt: skip
    add("--merge-adapter", choices=("auto", "yes", "no"), default="auto",
        help="add the LoRA adapter into the weights; auto: in float32 only, exact to rounding")  # fmt: skip
    add("--backend", choices=("engine", "generate", "server"), default="engine",
        help="generate: transformers' own loop, slow, to compare with; server: an OpenAI-compatible server "
        "(docs/servers.md)")  # fmt: skip
    _add_server_flags(parser)
    add("--overwrite", action="store_true", help="delete a finished file and a journal with other settings")
    return _checked(parser.parse_args(argv))


def _add_server_flags(parser: Parser) -> None:
    add = parser.add_argument
    add("--server-url", help="server: its address, such as http://127.0.0.1:8000/v1; a key is read from the "
        "environment variable SERVER_API_KEY")  # fmt: skip
    add("--server-model", help="server: the model's name there (default: its only one); without --checkpoint-path any "
        "model, of which nothing is known here")  # fmt: skip
    add("--server-check", choices=("weights", "ids"),
        help="server: weights (default): load the checkpoint here and compare log-probabilities of two answers; ids: "
        "the prompts alone")  # fmt: skip
    add("--concurrency", type=int, help="server: problems that are asked at a time (default: 8)")


# flags that say nothing to a server: name -> default
OF_MODELS_HERE = {"dtype": "auto", "merge_adapter": "auto", "seed": 2025}
OF_SERVERS = ("server_url", "server_model", "server_check", "concurrency")


def _check_backend(args: argparse.Namespace) -> None:
    """ValueError for flags of another backend; fills in the defaults of the server's."""

    def flag(name: str) -> str:
        return f"--{name.replace('_', '-')} {getattr(args, name)}"

    if args.backend != "server":
        for name in OF_SERVERS:
            if getattr(args, name) is not None:
                raise ValueError(f"{flag(name)} is for --backend server alone; leave it out")
        if args.checkpoint_path is None:
            raise ValueError("the following arguments are required: --checkpoint-path (see --help)")
        return
    for name, default in OF_MODELS_HERE.items():
        if getattr(args, name) != default:
            raise ValueError(f"{flag(name)} is not used with --backend server, which decides itself; leave it out")
    if args.server_url is None:
        raise ValueError("--backend server needs --server-url, the address of the server")
    check_least(args, concurrency=1)
    if args.checkpoint_path is None:
        if args.server_model is None:
            raise ValueError("--backend server needs --checkpoint-path, or --server-model for a model unknown here")
        for name in ("base_model", "base_4bit", "server_check"):
            if getattr(args, name) is not None:
                raise ValueError(f"{flag(name)} needs --checkpoint-path; leave it out")
    args.server_check, args.concurrency = args.server_check or "weights", args.concurrency or 8


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    args.shard = _shard(args.shard)
    _check_numbers(args)
    _check_backend(args)
    return args


def _add_what_is_asked(add: Callable[..., Any]) -> None:
    for name in as_columns({}):
        add(f"--{name.replace('_', '-')}", help="of a set without an adapter, as in main.py (default: as in training)")
    add("--prompt", help="default: the checkpoint's, else structured")
    add("--prompt-file", help="a template of your own, if the checkpoint was not trained with another")
    add("--min-pixels", type=int, help="default: the checkpoint's, else 3136")
    add("--max-pixels", type=int, help="default: the checkpoint's, else 401408")
    add("--show-data", nargs="?", const=True, metavar="PAGE",
        help="print ten problems as they were read and are asked, write their page (of several data sets, name it "
        "with {dataset}), and sample nothing")  # fmt: skip


def _check_numbers(args: argparse.Namespace) -> None:
    check_least(args, num_samples=1, subset_size=1, chunk=1, min_pixels=1, max_pixels=1, max_new_tokens=1, seed=0)
    if args.prompt and args.prompt_file:
        raise ValueError("--prompt names a prompt and --prompt-file another; leave one of them out")
    if args.output_path is None and not args.show_data:
        raise ValueError("the following arguments are required: --output-path (see --help)")
    if args.output_path is not None:
        _check_output(args)
    if isinstance(args.show_data, str):
        _check_name("--show-data", Path(args.show_data), args.dataset_name)


def _check_output(args: argparse.Namespace) -> None:
    if args.output_path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"--output-path {args.output_path}: the name must end in .json or .jsonl")
    _check_name("--output-path", args.output_path, args.dataset_name)
    check_output(args.output_path, name="--output-path")


def _check_name(flag: str, path: Path, sets: list[str]) -> None:
    """ValueError where one name is given for the files of several data sets."""
    if len(sets) > 1 and "{dataset}" not in path.name:
        example = path.parent / f"{path.stem}_{{dataset}}{path.suffix}"
        raise ValueError(f"{flag} {path}: of several data sets, name the files as {example}")


def _each(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The flags of every data set, with the file of its samples."""
    path = str(args.output_path or "{dataset}.json")  # --show-data needs none
    files = [Path(path.replace("{dataset}", file_name(name))) for name in args.dataset_name]
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice is not None:
        raise ValueError(f"--dataset-name {' '.join(args.dataset_name)}: two of them would be written to {twice}")
    some_own = not all(map(has_adapter, args.dataset_name))  # then the flags of columns are theirs alone
    each = []
    for name, file in zip(args.dataset_name, files, strict=True):
        columns = as_columns({}) if some_own and has_adapter(name) else as_columns(vars(args))
        shown = args.show_data
        own = {
            "dataset_name": name,
            "output_path": file,
            "show_data": shown.replace("{dataset}", file_name(name)) if isinstance(shown, str) else shown,
        }
        each.append(argparse.Namespace(**{**vars(args), **columns, **own}))
    return each


def _shard(text: str | None) -> tuple[int, int]:
    """(i, n) of --shard, or of the process's place under `accelerate launch`."""
    if text is None:
        return rank() + 1, num_processes()
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard {text}: give I/N with 1 <= I <= N, such as 1/3")
    if num_processes() > 1:
        raise ValueError(f"--shard {text}: accelerate launch already shares the problems among its processes")
    return int(match[1]), int(match[2])


def run(argv: list[str] | None) -> int:
    from sampling.preparation import prepare, show_problems

    try:
        with StopSignals() as stop:
            each = _each(parse_args(argv))
            if each[0].show_data:
                for args in each:
                    show_problems(args)
                return 0
            with rare_collection():
                jobs = [prepare(args) for args in each]
                from sampling.shard import work_on_all  # imports PyTorch, whose environment is set by now

            work_on_all(each, jobs, stop)
            return 0
    except Stopped as stopped:
        print("Stopped; every finished problem is kept. The same command goes on from here.", file=sys.stderr)
        return stopped.exit_code


def main(argv: list[str] | None = None) -> int:
    hide_deprecations()
    return exit_code(lambda: run(argv))


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
