"""Bad data, checkpoints and models, drawn from a seed: (program, arguments, what to name, fill)."""

from __future__ import annotations

import functools
import json
import pickle
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from models.registry import TINY_FOLDER
from tests import chart_copies as copies
from tests.bad_flags import GENERATE, MAIN, write
from tests.test_images import bomb

RUN = "tiny-prm-large-train-v2-nsr-2025"
STEP = "--mode nsr --vlm-name tiny --dataset-name synthetic --subset-size 8 --max-steps 1 --held-out 0 --report-to none"
STEP += " --max-completion-length 4 --num-generations 2 --disable-gradient-checkpointing --output-root runs"
READ = "--mode nsr --vlm-name tiny --report-to none --subset-size 4"
SAMPLE = "--num-samples 2 --output-path s.json"
TEXTS = (".json", ".jsonl", ".jinja")


def damaged(path: Path, how: str, draw: random.Random) -> None:
    """Cuts a file at a drawn place or flips a drawn bit: in text the highest of a byte, so that it is no UTF-8."""
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    if how == "cut":
        if path.suffix in TEXTS:  # not only the last space
            place = draw.randrange(len(content.rstrip()))
        path.write_bytes(content[:place])
        return
    content[place] ^= 0x80 if path.suffix in TEXTS or path.name == "s.json" else 1 << draw.randrange(8)
    path.write_bytes(content)


