#!/bin/bash
# Does negative reinforcement keep diversity? The embedded model, base and four methods, three seeds each, 400 test problems
# x 256 samples: docs/reproduction.md. About six hours on two cores; what is done is not done again.
#
#   ./runs/reproduce_tiny.sh              counts in reproduction/counts, models and samples in reproduction/models
#   ./runs/reproduce_tiny.sh --quick      twenty minutes: 100 updates, one seed, 100 problems x 64 samples
#   JOBS=1 ./runs/reproduce_tiny.sh       one stage at a time (a core each)
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
[[ ${1:-} == "" || ${1:-} == --quick ]] || { echo "error: $1 is unknown; the one flag is --quick" >&2; exit 2; }
FOLDER=${FOLDER:-reproduction${1:+_quick}}
python -m study.commands reproduce ${1:+--quick} --counts "$FOLDER/counts" --work "$FOLDER/models" --jobs "${JOBS:-2}"
python -m study.reproduction --print ${1:+--quick} --counts "$FOLDER/counts"
