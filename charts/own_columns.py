"""A user's set whose columns have names of their own: which is the picture, the question, the answer, said by flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from charts.answer_lists import written
from charts.answers import RULES
from charts.columns import PICTURES
from charts.record import ANSWER_KINDS

# the names that charts/custom.py would look under by itself: the column that a flag names stands for all of them
_STANDS_FOR = {
    "image_column": PICTURES,
    "question_column": ("question", "query", "problem", "prompt", "messages", "conversations"),
    "answer_column": ("answer", "answers", "label", "solution", "ground_truth", "response", "reward_model"),
    "choices_column": ("choices",),
}


@dataclass(frozen=True)
class Columns:
    """The flags of a set without an adapter; None where none is given. ValueError for a kind or rule that is none."""

    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None
    choices_column: str | None = None
    answer_kind: str | None = None
    rule: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("answer_kind", ANSWER_KINDS), ("rule", RULES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ValueError(f"{_flag(name)} {value}: unknown; choose one of {', '.join(known)}")
        if self.choices_column and (self.answer_kind not in (None, "text") or self.rule in ("iou", "math")):
            raise ValueError(
                "--choices-column: the answer is one of the options; leave --answer-kind, --rule iou or --rule math out"
            )
        if self.answer_kind == "box" and self.rule not in (None, "strict", "iou"):
            raise ValueError(f"--rule {self.rule} compares texts, and --answer-kind box asks for boxes; leave it out")
        if self.rule == "iou" and self.answer_kind not in (None, "box"):
            raise ValueError(f"--rule iou compares boxes, and --answer-kind {self.answer_kind} is none; leave one out")
        chosen = list(self._chosen().values())
        for name, flag in zip(chosen, map(_flag, self._chosen()), strict=True):
            if chosen.count(name) > 1:
                raise ValueError(f"{flag} {name}: another flag names that column as well")

    @classmethod
    def of(cls, args: Any) -> Columns:
        """Those of a command line."""
        return cls(**{one.name: getattr(args, one.name) for one in fields(cls)})

    def flags(self) -> list[str]:
        """The flags that are given."""
        return [_flag(name) for name, value in asdict(self).items() if value is not None]

    def _chosen(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in _STANDS_FOR if getattr(self, name) is not None}

    def _several(self) -> list[str]:
        """The columns of options that have one each: --choices-column A,B,C,D."""
        return self.choices_column.split(",") if self.choices_column and "," in self.choices_column else []

    def renamed(self, data: Any, where: str) -> Any:
        """The rows of a split, a data set or a list, with the columns by the names that charts/custom.py reads."""
        chosen, is_list = self._chosen(), isinstance(data, list)
        if not chosen:
            return data
        there = sorted({name for row in data for name in row}) if is_list else list(data.column_names)
        if self._several() and set(self._several()) <= set(there):
            del chosen["choices_column"]  # `completed` puts them together
        for flag, column in chosen.items():
            if column not in there:
                close = "".join(f" did you mean {one}?" for one in get_close_matches(column, there, 1))
                raise ValueError(f"{_flag(flag)} {column}: {where} has no such column, but {', '.join(there)};{close}")
        names = {column: _target(flag, column) for flag, column in chosen.items()}
        gone = {one for flag in chosen for one in _STANDS_FOR[flag]} - set(names)
        if is_list:
            return [{names.get(k, k): v for k, v in row.items() if k not in gone} for row in data]
        return data.remove_columns([one for one in there if one in gone]).rename_columns(names)

    def completed(self, row: dict) -> dict:
        """A row with the kind and the rule of the flags, and a list of answers as that kind means it: all are wanted of
        a list, one is enough of anything else."""
        said = {name: value for name in ("answer_kind", "rule") if (value := getattr(self, name)) is not None}
        if options := {name: row[name] for name in self._several() if row.get(name) not in (None, "")}:
            said["choices"] = options if all(len(name) == 1 for name in options) else list(options.values())
        answer = row.get("answer")
        if self.answer_kind and isinstance(answer, list | tuple) and len(answer) > 1:
            all_wanted = self.answer_kind in ("list", "ordered list")
            said |= {"answer": written(answer)} if all_wanted else {"answers": answer}
        return {**row, **said}

    def told(self) -> str:
        """In words, what is read from where."""
        parts = [f"{flag.removesuffix('_column')} from {column!r}" for flag, column in self._chosen().items()]
        parts += [
            f"{one.replace('_', ' ')} {value}" for one in ("answer_kind", "rule") if (value := getattr(self, one))
        ]
        return ", ".join(parts)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _target(flag: str, column: str) -> str:
    """`answers` keeps its meaning: each of them is right by itself."""
    return "answers" if (flag, column) == ("answer_column", "answers") else flag.removesuffix("_column")


def as_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of saved settings, those that say how a set is read."""
    return {one.name: values.get(one.name) for one in fields(Columns)}
