"""Nothing here speaks to the network unless what it was asked for lies there, and no library reports on its use."""

from __future__ import annotations

import os
from pathlib import Path

from charts.drawn import DRAWN

SILENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "WANDB_ERROR_REPORTING": "false"}


def stay_local(model_source: str, dataset_name: str, dataset_path: str | None) -> None:
    """Environment for the libraries, before they are imported; what the user has set there stays.

    A model in a folder and data that are drawn or read from a path need no hub: none may look there for updates.
    """
    settings = dict(SILENT)
    if Path(model_source).is_dir() and (dataset_path or dataset_name in DRAWN):
        settings["HF_HUB_OFFLINE"] = "1"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
