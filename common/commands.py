"""What the programs of this project share: their parser, one-line errors with exit code 2, names in a message."""

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from common.launcher import is_main_process
from common.terminal import printable


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises ValueError for a bad flag, with one line instead of the whole usage text."""

    def __init__(self, **kwargs: Any):
        shared: dict[str, Any] = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**(shared | kwargs))

    def parse_args(  # type: ignore[override]  # argparse has two signatures for what it returns
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """A mistyped flag is named first, with the one that may be meant: argparse would ask for what is missing."""
        known, unknown = list(self._option_string_actions), []
        words = list(sys.argv[1:] if args is None else args)
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and " " not in word and flag not in known:  # with a space it is a value
                unknown.append(flag)
        if unknown and not {"-h", "--help"} & set(words):
            near = {one: True for flag in unknown for one in get_close_matches(flag, known, n=1, cutoff=0.75)}
            meant = f": did you mean {' and '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see --help)")


def check_least(args: argparse.Namespace, **least: int) -> argparse.Namespace:
    """`args`; ValueError for an option below the least it may be. One that is None was not given."""
    for name, value in ((name, getattr(args, name)) for name in least):
        if value is not None and value < least[name]:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least[name]}, not {value}")
    return args


def say_error(error: object, *, every_process: bool = False) -> None:
    """`error: ...` on stderr, in one line; of several processes the first one alone says what all of them have met."""
    if isinstance(error, OSError):
        error = (f"{error.filename}: " if error.filename else "") + str(error.strerror or error)
    if every_process or is_main_process():
        print(printable(f"error: {error}"), file=sys.stderr, flush=True)


def say(line: object) -> None:
    """A line on standard output, from the main process."""
    if is_main_process():
        print(printable(line), flush=True)


def exit_code(run: Callable[[], int]) -> int:
    """The code of `run()`; bad input, which raises ValueError or OSError, becomes one line on stderr and code 2."""
    try:
        return run()
    except (ValueError, OSError) as error:
        say_error(error)
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    return 2


def program(
    parse_args: Callable[..., argparse.Namespace], run: Callable[[argparse.Namespace], int]
) -> Callable[..., int]:
    """The `main` of a program, from a list of arguments (by default those of the command line) to its exit code."""
    return lambda argv=None: exit_code(lambda: run(parse_args(argv)))


def name_some(names: list[str], limit: int = 3) -> str:
    """'a, b, c and 4 more': the names a message can hold."""
    shown = ", ".join(str(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
