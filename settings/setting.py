"""What a setting is: all that the command line, a file, the checks, --resume and TRL need to know of one, said once.

Records and argparse, no library that makes a command line of types (HfArgumentParser, pydantic, jsonargparse): those
answer a bad value in many lines, and know neither which methods a flag is for nor what --resume compares.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Setting:
    """One setting of a run. Its name is that in a file, in the namespace and in what is saved; its flag has - for _."""

    name: str
    default: Any  # None: none, or one that depends on the rest
    help: str
    kind: type | None = None  # int, float, str or bool (a switch); left out: that of the default, str for None
    choices: tuple[str, ...] | None = None
    least: float | None = None
    above: float | None = None  # like `least`, itself refused
    most: float | None = None
    several: bool = False  # takes a list
    bare: str | None = (
        None  # may stand without a value: then True, or its first choice; the name of the value in --help
    )
    lora: bool = False  # used by LoRA alone
    methods: tuple[str, ...] = ()  # it is for these; () for all
    # What --resume asks of its value: to be the run's ("equal"); that, or with other processes an update of as many
    # completions ("product"); to make the run longer ("length"); nothing ("free").
    resume: Literal["equal", "product", "length", "free"] = "equal"
    alias: str | None = None  # a second flag for it
    feeds: str | None = None  # field of GRPOConfig
    convert: Callable[[Any], Any] = lambda value: value  # to the value of that field

    def __post_init__(self):
        object.__setattr__(self, "kind", self.kind or (str if self.default is None else type(self.default)))

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """The numbers that it takes, in words."""
        bounds = {"above": self.above, "at least": self.least, "at most": self.most}
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None) or "finite"

    def takes(self, value: Any) -> bool:
        """Whether a value of its type lies within its bounds; a number must be finite too."""
        if self.kind not in (int, float) or value is None:
            return True
        least, above, most = (bound if bound is not None else value for bound in (self.least, self.above, self.most))
        return least <= value <= most and (self.above is None or value > above) and -math.inf < value < math.inf
