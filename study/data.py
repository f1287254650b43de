"""The data of a study: whatever main.py's --dataset-name takes, told to main.py and generate_samples.py alike."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from charts.loading import load_questions
from charts.named import has_adapter, is_drawn, without_split
from charts.own_columns import Columns, as_columns
from charts.prompt import read_template, template
from charts.record import QuestionSet
from common.files import user_path

# flags of both programs, beside the set and its place: how its rows are read, and how a model is asked
SHARED = (*as_columns({}), "prompt", "prompt_file", "min_pixels", "max_pixels")


def add_data_flags(add: Callable[..., Any], default: str) -> None:
    add("--dataset-name", default=default,
        help="data set to train on and to sample, as for main.py; of org/set@split, that split is trained on "
        "(default: %(default)s)")  # fmt: skip
    add("--dataset-path", help="local copy of the data set")
    for name in SHARED:
        add(f"--{name.replace('_', '-')}", help="as for main.py; told to generate_samples.py too")


def told(args: Namespace, split: bool = True) -> tuple[str, ...]:
    """The flags of the data for both programs; for the one that samples without the `split` behind the name's @.

    Files and folders by their whole paths: the programs run in the root of the project.
    """
    name = args.dataset_name
    base = without_split(name)
    if not has_adapter(base) and (place := user_path(base)).exists():
        name = f"{place.absolute()}{name.removeprefix(base)}"
    words = ["--dataset-name", name if split else without_split(name)]
    if args.dataset_path:
        words += ["--dataset-path", str(user_path(args.dataset_path).absolute())]
    for one in SHARED:
        if (value := getattr(args, one)) is not None:
            value = str(user_path(value).absolute()) if one == "prompt_file" else value
            words += [f"--{one.replace('_', '-')}", value]
    return tuple(words)


def check_prompt(args: Namespace) -> None:
    """ValueError for a prompt that is none, or two."""
    if args.prompt and args.prompt_file:
        raise ValueError("--prompt names a prompt and --prompt-file another; leave one of them out")
    if args.prompt_file:
        read_template(args.prompt_file)
    elif args.prompt:
        template(args.prompt)


def load(args: Namespace, split: str | None, problems: str) -> QuestionSet:
    """The questions of a split that is sampled: as many as the argument of this name says."""
    size, name = getattr(args, problems), without_split(args.dataset_name)
    try:
        return load_questions(
            name, purpose="evaluate", split=split, path=args.dataset_path, subset_size=size, columns=Columns.of(args)
        )
    except ValueError as error:
        raise ValueError(str(error).replace("--subset-size", f"--{problems.replace('_', '-')}")) from None


def check_data(args: Namespace) -> QuestionSet:
    """The questions that are measured. ValueError where there are none, or none to train on, or no such set."""
    own = load(args, args.split, "problems")
    if not is_drawn(args.dataset_name):
        load_questions(args.dataset_name, path=args.dataset_path, subset_size=1, columns=Columns.of(args))
    return own
