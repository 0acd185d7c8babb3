#!/usr/bin/env bash
# Animate one example image with the small model in checkpoints/tiny, and say where the video is.
#
#   bash scripts/demo.sh                                  # an example from prompts/tiny
#   bash scripts/demo.sh my.png "the red disc moves left" # your own image and sentence
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup_environment.sh ""

if [ "$#" -ge 1 ]; then
    image="$1"
    prompt="${2:-}"
else
    # Pairs are made by sorted name: the first image belongs to the first line of test_prompts.txt.
    image="$(find prompts/tiny -name '*.png' | LC_ALL=C sort | head -n 1)"
    prompt="$(head -n 1 prompts/tiny/test_prompts.txt)"
fi
output="outputs/demo/$(basename "${image%.*}").mp4"

echo "Animating $image: \"$prompt\""
dynamicrafter animate "$image" --prompt "$prompt" --output "$output" --contact-sheet
