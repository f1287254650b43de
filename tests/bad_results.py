"""Bad samples, results, logs and journals, drawn from a seed: (program, arguments, what to name, fill)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bad_files import SAMPLE, damage, then
from tests.bad_flags import CHECK, GENERATE, PAGE, PLOT, SCORE, write

PROBLEMS = [
    {"problem_id": f"p-{i}", "question": f"Which {i}?", "answer": "5", "answers": ["5"], "run": "r", "num_total": 4,
     "samples": ["<answer>5</answer>", "a", "b", "c"], "extracted": ["5", None, "1", "2"], "num_correct": 1,
     "correct": [True, False, False, False]}
    for i in range(5)
]  # fmt: skip
SETTINGS = {"run": "r", "method": "nsr", "data": {"num_questions": 5}, "sampling": {"num_samples": 4}}


def sampled(*more, change: dict | None = None, **settings) -> Callable[[Path], None]:
    """s.json, its settings and results, the second problem changed."""

    def fill(folder: Path) -> None:
        from evaluation.pass_at_k import main as score

        (folder / "s.json").write_text(json.dumps(PROBLEMS))
        (folder / "s.settings.json").write_text(json.dumps({**SETTINGS, **settings}))
        if not settings:
            score(["--samples-path", str(folder / "s.json"), "--output-path", str(folder / "r.json")])
        if change is not None:
            changed = [PROBLEMS[0], {**PROBLEMS[1], **change}, *PROBLEMS[2:]]
            (folder / "s.json").write_text(json.dumps(changed))

    return then(fill, *more)


def samples(draw: random.Random) -> Iterator[tuple]:
    readers = [(SCORE, "--samples-path s.json --output-path new.json"), (PAGE, "s.json --output-path new.html")]
    for turn in range(12):
        program, line = readers[turn % 2]
        yield program, line, "s.json", sampled(damage("s.json", "cut" if turn % 3 else "flip", draw))
    for how in ("cut", "flip"):
        yield SCORE, "--samples-path s.json", "s.settings.json", sampled(damage("s.settings.json", how, draw))
        yield PLOT, "--results r.json --output p.png", "r.json", sampled(damage("r.json", how, draw))
        yield PLOT, "--results r.json --output p.svg", "r.json", sampled(damage("r.json", how, draw))
        yield SCORE, "--compare r.json s.json", "r.json", sampled(damage("r.json", how, draw))
    for change in (
        {"correct": [1, 0, 0, 0]}, {"correct": "yes"}, {"correct": [True]}, {"num_correct": 3}, {"num_total": 9},
        {"run": "other"}, {"problem_id": "p-0"}, {"problem_id": ""}, {"correct": [], "samples": [], "extracted": []},
        {"extracted": ["5"]}, {"problem_id": [1]},
    ):  # fmt: skip
        program, line = readers[draw.randrange(2)]
        if "correct" in change and not change["correct"]:
            program, line = readers[0]  # the page shows problems without samples as such
        yield program, line, "s.json", sampled(change=change)
    for content in ("", "[]", "{}", "5", "[1]", "[[[" * 50_000, "null", '{"eval": 5}', '[{"x": 1}]', "\x00", "\udcff"):
        program, line = readers[draw.randrange(2)]
        yield program, line, "s.json", write("s.json", content.encode(errors="surrogateescape"))
    for content in (
        "{}", "[]", "5", '{"pass_at_k": {}}', '{"pass_at_k": {"a": 1}}', '{"pass_at_k": {"1": "x"}}', "[" * 100_000,
        '{"pass_at_k": {"1": 1}, "problems": 5}', '{"pass_at_k": {"1": 1}, "intervals": {"1": 5}}', '{"pass_at_k": 5}',
        '{"pass_at_k": {"1": 0.5}, "problems": {"ids": ["a"], "n": [1], "c": [1, 2], "clusters": ["a"]}}',
    ):  # fmt: skip
        yield PLOT, "--results r.json --output p.png", "r.json", write("r.json", content)
    yield SCORE, "--samples-path s.json", "s.json", sampled(run="other")
    yield SCORE, "--samples-path s.json --method-name GRPO", "GRPO", sampled()
    yield PLOT, "--results r.json --labels GRPO --output p.png", "GRPO", sampled()
    for content in (
        "",
        "{",
        "[]",
        '{"log_history": 5}',
        '{"log_history": []}',
        '{"log_history": [{"step": "x"}]}',
        "[" * 100_000,
    ):
        yield PLOT, "--training t --output p.png", "trainer_state.json", write("t/trainer_state.json", content)
    for content in (b"", b"\x00\xff", b"Rewards Accuracy: [a, b]", b"Rewards Accuracy: []", b"Rewards Accuracy: [1.0"):
        yield CHECK, "poc_nsr.log", "poc_nsr.log", write("poc_nsr.log", content)
    journal = f"--checkpoint-path tiny --dataset-name synthetic --subset-size 2 {SAMPLE}"
    for content in (
        b"{}\n",
        b"5\n",
        b"\xff\n",
        b'{"settings": 5}\n',
        b'{"settings": {}}\n{"a": 1}\n',
        b'{"settings": {}}\n5\n',
    ):
        yield GENERATE, journal, "s.json.journal", write("s.json.journal", content)
    yield GENERATE, journal, "finished already", sampled()