def then(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for step in steps:
            step(folder)

    return fill


def damage(name: str, how: str, draw: random.Random) -> Callable[[Path], None]:
    own = random.Random(draw.random())
    return lambda folder: damaged(folder / name, how, own)


# -- data -------------------------------------------------------------------------------------------------------------


def rows(count: int = 12, **bad) -> Callable[[Path], None]:
    """A data set of the user's own, `bad` replacing fields of its rows 3, 6 and 9."""

    def fill(folder: Path) -> None:
        (folder / "d").mkdir(exist_ok=True)
        lines = []
        for number in range(count):
            (folder / "d" / f"{number}.png").write_bytes(copies.png(number))
            row = {"image": f"{number}.png", "question": f"How red is {number}?", "answer": str(number)}
            if number in (3, 6, 9) and bad:
                row.update(bad)
            lines.append(json.dumps({key: value for key, value in row.items() if value is not ...}))
        for name in ("train", "test"):
            (folder / "d" / f"{name}.jsonl").write_text("\n".join(lines))

    return fill


def saved(make: Callable, *more: Callable[[Path], None]) -> Callable[[Path], None]:
    return then(lambda folder: make().save_to_disk(str(folder / "d")), *more)


def in_layout(make: Callable[[Path], Path], *more) -> Callable[[Path], None]:
    return then(lambda folder: make(folder / "d") and None, *more)


def data(draw: random.Random) -> Iterator[tuple]:
    image = write("d/bad.png", bomb(10_000, 10_000))
    bad_rows = [
        ({"image": "nothing.png"}, "nothing.png"), ({"image": "../../etc/passwd"}, "leaves its folder"),
        ({"image": "/etc/passwd"}, "leaves its folder"), ({"image": None}, "no image"), ({"image": ...}, "no image"),
        ({"image": 5}, "no image"), ({"image": {"path": None}}, "no image"), ({"image": "."}, "no file"),
        ({"answer": None}, "no answer"), ({"answer": ...}, "no answer"), ({"answer": " "}, "no answer"),
        ({"answer": []}, "no answer"), ({"question": ""}, "no question"), ({"question": ...}, "no question"),
        ({"tolerance": "narrow"}, "row 3"), ({"image": "test.jsonl"}, "not an image"),
        ({"image": "bad.png"}, "10000 x 10000"),
    ]  # fmt: skip
    for program, line in ((MAIN, READ), (GENERATE, f"--checkpoint-path tiny {SAMPLE}")):
        here = f"{line} --dataset-name custom --dataset-path d"
        for bad, named in draw.sample(bad_rows, 10):
            yield program, here, named, then(rows(**bad), image)
        file = "d/train.jsonl" if program == MAIN else "d/test.jsonl"
        yield program, here, file, then(rows(), damage(file, "flip", draw))
        yield program, here, "line 1", then(rows(), write(file, "{"))
        yield program, here, "no rows", then(rows(), write(file, ""))
        yield program, here, "cannot be used", then(rows(), write(file, "[]\n[]"))
        yield program, here, file, then(rows(), write(file, "[" * 100_000))
        other = "d/test.jsonl" if program == MAIN else "d/train.jsonl"  # of the same charts: all would be left out
        alone = then(rows(), lambda folder, other=other: (folder / other).unlink())
        yield program, f"{here} --subset-size 13", "13", alone
        yield program, f"{here}/train.jsonl.gz", "train.jsonl.gz", then(rows(), write("d/train.jsonl.gz", b"\x1f\x8b"))
        yield program, f"{here}/rows.pkl", "rows.pkl", then(rows(), write("d/rows.pkl", pickle.dumps([1])))
        yield program, f"{here}/r.parquet", "r.parquet", write("d/r.parquet", b"PAR1")
        yield program, here, "--dataset-path d", write("d/d.py", "import os")
        yield program, here, "--dataset-path d", write("d/README.md", "---\nconfigs: 5\n---")
    train = f"{READ} --dataset-path d --dataset-name"
    yield MAIN, f"{train} evochart", "for evaluation only", saved(copies.evochart_qa)
    yield MAIN, f"{train} figureqa", "cannot be used", saved(copies.evochart_qa)
    yield MAIN, f"{train} evochart", "neither", saved(copies.figureqa)
    yield MAIN, f"{train} chartqapro", "evaluation only", saved(copies.chartqapro)
    yield MAIN, f"{train} chartqa", "no question", in_layout(copies.plotqa_files)
    yield (
        MAIN,
        f"{READ.replace('4', '1000')} --dataset-path d --dataset-name chart-rvr",
        "36 rows",
        saved(copies.chart_rvr),
    )
    for name in ("dataset_info.json", "state.json"):
        for how in ("cut", "flip"):
            yield (
                MAIN,
                f"{train} chart-rvr",
                "--dataset-path d",
                saved(copies.chart_rvr, damage(f"d/{name}", how, draw)),
            )
    arrow = "d/data-00000-of-00001.arrow"
    yield MAIN, f"{train} chart-rvr", "--dataset-path d", saved(copies.chart_rvr, damage(arrow, "cut", draw))
    yield (
        MAIN,
        f"{train} chart-rvr",
        "--dataset-path d",
        saved(copies.chart_rvr, lambda folder: (folder / arrow).unlink()),
    )
    for layout, make, file in [
        ("chartqa", copies.chartqa_files, "d/ChartQA Dataset/train/train_human.json"),
        ("plotqa", copies.plotqa_files, "d/plotqa-qa-train.json"),
        ("chartfc", copies.chartfc_files, "d/train_barplot_seaborn_qa.json"),
    ]:
        for how in ("cut", "flip"):
            yield MAIN, f"{train} {layout}", Path(file).name, in_layout(make, damage(file, how, draw))
        yield MAIN, f"{train} {layout}", Path(file).name, in_layout(make, write(file, "5"))
    evaluate = f"--checkpoint-path tiny {SAMPLE} --dataset-path d --dataset-name"
    yield GENERATE, f"{evaluate} evochart", "training rows", saved(copies.chart_rvr)
    yield GENERATE, f"{evaluate} chartbench --split dev", "dev", in_layout(copies.chartbench_files)
    yield GENERATE, f"{evaluate} figureqa", "training rows only", saved(copies.figureqa)


# -- checkpoints and models -------------------------------------------------------------------------------------------


@functools.cache
def _kept() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="whole-run-")  # deleted when Python ends


@functools.cache
def whole_run() -> Path:
    """A run of one step, made once for this process: checkpoint-1 and the final adapter."""
    import main

    root = Path(_kept().name)
    assert main.main([*STEP.replace("--output-root runs", "").split(), "--output-root", str(root)]) == 0
    return root / RUN


def run(finished: bool, *more: Callable[[Path], None]) -> Callable[[Path], None]:
    """The whole run, unfinished for --resume, and what is done to it."""

    def fill(folder: Path) -> None:
        shutil.copytree(whole_run(), folder / "runs" / RUN)
        settings = folder / "runs" / RUN / "training_settings.json"
        record = json.loads(settings.read_text())
        record["settings"]["output_root"] = "runs"
        settings.write_text(json.dumps({**record, "finished": finished}))

    return then(fill, *more)


