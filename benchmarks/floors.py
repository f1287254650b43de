"""The sizes that `gpu.py` measures at, and its figures, each beside the least it could take on this machine."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from benchmarks.measuring import now
from benchmarks.workloads import build_inputs, make_model
from models.registry import load_processor, lora_config
from sampling.prefill import prefill_all
from update.memory import count_parameters, shape_of

SPREAD = 6.0  # standard deviation of the scaled logits


@dataclass(frozen=True)
class Size:
    rows: tuple[int, ...]  # completions decoded together
    steps: tuple[int, int]  # tokens of a short and of a long run; their difference is timed
    prompt: int
    image: int  # tokens of the prompt that are its image's
    prompts: int  # of the prefill
    samples: int  # of one problem, against generate
    longest: int  # tokens of a completion of the whole step; of the update's
    mean: int
    generations: int
    completions: int  # of an update
    batches: tuple[int, int]


SIZES = {
    "3b": Size((8, 64, 256), (24, 88), 600, 324, 8, 256, 128, 80, 8, 64, (8, 32)),
    "tiny": Size((2, 8), (2, 32), 60, 16, 2, 8, 8, 4, 2, 4, (2, 4)),
}


class Bench:
    """The figures so far, the machine's two rates, and the model at hand."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.size, self.started = args, SIZES[args.size], time.perf_counter()
        self.on_gpu = args.device == "cuda"
        self.dtype = torch.bfloat16 if args.size == "3b" else torch.float32
        self.model_args = SimpleNamespace(
            random_weights=args.size == "3b", model="tiny", image_tokens=self.size.image, longest=self.size.longest,
            mean_length=self.size.mean,
        )  # fmt: skip
        self.figures: list[dict] = []

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def note(self, part: str, name: str, value: float, unit: str, floor: float | None = None, **more: float) -> None:
        """Prints a figure, its floor in the same unit, and whatever else there is, and writes them to the file."""
        figure = {"part": part, "name": name, "value": value, "unit": unit, "floor": floor, **more}
        self.figures.append(figure)
        beside = "" if floor is None else f"; floor {floor:.4g} {unit}, {value / floor:.1f} times it"
        rest = "".join(f"; {key} {number:,.4g}" for key, number in more.items())
        print(f"{self.seconds:5.0f} s  {part}: {name}: {value:.4g} {unit}{beside}{rest}", flush=True)
        if self.args.json:
            self.args.json.write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    def value(self, part: str, name: str) -> float | None:
        """A figure of before; None where it has not been measured."""
        known = (one["value"] for one in self.figures if (one["part"], one["name"]) == (part, name))
        return next(known, None)

    def late(self, what: str) -> bool:
        """Whether it is too late to begin, which is said."""
        if self.seconds <= self.args.seconds:
            return False
        print(f"{self.seconds:5.0f} s  {what}: not begun, --seconds {self.args.seconds} are over", flush=True)
        return True

    @property
    def found(self) -> dict:
        machine = torch.cuda.get_device_name() if self.on_gpu else "a CPU"
        return {"machine": machine, "torch": torch.__version__, "size": self.args.size, "figures": self.figures}

    def timed(self, function: Callable[[], object], repeat: int = 3, of: Callable = statistics.median) -> float:
        """Median seconds (or what `of` makes of them) of `repeat` calls after one that is not counted."""
        took = []
        for _ in range(1 + repeat):
            start = now()
            function()
            took.append(now() - start)
        return of(took[1:])

    def peak(self) -> dict[str, float]:
        """Highest GiB allocated since the last call."""
        if not self.on_gpu:
            return {}
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return {"peak GiB": peak}

    def rates(self) -> None:
        large, side = (2**30, 8192) if self.on_gpu else (2**22, 512)
        source = torch.ones(large, dtype=torch.uint8, device=self.args.device)
        target = torch.empty_like(source)
        self.bandwidth = 2 * large / self.timed(lambda: target.copy_(source))
        a = torch.randn(side, side, dtype=self.dtype, device=self.args.device)
        self.rate = 2 * side**3 / self.timed(lambda: a @ a)
        self.note("machine", "bandwidth of a copy", self.bandwidth / 1e9, "GB/s")
        self.note("machine", "matrix product", self.rate / 1e12, "TFLOP/s")

    def load(self) -> None:
        self.model = make_model(self.model_args, self.dtype).to(self.args.device).eval()
        self.processor = load_processor("tiny")
        config = self.model.config
        self.shape, self.counts = shape_of(config), count_parameters(config, lora_config(config))
        self.language = self.counts.layers + self.shape.vocabulary * self.shape.hidden
        size = SimpleNamespace(prompt_tokens=self.size.prompt, image_tokens=self.size.image)
        self.inputs = [build_inputs(self.processor, size, "cpu", number) for number in range(self.size.prompts)]
        with torch.no_grad():
            self.prompt = prefill_all(self.model, self.inputs[:1])[0]
            factor = SPREAD / self.prompt.logits.float().std().item()
            head = self.model.get_output_embeddings()
            head.register_forward_hook(lambda module, inputs, logits: logits.mul_(factor))
            self.prompt = prefill_all(self.model, self.inputs[:1])[0]

    def decoding(self, rows: int, held: float) -> float:
        """Seconds that a decode step takes at least: `held` tokens of each row's completion are in the cache."""
        cached = 2 * self.shape.layers * self.shape.key_value * (self.size.prompt + rows * held)
        reading = self.dtype.itemsize * (self.language + cached) / self.bandwidth
        return max(reading, 2 * rows * self.language / self.rate)
