#!/bin/bash
# Two machines under SLURM, from this project's folder on a disk that both see; the arguments go to main.py:
#
#   sbatch recipes/launch/slurm.sh --mode nsr --vlm-name qwen2-5-3b --dataset-name evochart --save-steps 50
#
# A job that is put back into the queue goes on from its newest checkpoint, or starts if its run folder is not there yet.
# PROGRAM=generate_samples.py sbatch --export=ALL shares the problems of a data set among all GPUs.
#SBATCH --job-name=decomposed-vlm-rl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
more=()
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 && ${PROGRAM:-main.py} == main.py ]]; then
    # as main.py names it, by its flags and its --config
    folder=$(python - "$@" <<'END'
import sys

from checkpoints.run_folder import run_folder
from common.commands import exit_code
from settings.arguments import parse_args


def tell():
    args = parse_args(sys.argv[1:])
    print(run_folder(args.output_root, args.vlm_name, args.mode, args.seed))
    return 0


sys.exit(exit_code(tell))
END
    )
    if [[ -f $folder/training_settings.json ]]; then more=(--resume); fi
fi
MAIN_ADDRESS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MAIN_ADDRESS=${MAIN_ADDRESS%%$'\n'*}  # the first one
export MAIN_ADDRESS MACHINES=$SLURM_NNODES GPUS=${SLURM_GPUS_ON_NODE:-8}
# one task a machine; SLURM_NODEID is known to the task alone
srun --kill-on-bad-exit=1 bash -c 'MACHINE_RANK=$SLURM_NODEID exec recipes/launch/machine.sh "$@"' machine "$@" "${more[@]}"
