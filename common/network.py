"""Nothing here speaks to the network unless what it was asked for lies there, and no library reports on its use."""

import os
from pathlib import Path

SILENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "WANDB_ERROR_REPORTING": "false"}


class ServerError(OSError):
    """A server that gives no answer, or none that can be used. One line."""


class Refused(ServerError):
    """A request that the server understands and does not do (4xx)."""


def stay_local(model_source: str, *, data_is_here: bool) -> None:
    """Environment for the libraries, before they are imported; what the user has set there stays.

    A model in a folder and data that are drawn or read from a path need no hub: no library may look there for updates.
    """
    settings = dict(SILENT)
    if Path(model_source).is_dir() and data_is_here:
        settings["HF_HUB_OFFLINE"] = "1"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
