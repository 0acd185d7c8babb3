#!/usr/bin/env bash
# `run.sh` on several devices: process i takes request i, i + N, ... and writes into the same folder.
#
#   bash scripts/run_mp.sh 256|512|1024|interp|loop|tiny [further flags of scripts/evaluation/inference.py]
#
# HOST_GPU_NUM sets the number of processes; by default there is one for each GPU, or one without GPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/preset_flags.sh
preset "${1:-}" "256, 512, 1024, interp, loop, tiny"
count="${HOST_GPU_NUM:-$("$python" -c 'import torch; print(max(torch.cuda.device_count(), 1))')}"
# Processes that share a processor must share its cores: more threads than cores makes every one of them wait.
cores="$("$python" -c 'import os; print(os.cpu_count() or 1)')"
threads=$((cores / count))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
workers=()
for ((rank = 0; rank < count; rank++)); do
    RANK="$rank" LOCAL_RANK="$rank" WORLD_SIZE="$count" \
        "$python" -m scripts.evaluation.inference "${flags[@]}" "${@:2}" &
    workers+=("$!")
done
trap 'kill "${workers[@]}" 2>/dev/null || true' INT TERM
status=0
for worker in "${workers[@]}"; do
    wait "$worker" || status=$?
done
exit "$status"
