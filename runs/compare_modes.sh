#!/bin/bash
# Which mode, on your own model and data? Trains every mode at every learning rate of one grid, keeps each one's best by
# Pass@1 on the validation split, and prints one table: Pass@1 / 16 / 256 with paired intervals against the untrained model,
# and Pass@1 without the image. What is done is not done again; stop it whenever you like.
#
#   ./runs/compare_modes.sh                                        tiny on synthetic charts: days on two cores
#   MODES="nsr psr" RATES=3e-5 UPDATES=100 PROBLEMS=100 NUM_SAMPLES=64 ./runs/compare_modes.sh         half an hour
#   MODEL=qwen2-5-3b DATASET=chartqa SEEDS="1 2 3" JOBS=1 ./runs/compare_modes.sh --batch-size 8 --num-generations 8
#
# Further flags are those of python -m study.compare_modes --help; any others go to main.py.
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
FLAGS=(--vlm-name "${MODEL:-tiny}" --dataset-name "${DATASET:-synthetic}" --folder "${RESULTS:-mode_results}")
FLAGS+=(--updates "${UPDATES:-300}" --problems "${PROBLEMS:-400}" --samples "${NUM_SAMPLES:-256}" --jobs "${JOBS:-2}")
for LIST in MODES SEEDS RATES; do
    read -r -a VALUES <<< "${!LIST:-}"
    [[ ${#VALUES[@]} == 0 ]] || FLAGS+=("--${LIST,,}" "${VALUES[@]}")
done
exec python -m study.compare_modes "${FLAGS[@]}" "$@"
