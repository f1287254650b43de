"""What --log-completions prints: TRL's table, in which a completion can neither move the cursor nor forge a line."""

from __future__ import annotations

from trl.trainer import grpo_trainer

from common.terminal import printable

_print_table = grpo_trainer.print_prompt_completions_sample


def _escaped(entry):
    """An entry of the table, its texts line by line without what a terminal obeys."""
    if isinstance(entry, str):
        return "\n".join(map(printable, entry.split("\n")))
    if isinstance(entry, list):
        return [_escaped(part) for part in entry]
    return {name: _escaped(part) for name, part in entry.items()} if isinstance(entry, dict) else entry


def _print_escaped_table(prompts, completions, *numbers, **more) -> None:
    _print_table(_escaped(prompts), _escaped(completions), *numbers, **more)


def escape_shown_completions() -> None:
    """Puts a table of escaped texts in place of TRL's, which writes every character as it is (TRL 1.16)."""
    grpo_trainer.print_prompt_completions_sample = _print_escaped_table
