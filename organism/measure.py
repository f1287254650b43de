"""Measure the model organism, or a run that was trained from it: `python -m organism.measure`.

Draws a fresh sample from test charts, tells each completion's procedure and prints every target with its value, the
shares of the procedures and what guessing reaches.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.commands import Parser, check_least, program
from common.files import check_output, write_whole
from organism.answering import FORCED, OPENINGS, procedure_of
from organism.figures import DRAWN, Row, commonest_answers, summary, targets

if TYPE_CHECKING:
    import torch

    from charts.record import ChartQuestion
    from sampling.job import Sampler


def questions_for(split: str, problems: int, marked: int) -> list[ChartQuestion]:
    """The first `problems` questions of a split, and more of it that are marked until there are `marked` of those."""
    from charts.procedures import procedure_questions

    stream = procedure_questions(split, max(problems, DRAWN))
    chosen = stream[:problems]
    lacking = marked - sum(question.kind.endswith("marked") for question in chosen)
    more = [question for question in stream[problems:] if question.kind.endswith("marked")]
    return [*chosen, *more[: max(0, lacking)]]


def make_sampler(path: str, *, seed: int, n: int) -> Sampler:
    """The sampler of a model by name, of a folder or of a run folder of main.py."""
    from checkpoints.finding import find_checkpoint, load, merges_adapter
    from models.registry import load_processor
    from sampling.job import Sampler
    from sampling.settings import SamplingSettings

    found = find_checkpoint(path)
    model = load(found, dtype="float32", device="cpu", merge_adapter=merges_adapter(found, "float32", "auto"))
    settings = SamplingSettings(max_new_tokens=160, seed=seed)
    limits: dict[str, Any] = {"min_pixels": found.min_pixels, "max_pixels": found.max_pixels}
    processor = load_processor(found.source, **limits)
    return Sampler(model, processor, settings, n, found.prompt, **limits)


def _inputs(sampler: Sampler, questions: Sequence[ChartQuestion]) -> list[tuple[str, dict[str, torch.Tensor]]]:
    return [(one.id, sampler.inputs(one, one.open_image())) for one in questions if one.open_image]


def sample_rows(sampler: Sampler, questions: Sequence[ChartQuestion]) -> Iterator[Row]:
    """One row a question, in order."""
    from tqdm import tqdm

    from charts.answers import grade
    from charts.parsing import parse_completion

    size = max(1, 256 // sampler.n)
    with tqdm(total=len(questions), desc="measuring", unit="problem", mininterval=5) as bar:
        for place in range(0, len(questions), size):
            group = questions[place : place + size]
            prompts = _inputs(sampler, group)
            for question, drawn in zip(group, sampler(prompts), strict=True):
                texts = sampler.texts(drawn)
                parsed = [parse_completion(text) for text in texts]
                ways = [procedure_of(text, question.question) for text in texts]
                hits = [bool(grade(each.answer, question, "strict").correct) for each in parsed]
                yield Row(
                    id=question.id,
                    kind=question.kind,
                    chart_type=question.chart_type or "",
                    gold=question.answers[0],
                    samples=len(texts),
                    right=dict(Counter(way for way, hit in zip(ways, hits, strict=True) if hit)),
                    taken=dict(Counter(ways)),
                    majority=Counter(each.answer for each in parsed).most_common(1)[0][0],
                    well_formed=sum(each.well_formed for each in parsed),
                    tokens=sum(map(len, drawn.token_ids)),
                    nll=-sum(drawn.logprob_sums),
                )
                bar.update()


def cells_read(sampler: Sampler, questions: Sequence[ChartQuestion]) -> dict[str, float]:
    """Chart type -> heights read right in the table of the greedy completion, in percent."""
    from charts.parsing import parse_completion
    from charts.procedures import start_of

    read: dict[str, list[bool]] = {}
    for place in range(0, len(questions), 32):
        group = questions[place : place + 32]
        prompts = _inputs(sampler, group)
        for question, drawn in zip(group, sampler(prompts), strict=True):
            table = parse_completion(sampler.texts(drawn)[0]).table or {"rows": []}
            said = {row[0]: row[1] for row in table["rows"] if len(row) == 2}
            for label, value in (question.table or {})["rows"]:
                height = str(int(value) - start_of(question))
                read.setdefault(question.chart_type or "", []).append(said.get(label) == height)
    return {name: 100 * sum(hits) / len(hits) for name, hits in sorted(read.items())}


def forced(sampler: Sampler, questions: Sequence[ChartQuestion]) -> dict[bool, float]:
    """Marked or not -> how often the careful way comes to the right answer when a completion's steps must begin so.

    The table before the steps is the model's own, of its first sample; `sampler.n` samples then go on from the prefix.
    """
    from charts.answers import grade
    from charts.parsing import parse_completion

    hits: dict[bool, list[bool]] = {False: [], True: []}
    for place in range(0, len(questions), 32):
        group = questions[place : place + 32]
        inputs = dict(_inputs(sampler, group))
        openings = replace(sampler, n=1)(list(inputs.items()))
        tables = [sampler.texts(drawn)[0].split("Step 1: ")[0] for drawn in openings]
        prompts = [
            (f"{name} forced", _followed_by(sampler.processor, prompt, table + FORCED))
            for (name, prompt), table in zip(inputs.items(), tables, strict=True)
        ]
        for question, table, drawn in zip(group, tables, sampler(prompts), strict=True):
            for text in sampler.texts(drawn):
                right = grade(parse_completion(table + FORCED + text).answer, question, "strict").correct
                hits[question.kind.endswith("marked")].append(bool(right))
    return {marked: 100 * sum(found) / max(1, len(found)) for marked, found in hits.items()}


def score_openings(sampler: Sampler, rows: Sequence[Row], questions: Sequence[ChartQuestion]) -> None:
    """Sets `openings` of every row: the probability of each way's first words behind the model's own table.

    The table is that of the greedy completion. Nothing is drawn, so a share that is too small to be met in a sample has
    its value too. Ways that begin with a label at once are not told apart by their first words; they are left out.
    """
    greedy = replace(sampler, settings=replace(sampler.settings, top_k=1), n=1)
    for place in range(0, len(questions), 32):
        group = questions[place : place + 32]
        prompts = _inputs(sampler, group)
        for row, (_, inputs), drawn in zip(rows[place:], prompts, greedy(prompts), strict=False):
            head = sampler.texts(drawn)[0].split("Step 1: ")[0] + "Step 1: "
            row.openings = {
                way: round(math.exp(log_probability(sampler, inputs, head, opening.rstrip())), 6)
                for way, opening in OPENINGS.items()
            }


def log_probability(sampler: Sampler, inputs: dict, head: str, text: str) -> float:
    """Of the tokens of `text` (nats), behind the prompt and the beginning `head` of a completion."""
    import torch

    longer = _followed_by(sampler.processor, inputs, head + text)
    tokens = sampler.processor.tokenizer(head, add_special_tokens=False)["input_ids"]
    whole, start = longer["input_ids"][0], inputs["input_ids"].shape[1] + len(tokens)
    if whole[start - len(tokens) : start].tolist() != tokens:
        raise ValueError(f"{text!r} changes the tokens of what it follows")
    with torch.no_grad():
        logits = sampler.model(**longer).logits[0, start - 1 : -1].float()  # (tokens of text, vocabulary)
    logits[:, sampler.suppress] = -torch.inf  # as in sampling
    return float(logits.log_softmax(-1).gather(1, whole[start:, None]).sum())


def _followed_by(processor, inputs: dict, text: str) -> dict:
    """The prompt with the beginning of a completion behind it."""
    import torch

    more = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    longer = dict(inputs)
    longer["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    for name, filler in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:
            longer[name] = torch.cat([inputs[name], torch.full_like(more, filler)], dim=1)
    return longer


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m organism.measure", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", default="organism", help="a model by name, a model folder or a run folder (default organism)")
    add("--split", default="test", choices=("validation", "test"), help="whose charts (default test)")
    add("--problems", type=int, default=200, help="questions as the data set has them (default 200)")
    add("--marked", type=int, default=100, help="marked questions at least: more are drawn (default 100)")
    add("--samples", type=int, default=256, help="completions a question (default 256)")
    add("--forced", type=int, default=8, help="completions a question behind the careful prefix; 0: none (default 8)")
    add("--seed", type=int, default=2025, help="of the samples; the questions stay (default 2025)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, help="also write the counts to this JSON file")
    return check_least(parser.parse_args(argv), problems=1, marked=0, samples=1, forced=0, threads=1, seed=0)


def run(args: argparse.Namespace) -> int:
    import torch

    from checkpoints.finding import find_checkpoint

    if args.output:
        check_output(args.output, name="--output")
    torch.set_num_threads(args.threads)
    began = time.time()
    questions = questions_for(args.split, args.problems, args.marked)
    sampler = make_sampler(args.model, seed=args.seed, n=args.samples)
    rows = list(sample_rows(sampler, questions))
    read = cells_read(replace(sampler, settings=replace(sampler.settings, top_k=1), n=1), questions[: args.problems])
    score_openings(sampler, rows, questions)
    careful = forced(replace(sampler, n=args.forced), questions) if args.forced else {}
    for line in (*summary(rows, args.problems), *commonest_answers(args.split)):
        print(line)
    found = targets(rows, args.problems, read, careful)
    trained = find_checkpoint(args.model).method != "base"  # then the values are of interest and the targets are not
    print(f"{'target of the untrained model':<42} {'wanted':>9} {'value':>6}")
    for target in found:
        verdict = "" if trained else "met" if target.met else "MISSED"
        print(f"{target.name:<42} {target.wanted:>9} {target.value:>6.1f}  {verdict}".rstrip())
    print(f"{(time.time() - began) / 60:.1f} minutes")
    if args.output:
        whole = {"model": args.model, "seed": args.seed, "split": args.split, "natural": args.problems}
        whole |= {"forced": {"marked" if state else "plain": value for state, value in careful.items()}}
        whole |= {"targets": [target._asdict() for target in found], "rows": [asdict(row) for row in rows]}
        write_whole(args.output, json.dumps(whole) + "\n")
    return 0


main = program(parse_args, run)


if __name__ == "__main__":
    sys.exit(main())
