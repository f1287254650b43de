#!/bin/bash
# The tests, on a fresh clone too: ./run_tests.sh (fast ones), ./run_tests.sh --all (slow ones as well, ruff and mypy).
# As many tests at a time as there are cores, four at most. Further arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
source ./environment.sh requirements-dev.txt || exit 1
workers=(-n auto --maxprocesses 4 --dist worksteal)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1

if [[ ${1:-} == --all ]]; then
    shift
    python -m ruff check . && python -m ruff format --check . && python -m mypy \
        && exec python -m pytest "${workers[@]}" -m "slow or not slow" "$@"
    exit 1
fi
exec python -m pytest "${workers[@]}" "$@"
