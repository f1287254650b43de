#!/bin/bash
# What does each method do to ways of answering? The embedded model `organism`, base and four methods at one learning
# rate and each at its own, three seeds, 400 test problems and 100 on marked charts x 256 samples: docs/reproduction.md.
# About three hours on two cores; what is done is not done again.
#
#   ./runs/reproduce_tiny.sh              counts in reproduction/counts, models and samples in reproduction/models
#   ./runs/reproduce_tiny.sh --quick      at most twenty minutes: 100 updates, one seed and rate, 150 problems x 64 samples
#   JOBS=1 ./runs/reproduce_tiny.sh       one model at a time (a core each)
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
[[ ${1:-} == "" || ${1:-} == --quick ]] || { echo "error: $1 is unknown; the one flag is --quick" >&2; exit 2; }
FOLDER=${FOLDER:-reproduction${1:+_quick}}
python -m study.commands reproduce ${1:+--quick} --counts "$FOLDER/counts" --work "$FOLDER/models" --jobs "${JOBS:-2}"
python -m study.reproduction --print ${1:+--quick} --counts "$FOLDER/counts"
