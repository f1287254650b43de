"""What a GPU takes for decoding, prefill, update and a whole step, each beside the least it could take.

    python benchmarks/gpu.py --json gpu.json                    # Qwen2.5-VL-3B's shape, random weights, bf16; 8 minutes
    python benchmarks/gpu.py --size tiny --device cpu           # the embedded model, a minute: does it run at all
    python benchmarks/gpu.py --from-json gpu.json --plot docs/gpu_speed.png

Floors: bytes over the bandwidth of a large copy, operations over the rate of a large matrix product, both measured
first. Decoding reads the language model's weights and the keys and values so far; prefill does 2 operations a weight
and token, an update 6 (forward, gradient of the activations, and once more under checkpointing). Logits are scaled so
that a nucleus of 0.95 holds tens of tokens, as a trained model's does. Completions to be compared have one length;
those of a whole step are geometric, with the end token's chance held. Stock is TRL's GRPOTrainer and transformers'
generate. Every line is printed, and the JSON file written, as soon as it is known; a part that fails says why, and the
others go on. Nothing is begun after --seconds, and 100 s later what still runs is given up: with the imports that is
eight minutes on any card. benchmarks/GPU.md says how to run it on a machine without a network.
"""

import argparse
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import updates
from benchmarks.floors import SIZES, Bench
from benchmarks.measuring import bar_chart
from common.commands import Parser, check_least, program
from models.registry import lora_config
from sampling.engine import Request, decode
from sampling.prefill import prefill_all
from sampling.settings import SamplingSettings

PARTS = ("decode", "prefill", "sampling", "update", "stock")
SPARE = 100  # seconds beyond --seconds for what has been begun; stock TRL's two steps take as much on an H200


