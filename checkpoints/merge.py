"""A run folder's adapter and its base model -> a full model in a folder of its own.

    python -m checkpoints.merge grpo-start-ckpts/qwen2-5-3b-prm-large-train-v2-nsr-2025 merged

The sum is made in float32, which needs memory for the base model in float32, and is exact to its last bits. --dtype
bfloat16 rounds it once, at the end, and with it part of what a small adapter has changed. The folder loads with
transformers alone, and main.py and generate_samples.py take it as a model that knows its prompt and image limits. An
adapter that was trained on a base in 4 bits (--base-4bit) is added to the full weights.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from checkpoints.finding import Checkpoint, find_checkpoint, load
from checkpoints.finding import check_adapter as check_fit
from checkpoints.fingerprints import file_fingerprints, weight_files
from checkpoints.run_folder import write_settings
from common.commands import Parser, program
from common.files import whole_folder
from common.network import stay_local
from common.terminal import hide_deprecations, printable
from models.registry import load_config, load_processor

DTYPES = ("float32", "bfloat16", "float16")
TIED = ("lm_head", "embed_tokens")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m checkpoints.merge", description=__doc__)
    add = parser.add_argument
    add("run_folder", help="run folder of main.py with an adapter, or one of its checkpoints")
    add("output", type=Path, help="folder to make")
    add("--dtype", choices=DTYPES, default="float32", help="of the weights written (default: %(default)s)")
    add("--base-model", help="where the base model of the adapter is now, if not where it was in training")
    add("--overwrite", action="store_true", help="replace a model folder that is in the way")
    return parser.parse_args(argv)


def check_output_folder(
    output: Path, overwrite: bool, inputs: list[Path], kinds: tuple[str, ...] = ("config.json",)
) -> None:
    """ValueError when the folder cannot be made, or what is there must not be replaced.

    It may be when it holds one of `kinds`, and no checkpoints of a run.
    """
    if not output.parent.is_dir():
        raise ValueError(f"{output}: folder {output.parent} does not exist; create it first")
    place = output.resolve()
    if any(place == path or place in path.parents or path in place.parents for path in map(Path.resolve, inputs)):
        raise ValueError(f"{output} is, holds or lies in a folder that is read; name another one")
    if not output.exists():
        return
    if not overwrite:
        raise ValueError(f"{output} is there already; name another folder, or replace it with --overwrite")
    if not any((output / name).is_file() for name in kinds):
        raise ValueError(f"{output} is no model folder, so --overwrite does not replace it; name another folder")
    if any(output.glob("checkpoint-*")):
        raise ValueError(f"{output} holds the checkpoints of a run, so --overwrite does not replace it; name another")


def check_adapter(checkpoint: Checkpoint) -> None:
    """ValueError when there is no adapter, or one that cannot be added into the base model's weights."""
    if checkpoint.adapter is None:
        raise ValueError(f"{checkpoint.path} holds no adapter: it is a full model already")
    check_fit(checkpoint)
    config = json.loads((checkpoint.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    tied = [target for target in config["target_modules"] if target.split(".")[-1] in TIED]
    if tied and load_config(checkpoint.source).get_text_config().tie_word_embeddings:
        raise ValueError(
            f"{checkpoint.path}: its adapter acts on {tied[0]}, which shares its weights with another layer of this "
            "model, so it cannot be added into them"
        )


def merge(checkpoint: Checkpoint, output: Path, dtype: str = "float32") -> None:
    """Writes the full model, its processor, card and settings to `output`, replaced when all of it is written."""
    import torch

    from checkpoints.model_card import after_updates, model_card

    limits = {"min_pixels": checkpoint.min_pixels, "max_pixels": checkpoint.max_pixels}
    processor = load_processor(checkpoint.source, **limits)
    checkpoint = replace(checkpoint, base_4bit=False)
    model = load(checkpoint, dtype="float32", device="cpu", merge_adapter=True).to(getattr(torch, dtype))
    updates = checkpoint.updates
    with whole_folder(output) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        card = after_updates(model_card(output.resolve().name, checkpoint.record, merged=True), updates)
        (partial / "README.md").write_text(card, encoding="utf-8")
        made = {"finished": True, "updates": updates, "weights": file_fingerprints(weight_files(partial))}
        write_settings(partial, {**checkpoint.record, **made})


def run(args: argparse.Namespace) -> int:
    hide_deprecations()
    checkpoint = find_checkpoint(args.run_folder, args.base_model)
    stay_local(checkpoint.source, data_is_here=True)
    check_adapter(checkpoint)
    inputs = [path for path in (Path(args.run_folder), Path(checkpoint.source)) if path.is_dir()]
    check_output_folder(args.output, args.overwrite, inputs)
    merge(checkpoint, args.output, args.dtype)
    if checkpoint.base_4bit:
        print("The adapter was trained on a base in 4 bits and is added to the full weights: answers differ a little")
    print(printable(f"✓ Merged model saved to {args.output}"))
    return 0


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
