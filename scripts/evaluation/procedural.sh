#!/usr/bin/env bash
# Evaluate a model on procedural-v1: held-out clips that are drawn here, so that nothing has to be downloaded.
#
#   bash scripts/evaluation/procedural.sh OUTPUT [flags of `dynamicrafter animate`, such as --preset tiny --steps 10]
#
# OUTPUT gets the real clips, the generated ones, results.json, per_video.csv, report.md and report.html. Run it again
# after Ctrl-C: it goes on where it was. CLIPS=32 in the environment makes fewer clips, and another protocol of it.
set -euo pipefail
[ $# -ge 1 ] || { echo "Error: give the folder to write into, then flags for dynamicrafter animate" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/command.sh"
output="$1" real="$1/real/real.jsonl" fake="$1/fake/fake.jsonl"
model=("${@:2}")
[ ${#model[@]} -gt 0 ] || model=(--preset tiny)
protocol=(--protocol procedural-v1 --set "clips=${CLIPS:-256}")

[ -f "$real" ] || "${dynamicrafter[@]}" evaluate manifest "$real" --procedural "${protocol[@]}"
"${dynamicrafter[@]}" animate --prompts "$output/real/requests.csv" --output "$output/fake" "${model[@]}"
"${dynamicrafter[@]}" evaluate manifest "$fake" --videos "$output/fake" --role fake --like "$real" "${protocol[@]}"
clips=(--fake "$fake" --real "$real" --cache "$output/cache" "${protocol[@]}")
"${dynamicrafter[@]}" evaluate extract "${clips[@]}"
"${dynamicrafter[@]}" evaluate score "${clips[@]}" --output "$output"
"${dynamicrafter[@]}" evaluate report "$output" --videos-root "$output/fake" --videos-root "$output/real"
