"""Sample from Python: completions of one test chart. Run as `python -m examples.sample`."""

from charts.loading import load_questions
from charts.record import ChartQuestion
from models.registry import load_model, load_processor
from sampling.job import Sampler
from sampling.settings import SamplingSettings


def main(model: str = "tiny", completions: int = 16) -> tuple[ChartQuestion, list[str]]:
    """The question and the text of its completions; the prompt and the chart are computed once for all of them."""
    question = load_questions("synthetic", purpose="evaluate").questions[0]
    settings = SamplingSettings(temperature=1.0, max_new_tokens=192, seed=2025)
    options = {"n": completions, "prompt": "structured", "min_pixels": 3136, "max_pixels": 401408}
    sampler = Sampler(load_model(model).eval(), load_processor(model), settings, **options)
    [samples] = sampler([(question.id, sampler.inputs(question, question.open_image()))])
    return question, sampler.texts(samples)


if __name__ == "__main__":
    print(*main(), sep="\n\n")
