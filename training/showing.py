"""--show-data: what a run would train on, and how it was read, without a model."""

from __future__ import annotations

import argparse

from common.commands import say
from training.preparing import load_data, resolve_data


def show_data(args: argparse.Namespace) -> None:
    """Prints ten training rows and writes their page. Raises ValueError for data or a prompt that cannot be used."""
    from evaluation.show_data import show

    resolve_data(args)
    for line in show(load_data(args)[0], args.prompt, args.show_data):
        say(line)
