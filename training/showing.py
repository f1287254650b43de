"""--show-data: what a run would train on, and how it was read, without a model."""

from __future__ import annotations

import argparse

from charts.named import is_drawn, is_here
from charts.prompt import template
from common.commands import say
from common.network import stay_local
from settings.table import DRAWN_SIZE
from training.preparing import load_data, take_prompt, use_own_prompt
from training.starting import begin


def show_data(args: argparse.Namespace) -> None:
    """Prints ten training rows and writes their page. Raises ValueError for data or a prompt that cannot be used."""
    from evaluation.show_data import show

    take_prompt(args)
    stay_local(begin(args).source, data_is_here=is_here(args.dataset_name, args.dataset_path))
    use_own_prompt(args)
    template(args.prompt)
    if is_drawn(args.dataset_name) and args.subset_size is None:
        args.subset_size = DRAWN_SIZE
    for line in show(load_data(args)[0], args.prompt, args.show_data):
        say(line)
