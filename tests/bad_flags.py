"""Bad command lines and configuration files, drawn from a seed: (program, arguments, what to name, fill)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from settings.arguments import build_parser
from settings.table import all_settings

TRAIN = "--mode nsr --vlm-name tiny --dataset-name synthetic --subset-size 8 --report-to none"
SAMPLE = "--checkpoint-path tiny --dataset-name synthetic --subset-size 2 --num-samples 2 --output-path s.json"
MAIN, GENERATE, SCORE, PLOT = "main.py", "generate_samples.py", "evaluation/pass_at_k.py", "evaluation/plotting.py"
PAGE, CHECK, SWEEP = "evaluation/report.py", "evaluation/validate_rewards.py", "study/sweep.py"


def write(name: str, content: str | bytes):
    """A function that writes this file in the folder of a case."""

    def fill(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return fill


def misspelt(name: str, draw: random.Random) -> str:
    """The flag with one letter left out, doubled or changed."""
    place = draw.randrange(3, len(name))
    return name[:place] + draw.choice(["", name[place] * 2, "q"]) + name[place + 1 :]


def train_flags(draw: random.Random) -> Iterator[tuple]:
    actions = [action for action in build_parser()._actions if action.dest != "help"]
    flags = [action.option_strings[0] for action in actions]
    lines = []
    for setting in all_settings().values():
        if setting.kind in (int, float):
            below = setting.least - 1 if setting.above is None else setting.above
            lines.append((f"{setting.flag} {below}", setting.flag))
    most = {setting.flag: setting.most for setting in all_settings().values() if setting.most is not None}
    lines += [(f"{flag} {bound + 1}", flag) for flag, bound in most.items()]
    numbers = [action for action in actions if action.type in (int, float)]
    for action in draw.sample(numbers, 16):
        word = draw.choice(["many", "1e", "0x10", "1,5", "٣x", "''", "--", "nan" if action.type is float else "1.5"])
        lines.append((f"{action.option_strings[0]} {word}", action.option_strings[0]))
    for action in draw.sample([action for action in actions if action.type is float], 4):
        lines.append((f"{action.option_strings[0]} inf", action.option_strings[0]))
    for action in [action for action in actions if action.choices]:
        lines.append((f"{action.option_strings[0]} {action.choices[0]}x", action.option_strings[0]))
    lines += [
        (wrong, wrong) for wrong in (misspelt(name, draw) for name in draw.sample(flags, 12)) if wrong not in flags
    ]
    for setting in all_settings().values():
        if setting.methods:
            unused = next(mode for mode in ("grpo", "psr") if mode not in setting.methods)
            value = setting.choices[-1] if setting.choices else setting.default
            lines.append((f"{setting.flag} {value} --mode {unused}", setting.flag))
        if setting.lora:
            value = "" if setting.kind is bool else "q_proj" if setting.several else 4
            lines.append((f"--no-lora {setting.flag} {value}", setting.flag))
    lines += [
        ("--vlm-name", "--vlm-name"),
        ("--lora-targets", "--lora-targets"),
        ("--vlm-name ''", "unknown model ''"),
        ("--vlm-name qwen2-5-3c", "qwen2-5-3b"),
        ("--vlm-name ./nowhere/model", "./nowhere/model"),
        ("--vlm-name .", "config.json"),
        ("--vlm-name /etc/passwd", "/etc/passwd"),
        ("--vlm-name nobody/nothing-of-this-name", "nobody/nothing-of-this-name"),
        ("--dataset-name synthetik", "synthetik"),
        ("--dataset-name chartqapro", "evaluation only"),
        ("--dataset-name plotqa", "--dataset-path"),
        ("--dataset-name chartqa", "--dataset-path"),
        ("--dataset-name custom --dataset-path nowhere", "nowhere"),
        ("--dataset-path .", "--dataset-path"),
        ("--prompt longer", "--prompt"),
        ("--rewards none", "--rewards"),
        ("--reward format", "accuracy is missing"),
        ("--reward accuracy nowhere.py:f", "nowhere.py"),
        ("--lora-targets q_proj qproj", "qproj"),
        ("--min-pixels 900000", "900000"),
        ("--max-pixels 100", "100"),
        ("--min-pixels 10 --max-pixels 100", "max_pixels 100 is below"),
        ("--num-generations 3 --gradient-accumulation-steps 1", "--gradient-accumulation-steps"),
        ("--batch-size 64 --num-generations 2", "--batch-size"),
        ("--precision fp16", "--precision fp16"),
        ("--resume", "--resume"),
        ("--resume nowhere/checkpoint-5", "--resume"),
        ("--config nowhere.yaml", "nowhere.yaml"),
        ("--config .", "--config"),
        ("--output-root /dev/null", "--output-root"),
        ("train harder", "train harder"),
        ("-m nsr", "-m"),
    ]
    yield MAIN, "", "--mode is missing", None
    for line, named in lines:
        yield MAIN, f"{TRAIN} {line}", named, None


def other_flags(draw: random.Random) -> Iterator[tuple]:
    samples = '[{"problem_id": 1, "correct": [true, false]}]'
    for line, named in [
        ("--num-samples 0", "--num-samples"), ("--num-samples few", "--num-samples"),
        ("--temperature 0", "temperature"),
        ("--temperature nan", "temperature"), ("--top-p 0", "top-p"), ("--top-p 1.5", "top-p"), ("--top-k -1", "top-k"),
        ("--max-new-tokens 0", "--max-new-tokens"), ("--seed x", "--seed"), ("--shard 3/2", "--shard"),
        ("--shard 0/2", "--shard"), ("--shard x", "--shard"), ("--output-path s.txt", "--output-path"),
        ("--output-path no/s.json", "no"), ("--subset-size 0", "--subset-size"), ("--chunk 0", "--chunk"),
        ("--dtype int8", "--dtype"), ("--backend vllm", "--backend"), ("--prompt longer", "--prompt"),
        ("--min-pixels 0", "--min-pixels"), ("--min-pixels 9 --max-pixels 4", "pixel"),
        ("--min-pixels 10 --max-pixels 100", "max_pixels 100 is below"), ("--split dev", "dev"),
        ("--dataset-name figureqa", "figureqa"), ("--dataset-path nowhere", "--dataset-path"),
        ("--checkpoint-path nobody", "nobody"), ("--checkpoint-path ./no/run", "./no/run"),
        ("--merge", "not sampled yet"),
        ("--checkpoint-path .", "neither an adapter nor a model"), ("--seed -1", "--seed"),
    ]:  # fmt: skip
        yield GENERATE, f"{SAMPLE} {line}", named, None
    wrong = misspelt("--num-samples", draw)
    yield GENERATE, f"{SAMPLE} {wrong} 4", wrong, None
    yield GENERATE, "--dataset-name synthetic --output-path s.json", "--checkpoint-path", None
    for program, line, named in [
        (SCORE, "", "--samples-path"), (SCORE, "--samples-path no.json", "no.json"), (SCORE, "--samples-path .", "."),
        (SCORE, "--samples-path s.json --k-values 0", "--k-values"), (SCORE, "--samples-path s.json --k-values 4", "4"),
        (SCORE, "--samples-path s.json --k-values 1,x", "x"),
        (SCORE, "--samples-path s.json --metrics all luck", "luck"),
        (SCORE, "--samples-path s.json --rescore luck", "luck"),
        (SCORE, "--samples-path s.json --marks good", "--marks"),
        (SCORE, "--samples-path s.json --marks correct_strict", "correct_strict"),
        (SCORE, "--compare s.json", "--compare"),
        (SCORE, "--samples-path s.json --output-path no/r.json", "no"), (SCORE, "--compare s.json no.json", "no.json"),
        (SCORE, "--samples-path s.json --output-path s.json", "s.json"),
        (SCORE, "--samples-path s.json --fast", "--fast"),
        (PLOT, "--output p.png", "--results"), (PLOT, "--results s.json --output p.png", "s.json"),
        (PLOT, "--results s.json --training . --output p.png", "--training"), (PLOT, "--results s.json", "--output"),
        (PLOT, "--results s.json --output p.gif", "p.gif"), (PLOT, "--training . --output p.png", "trainer_state.json"),
        (PLOT, "--training no --output p.png", "no"), (PLOT, "--training . --output p.png --baseline x", "--baseline"),
        (PAGE, "", "SAMPLES"), (PAGE, "no.json", "no.json"), (PAGE, "s.json --completions -1", "--completions"),
        (PAGE, "s.json --image-size 2", "--image-size"), (PAGE, "s.json --labels a b", "--labels"),
        (PAGE, "s.json --output-path s.json", "s.json"), (PAGE, "s.settings.json", "samples file"),
        (CHECK, "", "LOG"), (CHECK, "no_nsr.log", "no_nsr.log"), (CHECK, "s.json", "--mode"),
        (CHECK, "s.json --mode nsr", "Rewards Accuracy"), (CHECK, "s.json --mode best", "--mode"),
        (CHECK, "s.json --mode nsr --mode psr", "--mode"),
        (SWEEP, "--lambdas x", "--lambdas"), (SWEEP, "--lambdas -1", "--lambdas"), (SWEEP, "--mode nsr", "--mode"),
        (SWEEP, "--seeds x", "--seeds"), (SWEEP, "--problems 0", "--problems"), (SWEEP, "--samples 0", "--samples"),
        (SWEEP, "--jobs 0", "--jobs"), (SWEEP, "--learning-rate -1", "--learning-rate"),
        (SWEEP, "--splitt x", "--splitt"),
        (SWEEP, "--vlm-name qwen2-5-3c", "qwen2-5-3c"), (SWEEP, "--dataset-name synthetik", "synthetik"),
        (SWEEP, "--seeds -1 --subset-size 8", "--seed"), (SWEEP, "--dataset-path no", "--dataset-path"),
        (SWEEP, "--lambdas .", "--lambdas"), (SWEEP, "--lambdas 1 1", "--lambdas"),
        (SWEEP, "--folder s.json", "s.json"),
    ]:  # fmt: skip
        yield program, line, named, write("s.json", samples)


def configs(draw: random.Random) -> Iterator[tuple]:
    whole = "mode: nsr\nbatch_size: 2\nlearning_rate: 1.0e-5\nlora_targets: [q_proj, v_proj]\nreport_to: none\n"
    contents = [
        b"\xff\xfe\x00binary", b"", b"\x00", b"- mode\n- nsr\n", b"nsr", b"42", b"mode nsr", b"mode: [nsr",
        b"mode: 'nsr",
        b"mode: nsr\n\tbatch_size: 2", b"mode: nsr\nmode_: psr", b"mode: nsr\nbatch-size: 2\nbatch_size: 4",
        b"mode: &a [*a]",
        b"mode: !!python/object/apply:os.system ['touch owned']", b"a: &a [1]\nb: *c", b"{" * 5000, b"[" * 5000,
        b"mode: nsr\nconfig: other.yaml", b"mode: nsr\nhelp: true", b"? [mode]\n: nsr", b"mode: nsr\n---\nmode: psr",
        b"mode: nsr\nseed: " + b"9" * 5000, b"mode: nsr\nseed: .inf", b"mode: nsr\nseed: .nan", b"mode: 2025-99-99",
        b"mode: nsr\nbatch_size: two", b"mode: nsr\nbatch_size: 2.5", b"mode: nsr\nbatch_size: true",
        b"mode: nsr\nbatch_size: [2]", b"mode: nsr\nbatch_size:", b"mode: nsr\nlora_targets: q_proj",
        b"mode: nsr\nlora_targets: []", b"mode: nsr\nlora_targets: [{a: b}]", b"mode: nsr\nno_lora: maybe",
        b"mode: nsr\nno_lora: 1", b"mode: worst", b"mode: nsr\nlearning_rate: -1", b"mode: nsr\nmax_steps: 0",
        b"mode: nsr\nbatch_size: {a: 1}", b"mode: nsr\nresume: [a, b]", b"mode: nsr\nprecision: 16", b"mode: null",
        b"mode: nsr\nlora_targets: &a [&b [&c [x, x], *c], *b]",
    ]  # fmt: skip
    lines = whole.encode().splitlines(keepends=True)
    for _ in range(6):  # a key misspelt, a colon lost
        place = draw.randrange(len(lines))
        key = lines[place].split(b":")[0]
        broken = draw.choice(
            [misspelt(f"---{key.decode()}", draw)[3:].encode() + lines[place][len(key) :], key + b"\n"]
        )
        contents.append(b"".join([*lines[:place], broken, *lines[place + 1 :]]))
    for content in contents:
        wrong = {b"mode: nsr\nlearning_rate: -1": "--learning-rate", b"mode: nsr\nmax_steps: 0": "--max-steps"}
        yield MAIN, "--config bad.yaml", wrong.get(content, "bad.yaml"), write("bad.yaml", content)
