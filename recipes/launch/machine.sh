#!/bin/bash
# What every machine of a run starts; the arguments go to main.py:
#
#   MACHINES=2 MACHINE_RANK=0 MAIN_ADDRESS=10.0.0.1 recipes/launch/machine.sh --mode nsr --vlm-name qwen2-5-3b
#
# By environment: MACHINES, MACHINE_RANK (0, 1, ...), MAIN_ADDRESS (of the machine of rank 0); GPUS of each machine (8),
# PORT (29500), LAUNCH (recipes/launch/zero3.yaml), PROGRAM (main.py; generate_samples.py shares the problems alike).
set -euo pipefail
cd "$(dirname "$0")/../.."
for name in MACHINES MACHINE_RANK MAIN_ADDRESS; do
    [[ -n ${!name:-} ]] || { echo "error: $name is not set; see the first lines of $0" >&2; exit 2; }
done
exec accelerate launch --config_file "${LAUNCH:-recipes/launch/zero3.yaml}" \
    --num_machines "$MACHINES" --machine_rank "$MACHINE_RANK" --num_processes $((MACHINES * ${GPUS:-8})) \
    --main_process_ip "$MAIN_ADDRESS" --main_process_port "${PORT:-29500}" "${PROGRAM:-main.py}" "$@"