class TimeIsUp(BaseException):
    """No Exception: decoding and training go on after many of those."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--size", default="3b", choices=tuple(SIZES))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help=", ".join(PARTS))
    parser.add_argument("--seconds", type=int, default=360, help="no part is begun, nor a size of it, after these")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--from-json", type=Path, help="measure nothing, read the figures from here")
    parser.add_argument("--plot", type=Path, help="draw the figures and their floors into this file")
    return check_least(parser.parse_args(argv), seconds=0)


# -- the parts ------------------------------------------------------------------------------------------------------


def measure_decode(bench: Bench) -> None:
    """Without an adapter, then with one that is not merged, under autocast as in a rollout."""
    from peft import get_peft_model

    adapter = lora_config(bench.model.config)
    adapter.init_lora_weights = False
    for kind in ("no adapter", "LoRA"):
        model = bench.model if kind == "no adapter" else get_peft_model(bench.model, adapter).eval()
        low = kind == "LoRA" and bench.dtype == torch.bfloat16
        try:
            with torch.no_grad(), torch.autocast(bench.args.device, dtype=bench.dtype) if low else nullcontext():
                for rows in bench.size.rows:
                    if not bench.late(f"decode of {rows} rows, {kind}"):
                        measure_rows(bench, model, rows, kind)
        finally:  # the parts that follow measure the model without an adapter
            bench.model = model.unload() if kind == "LoRA" else model


def measure_rows(bench: Bench, model: torch.nn.Module, rows: int, kind: str) -> None:
    """A decode step of so many rows: the difference of a long and a short run."""
    short, long = bench.size.steps

    def draw(steps: int) -> None:
        settings = SamplingSettings(top_p=0.95, max_new_tokens=steps)
        decode(model, [Request(bench.prompt, "p", range(rows))], settings=settings, eos_ids=[-1])

    took = {steps: bench.timed(lambda s=steps: draw(s), repeat=4, of=min) for steps in (short, long)}
    step = (took[long] - took[short]) / (long - short)
    floor = bench.decoding(rows, (short + long) / 2)
    more = {"tokens/s": rows / step, **launches(bench, draw, short), **bench.peak()}
    bench.note("decode", f"{rows} rows, {kind}", 1e3 * step, "ms a step", 1e3 * floor, **more)


def launches(bench: Bench, draw: Callable[[int], None], steps: int) -> dict[str, float]:
    """Kernels, the time they take, and launches by the host, a step of a run of `steps`; nothing on a CPU.

    A captured step is one launch. Setting up and ending the run count too.
    """
    if not bench.on_gpu:
        return {}
    draw(steps)  # buffers have moved for the longer runs: what was captured for short ones is captured anew
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        draw(steps)
        torch.cuda.synchronize()
    events = seen.key_averages()
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    host = [event for event in events if event.device_type != torch.autograd.DeviceType.CUDA]
    return {
        "kernels a step": sum(event.count for event in kernels) / steps,
        "ms in kernels": sum(event.self_device_time_total for event in kernels) / 1e3 / steps,
        "launches a step": sum(event.count for event in host if "launch" in event.key.lower()) / steps,
    }


def measure_prefill(bench: Bench) -> None:
    tokens = sum(inputs["input_ids"].shape[1] for inputs in bench.inputs)
    patches = sum(int(inputs["image_grid_thw"].prod()) for inputs in bench.inputs)
    operations = 2 * (bench.counts.layers * tokens + bench.counts.vision_layers * patches)
    with torch.no_grad():
        took = bench.timed(lambda: prefill_all(bench.model, bench.inputs))
    name = f"{len(bench.inputs)} prompts of about {tokens // len(bench.inputs)} tokens, each with an image"
    bench.note("prefill", name, 1e3 * took, "ms", 1e3 * operations / bench.rate, **bench.peak())


def measure_sampling(bench: Bench) -> None:
    """Completions of one problem, prefill included, all of the long run's length, against generate."""
    size, length = bench.size, bench.size.steps[1]
    settings = SamplingSettings(top_p=0.95, max_new_tokens=length)
    inputs = {name: value.to(bench.args.device) for name, value in bench.inputs[0].items()}
    options = {"top_k": 0, "top_p": 0.95, "max_new_tokens": length, "min_new_tokens": length}

    def ours() -> None:
        requests = [Request(prefill_all(bench.model, bench.inputs[:1])[0], "p", range(size.samples))]
        decode(bench.model, requests, settings=settings, eos_ids=[-1])

    def stock() -> None:
        bench.model.generate(**inputs, do_sample=True, temperature=1.0, num_return_sequences=size.samples, **options)

    floor = length * bench.decoding(size.samples, length / 2)
    with torch.no_grad():
        took = [bench.timed(way, repeat=1) for way in (ours, stock)]
    name = f"{size.samples} completions of {length} tokens"
    more = {"generate s": took[1], "times generate": took[1] / took[0], **bench.peak()}
    bench.note("sampling", name, took[0], "s", floor, **more)


def measure_step(bench: Bench, base: type, batch: int) -> dict[str, float]:
    """Seconds of a rollout and its update, and their floors, from the last step.

    Ours is the fourth: in the first three the decoder's buffers grow and its graphs are captured, and captured anew.
    """
    size = bench.size
    accumulation = size.completions // batch
    work = updates.Work(size.generations, 1.0, size.prompt / size.longest, size.longest, batch, accumulation)
    steps = 4 if base is updates.Packed and bench.on_gpu else 2
    trainer, *_ = updates.run(base, bench.model_args, work, steps=steps, dtype=bench.dtype, sampled=True)
    rollout, update = trainer.rollouts_took[-1], trainer.updates_took[-1]
    mean, longest = (trainer.state.log_history[-1][f"completions/{which}_length"] for which in ("mean", "max"))
    tokens = size.completions * (mean + size.prompt / size.generations)
    del trainer
    gc.collect()
    if bench.on_gpu:
        torch.cuda.empty_cache()
    return {
        "rollout": rollout, "update": update, "tokens": tokens,
        "rollout floor": longest * bench.decoding(size.completions, mean / 2),
        "update floor": 6 * bench.language * tokens / bench.rate,
    }  # fmt: skip


