"""The command lines of a published model's card: how its weights were made, and how they were measured."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from charts.named import has_adapter
from common.launcher import Launch
from evaluation.results import Results
from settings.losses import LOSSES
from settings.table import all_settings
from trainers import METHODS

# where something was on the machine that trained, and how the run was watched there
OF_THE_MACHINE = {"config", "output_root", "resume", "overwrite", "estimate", "base_model", "report_to", "wandb_online"}
SERVER = "http://SERVER:8000/v1"  # in place of the address of one
# (DeepSpeed's stage, optimiser on the host, FSDP, several machines) -> launch file; those of several say how many
LAUNCH_FILES = {
    (3, False, False, False): "deepspeed_zero3.yaml",
    (3, False, False, True): "recipes/launch/zero3.yaml",
    (2, True, False, False): "recipes/launch/zero2_offload.yaml",
    **{(0, False, fsdp, several): f"recipes/launch/{name}.yaml"
       for fsdp, name in ((False, "ddp"), (True, "fsdp2")) for several in (False, True)},
}  # fmt: skip


def command_line(settings: dict) -> list[str]:
    """The words after main.py that give these settings again, but for OF_THE_MACHINE."""
    mode, loss = settings["mode"], LOSSES.get(settings.get("loss") or "")
    of_loss = {"averaging": loss.averaging, **loss.defaults} if loss else {}
    defaults = {name: one.default for name, one in all_settings().items()} | METHODS[mode].defaults | of_loss
    if settings.get("clip_high") is None and defaults["clip_high"] is not None:
        defaults["clip"] = None  # it was given, and is then the upper end too
    words = ["--mode", mode]
    for name, setting in all_settings().items():
        value = settings.get(name)
        unused = (setting.methods and mode not in setting.methods) or (setting.lora and settings["no_lora"])
        if unused or name in {*OF_THE_MACHINE, "mode"} or value is None or value is False:
            continue
        if name == "prompt" and settings.get("prompt_file"):
            continue  # "own": the file is its place
        if value == defaults[name] and name not in ("vlm_name", "dataset_name"):
            continue
        given = [] if setting.kind is bool else value if setting.several else [value]
        words += [setting.flag, *map(str, given)]
    return words


def launcher(launch: Launch) -> list[str]:
    """The words before main.py that share a model among as many processes in the same way."""
    if launch == Launch():
        return ["python"]
    words, several = ["accelerate", "launch"], launch.machines > 1
    file = LAUNCH_FILES.get((launch.zero, launch.offload, launch.fsdp, several))
    if file:
        words.append(f"--config_file={file}")
    else:
        words += ["--use_deepspeed", "--zero_stage", str(launch.zero), "--gradient_clipping", "1.0"]
        words += ["--offload_optimizer_device", "cpu"] if launch.offload else []
        words += ["--zero3_init_flag", "true", "--zero3_save_16bit_model", "true"] if launch.zero == 3 else []
        words += ["--deepspeed_multinode_launcher", "standard"] if several else []
    if several or not (file and launch.zero):
        words += ["--num_machines", str(launch.machines)]
    words += ["--num_processes", str(launch.processes)]
    if several:
        words += ["--machine_rank", "0", "--main_process_ip", "FIRST_MACHINE", "--main_process_port", "29500"]
    return words


def commands(name: str, record: dict, results: Sequence[Results]) -> str:
    """How the weights of a published record were made, and measured, as lines of a shell."""
    settings = record["settings"]
    launch = Launch(**(record.get("launch") or {"processes": settings.get("num_processes") or 1}))
    lines = [[*launcher(launch), "main.py", *command_line(settings)]]
    for one in results[:1]:
        lines.append(["python", "generate_samples.py", "--checkpoint-path", name, *_sampling(settings, one)])
        paths = ["--samples-path", "samples.json", "--output-path", "results.json"]
        lines.append(["python", "evaluation/pass_at_k.py", *paths])
    return "\n".join(map(shlex.join, lines))


def _sampling(settings: dict, results: Results) -> list[str]:
    """The flags with which the samples of these results were drawn."""
    sampling, data = results.part("sampling"), results.part("data")
    asked = results.part("asked") or {"dataset_name": data.get("name", settings["dataset_name"])}
    name = str(asked["dataset_name"])
    flags = {
        **asked,
        "dataset_name": public_data_set(name, data.get("name", name)),
        "dataset_path": asked.get("dataset_path") and last_name(str(asked["dataset_path"])),
        "output_path": "samples.json",
        "num_samples": results.metadata.get("samples_per_problem"),
        **{name: sampling.get(name) for name in ("temperature", "top_p", "top_k", "max_new_tokens", "seed")},
        "without_image": results.without_image,
        "backend": None if sampling.get("backend") == "engine" else sampling.get("backend"),
        "server_url": SERVER if sampling.get("backend") == "server" else None,
    }
    given = {f"--{name.replace('_', '-')}": value for name, value in flags.items() if value is not None}
    return [word for flag, value in given.items() for word in (flag, str(value))]


def public_data_set(name: str, read: str) -> str:
    """The name of a data set as it was given, without the folder of one that is a file or folder; `read`: the name that
    its questions have, which is that of the hub or of the adapter where there is one."""
    base, at, _ = name.rpartition("@")
    if has_adapter(name) or (base if at else name).partition(":")[0] == read:
        return name
    return f"./{last}" if has_adapter(last := last_name(name)) else last


def last_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