def edit(name: str, **values) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **values}))

    return fill


def replace_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new)) and None


def checkpoints(draw: random.Random) -> Iterator[tuple]:
    checkpoint = f"runs/{RUN}/checkpoint-1"
    files = sorted(path.name for path in (whole_run() / "checkpoint-1").iterdir() if path.stat().st_size)
    for name in files:
        named = "checkpoint-1 is damaged: " + name
        for how, flags in (("cut", "--resume"), ("flip", f"--resume {checkpoint}")):
            yield MAIN, f"{STEP} {flags}", named, run(False, damage(f"{checkpoint}/{name}", how, draw))
    for name in draw.sample(files, 4):
        gone = run(False, lambda folder, name=name: (folder / checkpoint / name).unlink())
        yield MAIN, f"{STEP} --resume", f"{name} is missing", gone
    settings = f"runs/{RUN}/training_settings.json"
    for how in ("cut", "flip"):
        for flags in ("", "--resume"):
            yield MAIN, f"{STEP} {flags}", "training_settings.json", run(False, damage(settings, how, draw))
    for values in ({"settings": 5}, {"data": [1]}, {"prompt": "x"}, {"settings": {"num_processes": "two"}}):
        yield MAIN, f"{STEP} --resume", RUN, run(False, edit(settings, **values))
    reseeded = run(False, replace_text(settings, '"seed": 2025', '"seed": 7'))
    yield MAIN, f"{STEP} --resume", "seed: 7", reseeded
    yield MAIN, STEP, "unfinished run", run(False)
    yield MAIN, f"{STEP} --resume", "finished", run(True)
    yield MAIN, f"{STEP} --resume runs/{RUN}/checkpoint-2", "checkpoint-2", run(False)
    here = f"--dataset-name synthetic --subset-size 2 {SAMPLE} --checkpoint-path"
    for place in (f"runs/{RUN}", checkpoint):
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            for how in ("cut", "flip", "flip"):
                yield GENERATE, f"{here} {place}", place, run(True, damage(f"{place}/{name}", how, draw))
        gone = run(True, lambda folder, place=place: (folder / place / "adapter_model.safetensors").unlink())
        yield GENERATE, f"{here} {place}", "adapter_model.safetensors", gone
        for how in ("cut", "flip"):
            yield GENERATE, f"{here} {place}", "training_settings.json", run(True, damage(settings, how, draw))
    for values in (
        {"prompt": 5},
        {"image": {"min_pixels": "a", "max_pixels": 4}},
        {"model": {"name": 7}},
        {"settings": {}},
    ):
        yield GENERATE, f"{here} runs/{RUN}", "training_settings.json", run(True, edit(settings, **values))
    yield GENERATE, f"{here} runs/{RUN} --prompt short", "--prompt short", run(True)
    yield GENERATE, f"{here} runs/{RUN}/checkpoint-9", "checkpoint-9", run(True)


def models(draw: random.Random) -> Iterator[tuple]:
    train = f"{STEP.replace('tiny', 'm')}"
    here = f"--dataset-name synthetic --subset-size 2 {SAMPLE} --checkpoint-path ./m"
    copy = functools.partial(lambda folder: shutil.copytree(TINY_FOLDER, folder / "m") and None)
    for program, line in ((MAIN, train), (GENERATE, here)):
        for name in ("config.json", "tokenizer.json", "processor_config.json", "model.safetensors"):
            yield program, line, "m", then(copy, damage(f"m/{name}", "cut", draw))
        for name in ("config.json", "tokenizer.json"):
            yield program, line, "m", then(copy, damage(f"m/{name}", "flip", draw))
        yield program, line, "m", then(copy, edit("m/config.json", model_type="unheard-of"))
        yield program, line, "m", then(copy, edit("m/config.json", text_config={"hidden_size": "wide"}))
        yield program, line, "m", then(copy, edit("m/config.json", text_config=[1]))
        yield program, line, "m", then(copy, lambda folder: (folder / "m/model.safetensors").unlink())
        yield program, line, "m", then(copy, write("m/model.safetensors", b"\xff" * 100))
        yield program, line, "m", then(copy, lambda folder: (folder / "m/tokenizer.json").unlink())
