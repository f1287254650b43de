"""A reward function that raises costs its rows, not the run: they do without it, and without accuracy move nothing.

Every process calls the reward functions on its own completions and then waits for the others' rewards, so an error
must not leave a process early. It is counted in `decomposed/reward_errors` and printed once for each function; when a
function has raised for every completion of a rollout batch on every process, all of them stop.
"""

import inspect
from collections.abc import Callable

from accelerate.utils import gather_object
from torch import nn

from checkpoints.trainer_base import TrainerBase
from common.terminal import first_line


class RewardByRow:
    """A reward function; when it raises, or returns no number or None for each row, it is called row by row.

    `errors` has a line for each row for which it raised even so; the reward of these is None.
    """

    def __init__(self, function: Callable[..., list[float | None]]):
        self.function, self.__name__ = function, function.__name__
        self.errors: list[str] = []
        self.rows = 0

    def __call__(self, **columns) -> list[float | None]:
        rows = len(columns["completions"])
        self.rows += rows
        try:
            return self._checked(columns, rows)
        except (Exception, SystemExit):  # a function of the user's that ends the program would end it without a word
            return [self._of_row(columns, row) for row in range(rows)]

    def _of_row(self, columns: dict, row: int) -> float | None:
        one = {name: value[row : row + 1] if isinstance(value, list) else value for name, value in columns.items()}
        try:
            return self._checked(one, 1)[0]
        except (Exception, SystemExit) as error:
            said = first_line(error)
            self.errors.append(said if said == type(error).__name__ else f"{type(error).__name__}: {said}")
            return None

    def _checked(self, columns: dict, rows: int) -> list[float | None]:
        rewards = [None if reward is None else float(reward) for reward in self.function(**columns)]
        if len(rewards) != rows:
            raise ValueError(f"{len(rewards)} rewards for {rows} completions")
        return rewards

    def forget(self) -> None:
        self.errors, self.rows = [], 0


class RewardErrors(TrainerBase):
    """GRPOTrainer that outlives errors of its reward functions, and stops when one of them fails altogether."""

    def __init__(self, *args, reward_funcs, **kwargs):
        one_by_one = [RewardByRow(function) if _is_plain(function) else function for function in reward_funcs]
        super().__init__(*args, reward_funcs=one_by_one, **kwargs)
        self._warned_of: set[str] = set()  # reward functions

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        mine = [(f.__name__, f.errors, f.rows) for f in self.reward_funcs if isinstance(f, RewardByRow)]
        everyone = gather_object([mine])
        for function in self.reward_funcs:
            if isinstance(function, RewardByRow):
                function.forget()
        failed = 0
        for of_function in zip(*everyone, strict=True):
            name, errors = of_function[0][0], [error for _, errors, _ in of_function for error in errors]
            failed += len(errors)
            if errors:
                self._report(name, errors, sum(rows for *_, rows in of_function))
        self._metrics[self._phase]["decomposed/reward_errors"].append(float(failed))
        return rewards

    def _report(self, name: str, errors: list[str], rows: int) -> None:
        line = f"reward '{name}' raised for {len(errors)} of {rows} completions of a rollout batch: {errors[0]}"
        if name not in self._warned_of:
            self._print(
                f"Warning: {line}. Such rows do without it, and without accuracy they move nothing "
                "(decomposed/reward_errors)"
            )
        self._warned_of.add(name)
        if len(errors) == rows and self.model.training:
            self._end_unhealthy(line)


def _is_plain(function) -> bool:
    return not isinstance(function, (nn.Module, str)) and not inspect.iscoroutinefunction(function)
