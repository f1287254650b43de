"""Time ladder for many completions of a prompt: `generate` as people call it, and this project's engine.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py                     # embedded model, ~300-token prompt, N = 256
    python benchmarks/sampling.py --model qwen2-5-3b --num-samples 256  # any model of the registry
    python benchmarks/sampling.py --problems 16 --num-samples 64        # several problems, few samples of each
    python benchmarks/sampling.py --text                                # the text decoder of the model, no image

All rungs draw from the same distribution (temperature 1, top-p 0.95) with the same length law: the chance of the end
token is held at 1/24 a step by a hook on the language head, so completions are geometric with mean 24, at most 96.
Equality of the sampled tokens is asserted in an untimed pass in which `generate` reads the engine's random numbers;
two completions may part only where noise of 1e-5 on the logits, about their rounding, yields either token. With
`--problems` three rungs are timed, and the engine's two compared: generate_samples.py decodes several problems together
where there are at least 64 of them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.measuring import PeakMemory, now
from benchmarks.workloads import add_text_flag, build_inputs, hold_lengths, model_to_measure
from common.commands import Parser, check_least, program
from models.families import tokenizer_of
from models.registry import load_model, load_processor, resolve_model, unsampleable_token_ids
from sampling.engine import Request, decode, sample, sample_each
from sampling.job import ROWS
from sampling.prefill import prefill
from sampling.random_streams import stream_key, uniforms
from sampling.settings import SamplingSettings
from sampling.sizes import BLOCK_STEPS
from sampling.token_sampling import choose, weights

PROBLEM = "benchmark"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    add_text_flag(parser)
    parser.add_argument("--num-samples", type=int, default=256)
    parser.add_argument("--problems", type=int, default=1, help="more than one: one after another against together")
    parser.add_argument("--prompt-tokens", type=int, default=299, help="the question is padded to this length")
    parser.add_argument("--image-tokens", type=int, default=144, help="of these, so many are the image's")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--rungs", nargs="*", type=int, choices=range(1, 6), help="only these (default: all five)")
    parser.add_argument("--repeat", type=int, default=1, help="best of this many runs")
    return check_least(parser.parse_args(argv), num_samples=1, problems=1, max_new_tokens=1, repeat=1)


class Ladder:
    """The five ways. Each draws N completions and returns their token ids."""

    def __init__(
        self, model, inputs: dict[str, torch.Tensor], n: int, limit: int, eos: int, suppress: list[int], name=PROBLEM
    ):
        self.model, self.inputs, self.n, self.eos, self.suppress, self.name = model, inputs, n, eos, suppress, name
        self.settings = SamplingSettings(top_p=0.95, max_new_tokens=limit)
        self.length = inputs["input_ids"].shape[1]
        self.rungs: list[tuple[str, Callable[[], list[list[int]]]]] = [
            ("generate() in batches of 8, image repeated", self.batches),
            ("generate(num_return_sequences=N)", self.return_sequences),
            ("prefill once, cache repeated, generate()", self.repeated_cache),
            ("own loop, repeated cache, ended rows dropped", lambda: self.engine(copied=True)),
            ("generate_samples.py: own loop, prompt K/V kept once", self.shipped),
        ]

    def _generate(self, inputs: dict[str, torch.Tensor], **more: object) -> list[list[int]]:
        sequences = self.model.generate(
            **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=0.95, repetition_penalty=1.0,
            max_new_tokens=self.settings.max_new_tokens, suppress_tokens=self.suppress, eos_token_id=self.eos,
            pad_token_id=self.eos, **more,
        )  # fmt: skip
        rows = sequences[:, self.length :].tolist()
        return [row[: row.index(self.eos) + 1] if self.eos in row else row for row in rows]

    def batches(self) -> list[list[int]]:
        out: list[list[int]] = []
        for start in range(0, self.n, 8):
            rows = min(8, self.n - start)
            out += self._generate({name: torch.cat([tensor] * rows) for name, tensor in self.inputs.items()})
        return out

    def return_sequences(self) -> list[list[int]]:
        return self._generate(self.inputs, num_return_sequences=self.n)

    def repeated_cache(self) -> list[list[int]]:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config.get_text_config())
        prompt = {name: t[:, :-1] if t.shape[:2] == (1, self.length) else t for name, t in self.inputs.items()}
        with torch.inference_mode():
            self.model(**prompt, cache=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(self.n)
        ids = self.inputs["input_ids"].repeat_interleave(self.n, 0)
        return self._generate({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, cache=cache)

    def engine(self, copied: bool) -> list[list[int]]:
        request = Request(prefill(self.model, self.inputs), PROBLEM, range(self.n))
        options = {"settings": self.settings, "eos_ids": [self.eos], "suppress": self.suppress, "copied": copied}
        return decode(self.model, [request], **options)[0].token_ids

    def shipped(self) -> list[list[int]]:
        options = {"n": self.n, "settings": self.settings, "problem_id": PROBLEM, "eos_ids": [self.eos]}
        return sample(self.model, self.inputs, suppress=self.suppress, **options).token_ids


@contextmanager
def shared_random_numbers(seed: int, rows: int, first_row: Callable[[], int]) -> Iterator[None]:
    """`torch.multinomial`, which generate() draws with, reads the engine's numbers inside."""
    stock, key, step, blocks = torch.multinomial, stream_key(seed, PROBLEM), [0, 0], {}

    def drawn(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        if step[1] != first_row():
            step[:] = [0, first_row()]
        block = step[0] // BLOCK_STEPS
        if block not in blocks:
            blocks[block] = uniforms(key, block, 0, rows)
        numbers = blocks[block][step[1] : step[1] + len(probabilities), step[0] % BLOCK_STEPS]
        step[0] += 1
        return choose(probabilities, torch.from_numpy(numbers.copy()).to(probabilities.device))[0][:, None]

    torch.multinomial = drawn
    try:
        yield
    finally:
        torch.multinomial = stock


def check_equality(ladder: Ladder) -> None:
    """Every rung gives the engine's tokens when it reads the engine's random numbers."""
    expected = ladder.shipped()
    first = [0]
    generate = ladder._generate

    def counting(*args: object, **more: object) -> list[list[int]]:
        rows = generate(*args, **more)
        first[0] += len(rows)
        return rows

    ladder._generate = counting
    for name, rung in ladder.rungs[:4]:
        first[0] = 0
        with shared_random_numbers(ladder.settings.seed, ladder.n, lambda: first[0]):
            rows = rung()
        unequal = [n for n, (a, b) in enumerate(zip(rows, expected, strict=True)) if a != b]
        ties = sum(is_near_tie(ladder, n, rows[n], expected[n]) for n in unequal)
        print(f"  {ladder.n - len(unequal)} of {ladder.n} equal, {ties} part at a near tie: {name}", flush=True)
        if ladder.model.dtype == torch.float32:
            assert ties == len(unequal), f"{name}: other tokens than the engine's"
    del ladder._generate


def is_near_tie(ladder: Ladder, row: int, tokens: list[int], expected: list[int], slack: float = 1e-5) -> bool:
    """Whether rounding can part the two: noise of `slack` on the logits yields either of the first unequal tokens."""
    step = next(n for n, (a, b) in enumerate(zip(tokens, expected, strict=False)) if a != b)
    ids = torch.tensor([expected[:step]], dtype=torch.long, device=ladder.model.device)
    inputs = dict(ladder.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    for name, filling in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:  # types are of a model that reads images
            inputs[name] = torch.nn.functional.pad(inputs[name], (0, step), value=filling)
    with torch.no_grad():
        logits = ladder.model(**inputs, logits_to_keep=1).logits[:, -1]
    key = stream_key(ladder.settings.seed, ladder.name)
    uniform = float(uniforms(key, step // BLOCK_STEPS, row, 1)[0, step % BLOCK_STEPS])
    suppress = torch.tensor(ladder.suppress, device=logits.device)
    noise = torch.randn((512, logits.shape[-1]), generator=torch.Generator().manual_seed(0)).to(logits.device)
    weight = weights(logits.float() + slack * noise, ladder.settings, suppress)
    possible = choose(weight, torch.full((512,), uniform, dtype=torch.float64, device=logits.device))[0]
    return {tokens[step], expected[step]} <= set(possible.tolist())


def best_of(repeat: int, draw: Callable[[], list]) -> tuple[list, tuple[float, float]]:
    """What the last of `repeat` calls returns, and the least time of any: seconds of the clock, and of the CPU."""
    seconds = []
    for _ in range(repeat):
        started = now(), time.process_time()
        drawn = draw()
        seconds.append((now() - started[0], time.process_time() - started[1]))
    return drawn, min(seconds)


def measure(ladder: Ladder, rungs: list[int], repeat: int) -> None:
    seconds: dict[int, tuple[float, float]] = {}  # wall clock, this process's CPU time
    for number in rungs:
        name, rung = ladder.rungs[number - 1]
        torch.manual_seed(number)
        with PeakMemory() as memory:
            rows, seconds[number] = best_of(repeat, rung)
        tokens = sum(map(len, rows))
        print(
            f"{number}  {name:<52} {seconds[number][0]:8.2f} s {ladder.n / seconds[number][0]:9.1f} samples/s "
            f"{seconds[number][1]:8.2f} CPU s {tokens / ladder.n:6.1f} tokens each {memory.mebibytes:8.0f} MiB",
            flush=True,
        )
    for number in rungs[:-1]:
        wall, cpu = (slow / fast for slow, fast in zip(seconds[number], seconds[rungs[-1]], strict=True))
        print(f"rung {rungs[-1]} is {wall:.1f} times as fast as rung {number} ({cpu:.1f} in CPU time)")


def several_problems(
    model, prompts: list[dict[str, torch.Tensor]], args: argparse.Namespace, eos: int, suppress
) -> None:
    """`--num-samples` of every prompt: by generate(), one prompt after another, and ROWS completions at a time."""
    n, settings = args.num_samples, SamplingSettings(top_p=0.95, max_new_tokens=args.max_new_tokens)
    named = [(f"problem {number}", inputs) for number, inputs in enumerate(prompts)]
    ladders = [Ladder(model, inputs, n, args.max_new_tokens, eos, suppress, name) for name, inputs in named]
    options = {"n": n, "settings": settings, "eos_ids": [eos], "suppress": suppress}
    ways = {
        "generate(num_return_sequences=N), one problem after another": lambda: [
            ladder.return_sequences() for ladder in ladders
        ],
        "own loop, one problem after another": lambda: [
            sample(model, inputs, problem_id=name, **options).token_ids for name, inputs in named
        ],
        f"own loop, {ROWS} completions of several problems at a time": lambda: [
            samples.token_ids
            for start in range(0, len(named), max(1, ROWS // n))
            for samples in sample_each(model, named[start : start + max(1, ROWS // n)], **options)
        ],
    }
    seconds, drawn = {}, {}
    sample(model, prompts[0], problem_id=named[0][0], **options)  # warm-up
    for name, way in ways.items():
        torch.manual_seed(1)
        drawn[name], (seconds[name], _) = best_of(args.repeat, way)
        print(f"{name:<60} {seconds[name]:8.2f} s {n * len(named) / seconds[name]:9.1f} samples/s", flush=True)
    stock, alone, together = ways
    print(f"together: {seconds[stock] / seconds[together]:.1f} times as fast as generate(), ", end="")
    print(f"{seconds[alone] / seconds[together]:.2f} times as fast as one after another")
    parted = [
        is_near_tie(ladder, row, *pair)
        for ladder, one, other in zip(ladders, drawn[together], drawn[alone], strict=True)
        for row, pair in enumerate(zip(one, other, strict=True))
        if pair[0] != pair[1]
    ]
    print(f"{n * len(named) - len(parted)} of {n * len(named)} completions equal, {sum(parted)} part at a near tie")
    if model.dtype == torch.float32:
        assert all(parted), "other tokens than one problem after another"


def measure_all(args: argparse.Namespace) -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(args.model).to(device).eval()
    processor = load_processor(args.model)
    eos, suppress = tokenizer_of(processor).eos_token_id, unsampleable_token_ids(processor)
    hold_lengths(model, eos)
    if args.problems > 1:
        prompts = [build_inputs(processor, args, device, number) for number in range(args.problems)]
        several_problems(model, prompts, args, eos, suppress)
        return 0
    inputs = build_inputs(processor, args, device)
    ladder = Ladder(model, inputs, args.num_samples, args.max_new_tokens, eos, suppress)
    name = resolve_model(args.model).name
    print(f"{name}, prompt of {ladder.length} tokens, N = {args.num_samples}, {device}, {model.dtype}", flush=True)
    ladder.shipped()  # warm-up
    measure(ladder, args.rungs or [1, 2, 3, 4, 5], args.repeat)
    print("tokens on shared random numbers (untimed):")
    check_equality(ladder)
    return 0


def run(args: argparse.Namespace) -> int:
    with model_to_measure(args):
        return measure_all(args)


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
