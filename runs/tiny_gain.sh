#!/bin/bash
# Does training gain accuracy? `organism` on its charts, 200 updates a mode, then accuracy on test charts before and
# after, on the same problems, with a paired 95 % interval. Two modes at a time, a core each.
#
#   ./runs/tiny_gain.sh                       GRPO, PSR, NSR and W-REINFORCE
#   MODES="psr" UPDATES=100 JOBS=1 ./runs/tiny_gain.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# == 0 ]] || { echo "error: $1 is unknown; settings are given in the environment: MODES, UPDATES, PROBLEMS, JOBS" >&2; exit 2; }
source ./environment.sh requirements.txt
MODES=${MODES:-grpo psr nsr w-reinforce}
export UPDATES=${UPDATES:-200} SEED=${SEED:-2025} PROBLEMS=${PROBLEMS:-200} NUM_SAMPLES=${NUM_SAMPLES:-32}
export RESULTS=${RESULTS:-gain_results}
JOBS=${JOBS:-2}
export PER_UPDATE=8  # questions an update: 64 completions, 8 of each question

OMP_NUM_THREADS=$(threads_each JOBS)
export OMP_NUM_THREADS

mkdir -p "$RESULTS"
sample() {  # checkpoint, method
    python generate_samples.py --checkpoint-path "$1" --dataset-name procedures --subset-size "$PROBLEMS" \
        --num-samples "$NUM_SAMPLES" --output-path "$RESULTS/samples_$2.json" --overwrite &&
        python evaluation/pass_at_k.py --samples-path "$RESULTS/samples_$2.json" \
            --output-path "$RESULTS/results_$2.json" --method-name "$2"
}
gain() {  # mode
    echo "== $1 is trained: $RESULTS/train_$1.log"
    python main.py --mode "$1" --vlm-name organism --dataset-name procedures --seed "$SEED" \
        --subset-size $((UPDATES * PER_UPDATE)) --num-generations 8 --batch-size 16 --gradient-accumulation-steps 4 \
        --eval-steps 100000 --report-to none --disable-gradient-checkpointing \
        --output-root "$RESULTS/runs" --overwrite > "$RESULTS/train_$1.log" 2>&1 || { tail -n 3 "$RESULTS/train_$1.log"; return 1; }
    sample "$RESULTS/runs/organism-prm-large-train-v2-$1-$SEED" "$1" > "$RESULTS/sample_$1.log" 2>&1 ||
        { tail -n 3 "$RESULTS/sample_$1.log"; return 1; }
}
export -f sample gain

sample organism base
printf '%s\n' $MODES | xargs -n 1 -P "$JOBS" bash -c 'gain "$1" || exit 255' gain

echo
echo "Accuracy after training minus before, on the same $PROBLEMS test problems x $NUM_SAMPLES samples:"
for MODE in $MODES; do
    echo "== $MODE"
    python evaluation/pass_at_k.py --compare "$RESULTS/results_$MODE.json" "$RESULTS/results_base.json"
done
