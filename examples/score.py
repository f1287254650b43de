"""Score from Python: graded completions and Pass@k. Run as `python -m examples.score`."""

from charts.answers import grade
from charts.parsing import parse_completion
from charts.record import ChartQuestion
from evaluation.estimators import pass_at_k, powers_of_two
from examples import sample


def main(question: ChartQuestion, completions: list[str]) -> dict[int, float]:
    """k -> Pass@k of one question, for every power of two up to the number of its completions."""
    answers = [parse_completion(text).answer for text in completions]
    right = sum(grade(answer, question, "strict").correct is True for answer in answers)
    ks = powers_of_two(len(answers))
    return dict(zip(ks, pass_at_k([len(answers)], [right], ks)[0].tolist(), strict=True))


if __name__ == "__main__":
    print(main(*sample.main()))
