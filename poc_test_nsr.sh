#!/bin/bash
# The proof of concept: the four modes on 100 questions, the reward check, then samples, Pass@k, one picture, one page.
#
#   ./poc_test_nsr.sh                     on a fresh clone; installs what it needs
#   ./poc_test_nsr.sh                     again: finished modes are kept, the rest is done
#   ./poc_test_nsr.sh --overwrite         everything anew; arguments go to main.py
#   MODEL=qwen2-5-3b DATASET=evochart NUM_PROCESSES=2 ./poc_test_nsr.sh
#
# Settings by environment: MODEL, DATASET, SUBSET (100), SEED (2025), NUM_PROCESSES (1), PROBLEMS (48), NUM_SAMPLES (256),
# EVALUATE (1; 0 stops after the reward check), RESULTS (poc_results).
set -uo pipefail
cd "$(dirname "$0")" || exit 1
for argument in "$@"; do
    case $argument in
        -h | --help) sed -n '2,10p' "$0"; exit 0 ;;
        --mode* | --vlm-name* | --model-name* | --dataset-name* | --seed* | --subset-size* | --output-root*)
            echo "error: $argument is set by the script; use MODEL, DATASET, SUBSET or SEED in the environment" >&2
            exit 2 ;;
    esac
done
source ./environment.sh requirements.txt || exit 1
NUM_PROCESSES=${NUM_PROCESSES:-1}

if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    MODEL=${MODEL:-qwen2-5-3b} DATASET=${DATASET:-evochart}
else
    echo "No GPU is visible: using the embedded model 'organism' on 'procedures' charts unless MODEL and DATASET say otherwise."
    MODEL=${MODEL:-organism} DATASET=${DATASET:-procedures}
    threads=$(threads_each NUM_PROCESSES) || exit 2
    THREADS=(env OMP_NUM_THREADS="$threads")  # DeepSpeed decodes more slowly on two threads than on one
fi
SUBSET=${SUBSET:-100} SEED=${SEED:-2025} EVALUATE=${EVALUATE:-1}
PROBLEMS=${PROBLEMS:-48} NUM_SAMPLES=${NUM_SAMPLES:-256} RESULTS=${RESULTS:-poc_results}
RUNS=(  # each mode with flags of its own
    "grpo --num-generations 2"
    "psr --num-generations 2 --reward-threshold 0.5"
    "nsr --num-generations 4 --reward-threshold 0.5"
    "w-reinforce --num-generations 4 --lambda-psr 0.1 --reward-threshold 0.5"
)
MODES=("${RUNS[@]%% *}")
NAME=${MODEL//\//--}
[[ -d $MODEL ]] && NAME=$(basename "$(realpath "$MODEL")")

heading() { printf '\n==========================================\n%s\n==========================================\n' "$1"; }

# Runs a command, shown first, and ends the script with the command's own exit code when it fails.
run() {
    echo "Running: $*"
    "$@" || { code=$?; echo "✗ failed with exit code $code: $*" >&2; exit "$code"; }
}

for RUN in "${RUNS[@]}"; do
    read -ra FLAGS <<<"--mode $RUN"
    MODE=${FLAGS[1]}
    LENGTH=(--num-epochs 1 --batch-size 2)
    # The embedded model learns something from 100 questions: 8 of them an update, 96 updates, a rate for LoRA.
    [[ $MODEL == organism ]] &&
        LENGTH=(--num-epochs 8 --batch-size $((8 * FLAGS[3])) --gradient-accumulation-steps 1 --learning-rate 1e-3)
    heading "Testing: $MODE"
    COMMAND=(accelerate launch --config_file=deepspeed_zero3.yaml --num_processes "$NUM_PROCESSES" main.py
        "${FLAGS[@]}" --vlm-name "$MODEL" --dataset-name "$DATASET" --seed "$SEED" --subset-size "$SUBSET"
        "${LENGTH[@]}" --disable-gradient-checkpointing "$@")
    echo "Running: ${COMMAND[*]}"
    ${THREADS:+"${THREADS[@]}"} "${COMMAND[@]}" 2>&1 | tee "poc_$MODE.log.part"
    code=${PIPESTATUS[0]}
    if [[ $code -ne 0 && -f poc_$MODE.log ]] && grep -q "holds a finished run with these settings" "poc_$MODE.log.part"; then
        rm "poc_$MODE.log.part"
        echo "✓ $MODE is finished already"
        continue
    fi
    mv "poc_$MODE.log.part" "poc_$MODE.log"
    if [[ $code -ne 0 ]]; then
        echo "✗ $MODE failed with exit code $code; see poc_$MODE.log" >&2
        exit "$code"
    fi
    echo "✓ $MODE completed successfully"
done

heading "Reward check"
for MODE in "${MODES[@]}"; do
    run python evaluation/validate_rewards.py "poc_$MODE.log" --mode "$MODE"
done

if [[ $EVALUATE == 1 ]]; then
    heading "Samples and Pass@k"
    mkdir -p "$RESULTS"
    RESULT_FILES=() SAMPLE_FILES=()
    for METHOD in base "${MODES[@]}"; do
        CHECKPOINT=$MODEL
        [[ $METHOD != base ]] && CHECKPOINT=grpo-start-ckpts/$NAME-prm-large-train-v2-$METHOD-$SEED
        run python generate_samples.py --checkpoint-path "$CHECKPOINT" --dataset-name "$DATASET" \
            --output-path "$RESULTS/samples_$METHOD.json" --num-samples "$NUM_SAMPLES" --subset-size "$PROBLEMS" \
            --overwrite
        run python evaluation/pass_at_k.py --samples-path "$RESULTS/samples_$METHOD.json" \
            --output-path "$RESULTS/results_$METHOD.json" --method-name "$METHOD"
        RESULT_FILES+=("$RESULTS/results_$METHOD.json") SAMPLE_FILES+=("$RESULTS/samples_$METHOD.json")
    done
    run python evaluation/plotting.py --results "${RESULT_FILES[@]}" --labels Base GRPO PSR NSR W-REINFORCE \
        --output "$RESULTS/comparison_pass_at_k.png"
    run python evaluation/report.py "${SAMPLE_FILES[@]}" --output-path "$RESULTS/report.html"
fi

heading "All POC tests completed!"
echo "Checkpoints saved to:"
ls -d grpo-start-ckpts/"$NAME"-prm-large-train-v2*-"$SEED"/
echo "Logs saved to:"
ls -1 poc_*.log
[[ $EVALUATE == 1 ]] && echo "Pass@k picture: $RESULTS/comparison_pass_at_k.png   Samples to look at: $RESULTS/report.html"
exit 0