def measure_update(bench: Bench, base: type = updates.Packed, name: str = "ours") -> None:
    for batch in bench.size.batches if base is updates.Packed else bench.size.batches[:1]:
        if bench.late(f"{name}, batch {batch}"):
            continue
        found = measure_step(bench, base, batch)
        what = f"{bench.size.completions} completions, batch {batch}"
        found |= {f"whole step{end}": found[f"rollout{end}"] + found[f"update{end}"] for end in ("", " floor")}
        hours = found["whole step"] * 20_000 / bench.size.completions / 3600
        more = {
            "update": {"tokens": found["tokens"]},
            "rollout": {},
            "whole step": {"hours for 20,000 completions": hours, **bench.peak()},
        }
        for part, others in more.items():
            label = f"{part} of {what}"
            ours = bench.value("ours", label)
            ratio = {"times ours": found[part] / ours} if ours else {}
            bench.note(name, label, found[part], "s", found[f"{part} floor"], **others, **ratio)


def measure_stock(bench: Bench) -> None:
    from trl import GRPOTrainer

    measure_update(bench, GRPOTrainer, "stock TRL")


# -- the picture ------------------------------------------------------------------------------------------------------


def draw_figures(found: dict, path: Path) -> None:
    """A bar a figure that has a floor, in multiples of the floor."""
    shown = [figure for figure in found["figures"] if figure["floor"]][::-1]
    names = [f"{figure['part']}: {figure['name']}" for figure in shown]
    colours = ["#bbbbbb" if one["part"].startswith("stock") else "#4477aa" for one in shown]
    xlabel = f"time over the least possible on {found['machine']} (stock TRL in grey)"
    figure, axes = bar_chart(names, [one["value"] / one["floor"] for one in shown], color=colours, xlabel=xlabel)
    for place, one in enumerate(shown):
        axes.text(one["value"] / one["floor"], place, f" {one['value']:.3g} {one['unit']}", va="center", fontsize=7)
    axes.set_xscale("log")
    figure.savefig(path, dpi=150)


def measure_all(args: argparse.Namespace) -> int:
    if args.from_json:
        found = json.loads(args.from_json.read_text(encoding="utf-8"))
        draw_figures(found, args.plot or args.from_json.with_suffix(".png"))
        return 0
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the trainers take a GPU wherever they see one
    import transformers.utils.logging as quiet

    quiet.set_verbosity_error()
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.alarm(args.seconds + SPARE)
    bench = Bench(args)
    try:
        whole = measure_parts(bench)
    except TimeIsUp:
        whole = False
        print(f"{bench.seconds:5.0f} s  given up: --seconds {args.seconds} and {SPARE} more are over", flush=True)
    finally:
        signal.alarm(0)
    if args.plot:
        draw_figures(bench.found, args.plot)
    return 0 if whole else 1


def _time_is_up(*of_signal: object) -> None:
    raise TimeIsUp


def measure_parts(bench: Bench) -> bool:
    """Whether none of the parts that were begun has failed."""
    bench.rates()
    bench.load()
    parts = {"decode": measure_decode, "prefill": measure_prefill, "sampling": measure_sampling,
             "update": measure_update, "stock": measure_stock}  # fmt: skip
    failed = []
    for part in bench.args.parts:
        if bench.late(part):
            continue
        if part in ("update", "stock"):  # these make their own model
            bench.model = bench.prompt = None
        gc.collect()
        try:
            parts[part](bench)
        except Exception:  # one part that fails must not cost the other figures
            failed.append(part)
            print(f"{bench.seconds:5.0f} s  {part}: failed\n{traceback.format_exc()}", flush=True)
    return not failed


main = program(parse_args, measure_all)

if __name__ == "__main__":
    sys.exit(main())
