#!/usr/bin/env bash
# Which of two sets of videos of the same inputs is better, by procedural-v1 unless the flags name another protocol.
#
#   bash scripts/evaluation/compare.sh A B REAL OUTPUT [flags of `dynamicrafter evaluate compare`]
#
# A and B are folders of videos (or lists, or manifests) with the same ids as REAL.
set -euo pipefail
[ $# -ge 4 ] || { echo "Error: give A B REAL OUTPUT, see the first lines of this script" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/command.sh"
"${dynamicrafter[@]}" evaluate compare "$1" "$2" --real "$3" --output "$4" --cache "$4/cache" --extract "${@:5}"
"${dynamicrafter[@]}" evaluate report "$4"
