#!/bin/bash
# Does training gain accuracy? `tiny` on synthetic charts, 300 updates a mode, then accuracy on test charts
# before and after, on the same problems, with a paired 95 % interval.
#
#   ./runs/tiny_gain.sh                       PSR, GRPO, NSR and W-REINFORCE
#   MODES="psr" UPDATES=100 ./runs/tiny_gain.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source ./environment.sh requirements.txt
MODES=${MODES:-grpo psr nsr w-reinforce} UPDATES=${UPDATES:-300} SEED=${SEED:-2025} PROBLEMS=${PROBLEMS:-200}
NUM_SAMPLES=${NUM_SAMPLES:-32} RESULTS=${RESULTS:-gain_results}
PER_UPDATE=8  # questions an update: 64 completions, 8 of each question

mkdir -p "$RESULTS"
sample() {  # checkpoint, method
    python generate_samples.py --checkpoint-path "$1" --dataset-name synthetic --subset-size "$PROBLEMS" \
        --num-samples "$NUM_SAMPLES" --output-path "$RESULTS/samples_$2.json" --overwrite
    python evaluation/pass_at_k.py --samples-path "$RESULTS/samples_$2.json" \
        --output-path "$RESULTS/results_$2.json" --method-name "$2"
}

sample tiny base
for MODE in $MODES; do
    python main.py --mode "$MODE" --vlm-name tiny --dataset-name synthetic --seed "$SEED" \
        --subset-size $((UPDATES * PER_UPDATE)) --num-generations 8 --batch-size 16 --gradient-accumulation-steps 4 \
        --eval-steps 100000 --report-to none --disable-gradient-checkpointing \
        --output-root "$RESULTS/runs" --overwrite 2>&1 | tee "$RESULTS/train_$MODE.log" | grep -E "held-out|Held-out|saved|error"
    sample "$RESULTS/runs/tiny-prm-large-train-v2-$MODE-$SEED" "$MODE"
done

echo
echo "Accuracy after training minus before, on the same $PROBLEMS test problems x $NUM_SAMPLES samples:"
for MODE in $MODES; do
    echo "== $MODE"
    python evaluation/pass_at_k.py --compare "$RESULTS/results_$MODE.json" "$RESULTS/results_base.json"
done
