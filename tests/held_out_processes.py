"""Run by test_held_out.py, in one process or two: what each process logs of measurements, as JSON, a file a process."""

import json
import os
import sys
from pathlib import Path

import datasets
from transformers.trainer_utils import IntervalStrategy

from tests import one_layer
from trainers.trainer import TRAINERS

QUESTIONS = [f"ask {word}" for word in "abcde"]  # an odd number: two processes fill up their last batches
CHARTS = ["one", "one", "two", "three", "three"]


def measuring(folder, samples, known=None, **config):
    """A trainer with held-out questions; `known`: question -> its completions, in place of drawn ones."""
    settings = {"num_generations_eval": samples, "per_device_eval_batch_size": samples, "eval_steps": 1, **config}
    trainer = one_layer.trainer(TRAINERS["nsr"], folder, mode_settings={"held_out_charts": CHARTS}, **settings)
    trainer.eval_dataset = datasets.Dataset.from_dict({"prompt": QUESTIONS})
    trainer.args.eval_strategy = IntervalStrategy.STEPS
    if known:
        texts = [one_layer.tokenizer()(question).input_ids for question in QUESTIONS]
        answers = {tuple(ids): known[question] for ids, question in zip(texts, QUESTIONS, strict=True)}

        def generate(prompt_ids, images, fields, num_generations):
            rows = enumerate(map(tuple, prompt_ids))
            return [one_layer.say(answers[prompt][row % samples]) for row, prompt in rows], None

        trainer._generate_single_turn = generate
    return trainer


KNOWN = {  # 1, 2, 0, 4 and, of an "h" that has no verdict, 1 right ones of four
    "ask a": ["a .", "b .", "c .", "d ."],
    "ask b": ["a .", "a b .", "c .", "d ."],
    "ask c": ["b .", "b b .", "c .", "d ."],
    "ask d": ["a .", "a b .", "a c .", "a d ."],
    "ask e": ["h .", "h b .", "a .", "c ."],
}


def main(folder: str) -> None:
    rank = os.environ.get("RANK", "0")
    results = {"known": measuring(folder, 4, KNOWN).evaluate()}
    results["one"] = measuring(folder, 1, {name: rows[:1] for name, rows in KNOWN.items()}).evaluate()
    results["drawn"] = measuring(folder, 4).evaluate()
    Path(folder, f"results_{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
