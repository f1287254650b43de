"""A run folder -> a folder ready for the hub: weights, a true card with curves, settings and command lines.

    python -m checkpoints.publish grpo-start-ckpts/qwen2-5-3b-prm-large-train-v2-nsr-2025 published \\
      --results results_nsr.json results_base.json

The adapter, or with --merged one model that needs no PEFT. Nothing is sent anywhere without --push-to-hub REPO, which
needs a login (`hf auth login` or HF_TOKEN) and makes a private repository. The folder is a checkpoint like any other
for generate_samples.py and main.py; it holds no path of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoints.merge import DTYPES, check_output_folder
from checkpoints.merge import check_adapter as check_mergeable
from common.commands import Parser, exit_code
from common.files import whole_folder
from common.network import stay_local
from common.terminal import first_line, hide_deprecations, printable

if TYPE_CHECKING:
    from checkpoints.finding import Checkpoint
    from evaluation.results import Results


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m checkpoints.publish", description=__doc__)
    add = parser.add_argument
    add("run_folder", help="run folder of main.py, or one of its checkpoints")
    add("output", type=Path, help="folder to make; its name is the model's")
    add("--results", nargs="+", default=[], metavar="JSON",
        help="results files of evaluation/pass_at_k.py for the card, one at least of these very weights")  # fmt: skip
    add("--merged", action="store_true", help="add the adapter into the weights of the base model")
    add("--dtype", choices=DTYPES, help=f"of merged weights (default: {DTYPES[0]})")
    add("--base-model", help="where the base model of the adapter is now, if not where it was in training")
    add("--overwrite", action="store_true", help="replace a model folder that is in the way")
    add("--push-to-hub", metavar="REPO", help="send the folder to this repository of the hub (name/model)")
    add("--public", action="store_true", help="with --push-to-hub: a repository that everyone can read")
    args = parser.parse_args(argv)
    if args.dtype and not args.merged:
        raise ValueError(f"--dtype {args.dtype} is that of merged weights; leave it out, or give --merged")
    if args.public and not args.push_to_hub:
        raise ValueError("--public says what --push-to-hub makes; leave it out or name the repository")
    return args


def run(args: argparse.Namespace) -> int:
    from checkpoints.finding import find_checkpoint
    from checkpoints.published_card import is_of, names_of
    from evaluation.results import find_file, read_results

    if args.push_to_hub:
        check_push(args.push_to_hub)
    checkpoint = find_checkpoint(args.run_folder, args.base_model)
    if not checkpoint.record:
        raise ValueError(
            f"{args.run_folder} is no run folder of main.py: there is nothing to say of how it was trained"
        )
    if not args.push_to_hub:
        stay_local(checkpoint.source, data_is_here=True)
    if args.merged:
        check_mergeable(checkpoint)
    results = [read_results(find_file(path)) for path in args.results]
    if results and not any(is_of(checkpoint, one) for one in results):
        raise ValueError(
            f"--results {' '.join(args.results)}: none was measured with the weights in {args.run_folder}; a card "
            "that shows them would speak of another model"
        )
    names_of(results)
    inputs = [path for path in (Path(args.run_folder), Path(checkpoint.source)) if path.is_dir()]
    check_output_folder(args.output, args.overwrite, inputs, ("config.json", "adapter_config.json"))
    publish(checkpoint, args.output, results, merged=args.merged, dtype=args.dtype or DTYPES[0])
    print(printable(f"✓ Ready for the hub: {args.output}"))
    if args.push_to_hub:
        print(printable(f"✓ Pushed to {push(args.output, args.push_to_hub, public=args.public)}"))
    return 0


def publish(checkpoint: Checkpoint, output: Path, results: list[Results], *, merged: bool, dtype: str) -> None:
    """Writes the folder, replaced when all of it is there."""
    from checkpoints.fingerprints import file_fingerprints, weight_files
    from checkpoints.merge import merge
    from checkpoints.published_card import published_card, published_record
    from checkpoints.run_folder import write_settings

    with whole_folder(output) as partial:
        if merged:
            merge(checkpoint, partial, dtype)
        else:
            copy_weights(checkpoint, partial)
        record = {**published_record(checkpoint.record), "finished": True, "updates": checkpoint.updates}
        training = draw(checkpoint, results, partial)
        card = published_card(output.resolve().name, checkpoint, merged=merged, run=training, results=results)
        (partial / "README.md").write_text(card, encoding="utf-8")
        record["weights"] = file_fingerprints(weight_files(partial))
        write_settings(partial, record)


def copy_weights(checkpoint: Checkpoint, folder: Path) -> None:
    """The trained weights as they are, and the processor; an adapter names its base as the hub does."""
    from checkpoints.fingerprints import weight_files
    from checkpoints.model_card import hub_name
    from models.registry import load_processor

    source = checkpoint.adapter or Path(checkpoint.source)
    folder.mkdir()
    index = [*source.glob("*.safetensors.index.json"), source / "generation_config.json"]
    for file in [*weight_files(source), *(path for path in index if path.is_file())]:
        shutil.copyfile(file, folder / file.name)
    place = folder / "adapter_config.json"
    if place.is_file():
        config, model = json.loads(place.read_text(encoding="utf-8")), checkpoint.record["model"]
        config["base_model_name_or_path"] = hub_name(model, False) or Path(str(model["name"])).name
        place.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    limits = {"min_pixels": checkpoint.min_pixels, "max_pixels": checkpoint.max_pixels}
    load_processor(checkpoint.source, **limits).save_pretrained(folder)


def draw(checkpoint: Checkpoint, results: list[Results], folder: Path):
    """Writes the pictures of the card into `folder`; the log of training, None where the run folder holds none."""
    from checkpoints.published_card import RESULTS, TRAINING, names_of
    from evaluation import curves, training_curves
    from evaluation.rendering import picture
    from evaluation.results import differences

    if results:
        apart = list(dict.fromkeys(reason for one in results[1:] for reason in differences(results[0], one)))
        (folder / RESULTS).write_bytes(picture(curves.draw_curves(results, names_of(results), warnings=apart), ".png"))
    try:
        training = training_curves.read_run(checkpoint.adapter or checkpoint.source)
    except ValueError:
        return None
    figure = training_curves.draw_training([training], [training.method])
    (folder / TRAINING).write_bytes(picture(figure, ".png"))
    return training


def check_push(repository: str) -> None:
    """ValueError for a push that cannot succeed, before anything is made."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"--push-to-hub {repository}: {error}") from None
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"--push-to-hub {repository}: HF_HUB_OFFLINE is set, and the hub is elsewhere; unset it")
    if get_token() is None:
        raise ValueError(f"--push-to-hub {repository} needs a login: `hf auth login`, or HF_TOKEN in the environment")


def push(folder: Path, repository: str, *, public: bool) -> str:
    """Sends the folder to the hub (or to HF_ENDPOINT) in one commit; where it can be seen."""
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        url = api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Trained weights and their card")
    except Exception as error:  # of the network, the hub and its files: they have no base class in common
        reason = f"{first_line(error)}; {folder} is whole and can be pushed again"
        raise ValueError(f"--push-to-hub {repository}: {reason}") from None
    return str(url)


def main(argv: list[str] | None = None) -> int:
    hide_deprecations()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return exit_code(lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
