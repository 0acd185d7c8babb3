#!/usr/bin/env bash
# Interpolate between two images, or make loops, with the released model, as the original's script of this name.
#
#   bash scripts/run_application.sh interp|loop [further flags of scripts/evaluation/inference.py]
#
# A loop is saved without its last frame, which equals its first: 15 frames of 16.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/preset_flags.sh
preset "${1:-}" "interp, loop"
"$python" -m scripts.evaluation.inference "${flags[@]}" "${@:2}"
