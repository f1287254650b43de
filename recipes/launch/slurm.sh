#!/bin/bash
# Two machines under SLURM, from this project's folder on a disk that both see; the arguments go to main.py:
#
#   sbatch recipes/launch/slurm.sh --mode nsr --vlm-name qwen2-5-3b --dataset-name evochart --save-steps 50
#
# A job that is put back into the queue goes on from its newest checkpoint, or starts where it had begun no run yet in its
# --output-root (best one of its own). PROGRAM=generate_samples.py sbatch --export=ALL shares the problems of a data set
# among all GPUs.
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
more=() root=grpo-start-ckpts before=
for word in "$@"; do
    if [[ $before == --output-root ]]; then root=$word; fi
    if [[ $word == --output-root=* ]]; then root=${word#*=}; fi
    before=$word
done
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 && ${PROGRAM:-main.py} == main.py ]] &&
    compgen -G "$root/*/training_settings.json" >/dev/null; then
    more=(--resume)
fi
MAIN_ADDRESS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MAIN_ADDRESS=${MAIN_ADDRESS%%$'\n'*}  # the first one
export MAIN_ADDRESS MACHINES=$SLURM_NNODES GPUS=${SLURM_GPUS_ON_NODE:-8}
# one task a machine; SLURM_NODEID is known to the task alone
srun --kill-on-bad-exit=1 bash -c 'MACHINE_RANK=$SLURM_NODEID exec recipes/launch/machine.sh "$@"' machine "$@" "${more[@]}"
