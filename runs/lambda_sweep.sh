#!/bin/bash
# W-REINFORCE at lambda 0, 0.05, 0.1, 0.15, 0.2, 0.5 and 1, ending in a table and two pictures in lambda_sweep/.
# On your own model and data: ./runs/lambda_sweep.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
exec python -m study.sweep "$@"
