#!/bin/bash
# Does the order of the methods hold across tasks? GRPO, PSR, NSR and W-REINFORCE on charts, counting and grounding: the
# models that know counting and grounding are built first, then each task is what runs/compare_modes.sh does. One table a
# task, their order in words, one picture with bands. What is done is not done again; stop it whenever you like.
#
#   ./runs/compare_tasks.sh                                                          a night on two cores
#   RATES="1e-4 3e-4" UPDATES=100 PROBLEMS=300 NUM_SAMPLES=64 ./runs/compare_tasks.sh   under two hours
#
# Further flags are those of python -m study.compare_tasks --help; any others go to main.py.
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
FLAGS=(--folder "${RESULTS:-task_results}" --steps "${STEPS:-200}" --jobs "${JOBS:-2}")
FLAGS+=(--updates "${UPDATES:-300}" --problems "${PROBLEMS:-400}" --samples "${NUM_SAMPLES:-256}")
for LIST in TASKS MODES SEEDS RATES; do
    read -r -a VALUES <<< "${!LIST:-}"
    [[ ${#VALUES[@]} == 0 ]] || FLAGS+=("--${LIST,,}" "${VALUES[@]}")
done
exec python -m study.compare_tasks "${FLAGS[@]}" "$@"
