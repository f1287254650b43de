"""What a method is, and the scored rollout batch that it turns into one weight a completion.

Nothing here imports torch or TRL: the command line, the evaluation and the plots read the table of methods as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Paper:
    title: str
    arxiv: str
    authors: str  # as BibTeX has them: "Zhu, Xinyu and Xia, Mengzhou"
    booktitle: str = ""  # of the proceedings, where it has appeared in any

    @property
    def bibtex(self) -> str:
        year = f"20{self.arxiv[:2]}"
        kind, where = ("inproceedings", "booktitle") if self.booktitle else ("article", "journal")
        fields = {
            "title": self.title,
            "author": self.authors,
            where: self.booktitle or "arXiv preprint",
            "year": year,
            "note": f"arXiv:{self.arxiv}",
        }
        lines = ",\n".join(f"  {name:<9} = {{{value}}}" for name, value in fields.items())
        return f"@{kind}{{{self.authors.partition(',')[0].lower()}{year},\n{lines}\n}}"


@dataclass(frozen=True)
class Style:
    """How matplotlib draws a curve."""

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class ScoredBatch:
    """One rollout batch of all processes, scored. Every tensor is (B,), the completions in the order of their prompts.

    A completion without a verdict is unscorable: NaN in `correct`, `accuracy` and `reward`, and a method owes it
    weight 0.
    """

    correct: Tensor  # 1 or 0: accuracy at or above --reward-threshold, or below
    accuracy: Tensor  # the reward that decides it, in [0, 1]
    reward: Tensor  # weighted sum of all rewards
    advantages: Tensor  # TRL's own: `reward` less the mean of its prompt, over the deviation
    prompt: Tensor  # number of the prompt, from 0; completions with the same number share it
    mean_logp: Tensor | None  # mean log-probability of its tokens when drawn; may be None without `needs_logp`
    step: int  # optimiser steps so far
    steps: int  # of the whole run

    @property
    def scorable(self) -> Tensor:
        return ~self.correct.isnan()

    @property
    def share(self) -> Tensor:
        """For each row the share of correct completions among the scorable ones of its prompt: (B,), float64."""
        return self.group_sum(self.correct) / self.group_sum(self.scorable)

    def group_sum(self, values: Tensor) -> Tensor:
        """For each row the sum of `values` (B,) over the scorable rows of its prompt: (B,), float64."""
        counted = values.double().where(self.scorable, 0.0)
        return counted.new_zeros(len(counted)).index_add(0, self.prompt, counted)[self.prompt]


def correctness(accuracy: Tensor, threshold: float) -> Tensor:
    """Accuracy rewards (B,), NaN where there is none, -> 1 where accuracy >= threshold, 0 below, NaN kept."""
    return (accuracy >= threshold).to(accuracy.dtype).where(~accuracy.isnan(), accuracy)


def option(
    default: float | str | None,
    help: str,
    shown: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    kind: type | None = None,
    resume: str = "equal",
) -> Any:
    """An option of a method: the flag of its name has this default, help, bounds and choices.

    `above` is a lower bound that is itself refused; `shown` is its name in the log; `kind` its type, left out but for a
    default of None; `resume` is "equal" when a resumed run must have the same, "free" when it need not.
    """
    facts = {"help": help, "shown": shown, "least": least, "above": above, "most": most, "choices": choices}
    return field(default=default, metadata={**facts, "kind": kind or type(default), "resume": resume})


@dataclass(frozen=True)
class Method(ABC):
    """A way to weigh completions. A subclass states what follows, and its options as dataclass fields."""

    name: ClassVar[str]  # the value of --mode
    label: ClassVar[str]  # the paper's spelling, for people
    paper: ClassVar[Paper | None]
    learns_from: ClassVar[str]  # continues "learns from"
    style: ClassVar[Style]  # of its curve, unlike that of any other method

    finds: ClassVar[tuple[str, ...]] = ()  # signs that the printed rewards of a run must have: positive, negative
    never: ClassVar[tuple[str, ...]] = ()  # signs that they must not have
    shared_flags: ClassVar[tuple[str, ...]] = ("reward_threshold", "normaliser")  # those for some methods that it uses
    named_in_folder: ClassVar[bool] = True  # whether the name of a run folder holds that of the method
    needs_wrong: ClassVar[bool] = False  # whether it starves where few prompts have a wrong completion
    needs_logp: ClassVar[bool] = False  # whether it reads `mean_logp`
    defaults: ClassVar[dict[str, float]] = {}  # settings, by name, that it has another default for

    remedies: ClassVar[str] = "a lower --learning-rate, fewer --updates-per-rollout"  # when a run seems to collapse
    remedies_without_signal: ClassVar[str] = (  # when no completion has weight for long
        "more generations (--num-generations), an earlier checkpoint, harder questions, or a higher "
        "--reward-threshold when accuracy is soft. A lower threshold does not."
    )
    left_without_wrong: ClassVar[str] = ""  # what it still learns from when no completion is wrong, if worth a warning

    @abstractmethod
    def weights(self, batch: ScoredBatch) -> Tensor:
        """One weight a completion (B,), the advantage of every token of it; 0 for unscorable ones."""

    def printed_rewards(self, batch: ScoredBatch, weights: Tensor) -> Tensor:
        """What the line `Rewards Accuracy: [...]` shows of a batch and its weights, by default their signs: (B,)."""
        return weights.sign()

    def line(self, batch: ScoredBatch) -> str | None:
        """The method's own line about a rollout batch."""
        return None

    def announcement(self) -> str | None:
        """The line about what is trained on, when training starts."""
        return None

    @classmethod  # noqa: B027 (most have nothing to check)
    def check(cls, settings: Namespace) -> None:
        """Raises ValueError for settings that the method cannot be used with."""

    @classmethod
    def needs_reward(cls, settings: Namespace) -> bool:
        """Whether it learns from the weighted sum of the rewards alone, and from nothing where every weight is 0."""
        return False

    @classmethod
    def spans_run(cls, settings: dict[str, Any]) -> bool:
        """Whether under these settings the weights of a step depend on how many the run has."""
        return False

    @classmethod
    def recorded(cls, settings: dict[str, Any]) -> dict[str, str]:
        """What belongs into the settings record beside the settings, and must be the same when a run is resumed."""
        return {}

    @classmethod
    def options(cls) -> dict[str, Field]:
        return {one.name: one for one in fields(cls)}

    @classmethod
    def from_settings(cls, settings: Namespace) -> Method:
        return cls(**{name: getattr(settings, name) for name in cls.options()})
