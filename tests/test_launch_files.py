"""The files in recipes/launch: what they start on every machine, and that the machines find each other and a disk."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from checkpoints.run_folder import SETTINGS_FILE, run_folder
from settings.arguments import parse_args
from tests.test_containers import instructions

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "recipes" / "launch"


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.yaml")), ids=lambda path: path.name)
def test_a_launch_file_is_read_by_accelerate_and_its_machines_find_each_other(path):
    if path.name in ("kubernetes.yaml", "zero2_offload.yaml"):  # the latter is for one machine: tests/test_offload.py
        return
    loaded = load_config_from_file(str(path))
    assert (loaded.num_machines, loaded.num_processes, loaded.mixed_precision) == (2, 16, "no")
    rest = ["--machine_rank", "1", "--main_process_ip", "10.0.0.1", "main.py", "--mode", "nsr"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), *rest]))
    assert args.main_process_port == 29500 and args.rdzv_backend == "static" and not args.use_cpu
    assert (args.use_deepspeed, args.use_fsdp) == (path.name == "zero3.yaml", path.name == "fsdp2.yaml")
    if args.use_deepspeed:
        assert args.zero_stage == 3 and args.deepspeed_multinode_launcher == "standard", "no pdsh, no ssh"
    if args.use_fsdp:
        assert args.fsdp_version == 2 or loaded.fsdp_config["fsdp_version"] == 2


def with_stand_ins(folder: Path, environment: dict, script: str, *arguments: str) -> list[list[str]]:
    """What the script starts as `accelerate`, once a machine; srun and scontrol are stand-ins."""
    programs = {
        "accelerate": 'printf "%s\\0" "$@" >> "$ARGUMENTS"; printf "\\n" >> "$ARGUMENTS"',
        "scontrol": "printf 'first\\nsecond\\n'",
        "srun": 'shift; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
    }
    (folder / "bin").mkdir()
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    own = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "ARGUMENTS": str(folder / "arguments"), **environment}
    done = subprocess.run([LAUNCH / script, *arguments], cwd=ROOT, env=own, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return [[str(done.returncode), done.stderr]]
    return [line.split("\0")[:-1] for line in (folder / "arguments").read_text().split("\n")[:-1]]


def launched(words: list[str]) -> tuple:
    """(the launcher's arguments, those of the program)."""
    own = launch_command_parser().parse_args(words[1:])
    assert words[0] == "launch" and (ROOT / own.config_file).is_file() and (ROOT / own.training_script).is_file()
    return own, own.training_script_args


@pytest.mark.parametrize(
    ("form", "begun"),
    [
        ("--output-root {}", "nsr-7"), ("--output-root={}", "nsr-7"), ("--config {}/of_root.yaml", "nsr-7"),
        ("--output-root {}", "nsr-8"), ("--config {}/of_root.yaml", None),
    ],
)  # fmt: skip
def test_slurm_starts_every_machine_and_a_job_that_comes_back_goes_on_if_it_had_begun(form, begun, tmp_path):
    """Its own run, wherever the folder of runs is named; others may lie there as well."""
    (tmp_path / "of_root.yaml").write_text(f"output_root: {tmp_path / 'runs'}\n")
    job = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_RESTART_COUNT": "1"}
    place = form.format(tmp_path if "config" in form else tmp_path / "runs")
    given = [*place.split(), "--mode", "nsr", "--seed", "7", "--prompt", "a b'c"]
    if begun:
        run = tmp_path / "runs" / f"tiny-prm-large-train-v2-{begun}"
        run.mkdir(parents=True)
        (run / "training_settings.json").touch()
    found = with_stand_ins(tmp_path, job, "slurm.sh", *given)
    assert len(found) == 2
    for rank, words in enumerate(found):
        own, arguments = launched(words)
        assert (own.machine_rank, own.num_machines, own.num_processes) == (rank, 2, 8)
        assert (own.main_process_ip, own.main_process_port, own.training_script) == ("first", 29500, "main.py")
        assert arguments == [*given, *["--resume"] * (begun == "nsr-7")]


def test_slurm_shares_the_problems_of_a_data_set_alike(tmp_path):
    job = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NNODES": "2", "SLURM_RESTART_COUNT": "1"}
    job["PROGRAM"] = "generate_samples.py"
    own, arguments = launched(with_stand_ins(tmp_path, job, "slurm.sh", "--num-samples", "4")[1])
    assert (own.training_script, own.num_processes, arguments) == ("generate_samples.py", 16, ["--num-samples", "4"])


def test_a_machine_that_does_not_know_its_place_says_so(tmp_path):
    ((code, said),) = with_stand_ins(tmp_path, {"MACHINES": "2"}, "machine.sh", "--mode", "nsr")
    assert code == "2" and "error: MACHINE_RANK is not set" in said


def test_the_pods_of_kubernetes_find_the_first_one_and_share_a_disk(tmp_path):
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    spec, name = job["spec"], job["metadata"]["name"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert service["spec"]["selector"] == {"job-name": name} and service["spec"]["clusterIP"] == "None"
    assert spec["completions"] == spec["parallelism"] == int(environment["MACHINES"])
    assert (
        environment["MAIN_ADDRESS"] == f"{name}-0.{pod['subdomain']}"
        and pod["subdomain"] == service["metadata"]["name"]
    )
    assert int(environment["GPUS"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    (folder,) = [rest for word, rest in instructions() if word == "WORKDIR"]
    assert container["workingDir"] == folder, "where the image has the project"
    script, _, *arguments = container["args"]
    assert "exec recipes/launch/machine.sh" in script and subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    script = script.replace("/runs", str(tmp_path)).replace("exec recipes/launch/machine.sh", "printf '%s\\n'")
    for begun in (False, True):  # a pod that is started again goes on, in the folder that it had begun in
        said = subprocess.run(["bash", "-c", script, "machine", *arguments], capture_output=True, text=True, check=True)
        given = parse_args(said.stdout.splitlines())
        assert (given.output_root, bool(given.resume)) == (str(tmp_path / "nsr"), begun)
        run = run_folder(given.output_root, given.vlm_name, given.mode, given.seed)
        run.mkdir(parents=True, exist_ok=True)
        (run / SETTINGS_FILE).touch()
