#!/usr/bin/env bash
# Animate the examples in prompts/PRESET with a released model, as the original's script of this name.
#
#   bash scripts/run.sh 256|512|1024|tiny [further flags of scripts/evaluation/inference.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/preset_flags.sh
preset "${1:-}" "256, 512, 1024, tiny"
"$python" -m scripts.evaluation.inference "${flags[@]}" "${@:2}"
