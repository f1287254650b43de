"""The reward of examples/near.yaml: called accuracy, it takes the place of the matcher and says what is correct.

A completion counts as correct where its accuracy is at least --reward-threshold, 0.5.
"""

from charts.parsing import parse_completion
from rewards.completions import text_of

RIGHT = 0.1  # relative error of a right answer


def accuracy(completions: list, *, answers, **columns) -> list[float]:
    """0.5 to 1 for a number within a tenth of the gold, less than 0.5 for one within the half, 0 for anything else."""
    scores = []
    for completion, golds in zip(completions, answers, strict=True):
        said = parse_completion(text_of(completion)).answer
        try:
            error = abs(float(said or "") - float(golds[0])) / max(1.0, abs(float(golds[0])))
        except ValueError:
            error = 1.0
        scores.append(1 - error / RIGHT / 2 if error <= RIGHT else max(0.0, 0.5 - error) * 0.9)
    return scores
