# Sourced by poc_test_nsr.sh and run_tests.sh: a Python environment with the packages of the requirements file given as
# $1. An active environment that has them is used as it is; otherwise .venv is made here and filled once.
requirements=${1:-requirements.txt}
needed="accelerate datasets deepspeed jinja2 math_verify matplotlib peft qwen_vl_utils rapidfuzz torch transformers trl wandb"
[ "$requirements" = requirements-dev.txt ] && needed="$needed bitsandbytes hypothesis mypy pytest ruff.__main__ xdist"
# looked up and not imported, which takes eight seconds
has="import sys; from importlib.util import find_spec; sys.exit(None in map(find_spec, sys.argv[1:]))"

# OMP_NUM_THREADS for each of several programs at a time, as many as the variable named $1 says: as it is set, 1 unless it
# is, but no more than their share of the cores, beyond which the threads wait for one another. The same rule is in
# common/launcher.py, for what Python starts.
threads_each() {
    local asked=${OMP_NUM_THREADS:-1} cores share
    [[ ${!1} =~ ^[1-9][0-9]*$ ]] || { echo "error: $1=${!1}: must be a number of at least 1" >&2; return 2; }
    asked=${asked%%,*}  # the numbers behind it are of nested regions
    [[ $asked =~ ^[1-9][0-9]{0,5}$ ]] || asked=1
    cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    share=$((cores / ${!1}))
    ((share >= 1)) || share=1
    echo $((asked < share ? asked : share))
}

# shellcheck disable=SC2086
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || ! python -c "$has" $needed 2>/dev/null; then
    stamp=.venv/$(sha256sum requirements*.txt | sha256sum | cut -c1-16)-$requirements
    if [ ! -f "$stamp" ]; then
        echo "Installing $requirements into .venv (about two minutes and 6 GB) ..."
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; return 1; }
        [ -x .venv/bin/pip ] || { rm -rf .venv && python3 -m venv .venv; } || { rm -rf .venv; return 1; }
        # pip compiles one file after another; this takes every core (some packages hold files that are no Python 3)
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r "$requirements" || return 1
        .venv/bin/python -m compileall -q -j 0 .venv/lib > .venv/compileall.log 2>&1 || true
        touch "$stamp"
    fi
    # shellcheck disable=SC1091
    source .venv/bin/activate
fi
