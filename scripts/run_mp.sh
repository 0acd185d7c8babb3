#!/usr/bin/env bash
# `run.sh` on several devices, which share the requests and write into the same folder.
#
#   bash scripts/run_mp.sh 256|512|1024|interp|loop|tiny [further flags of scripts/evaluation/inference.py]
#
# HOST_GPU_NUM sets the number of processes; by default there is one for each GPU, or one without GPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/preset_flags.sh
preset "${1:-}" "256, 512, 1024, interp, loop, tiny"
count="${HOST_GPU_NUM:-0}"
if [ "$count" -gt 0 ] && [ -z "${OMP_NUM_THREADS:-}" ]; then
    # Processes that share a processor must share its cores: more threads than cores makes every one of them wait.
    threads=$(("$("$python" -c 'import os; print(os.cpu_count() or 1)')" / count))
    export OMP_NUM_THREADS="$((threads > 0 ? threads : 1))"
fi
exec "$python" -m scripts.evaluation.inference "${flags[@]}" --devices "$count" "${@:2}"
