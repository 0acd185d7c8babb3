#!/usr/bin/env bash
# Animate two example images with the small model in checkpoints/tiny, and say where the videos are.
#
#   bash scripts/demo.sh                                  # a sprite and a photograph from prompts/
#   bash scripts/demo.sh my.png "the red disc moves left" # your own image and prompt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup_environment.sh ""

animate() { # image, prompt
    local output
    output="outputs/demo/$(basename "${1%.*}").mp4"
    echo "Animating $1: \"$2\""
    dynamicrafter animate "$1" --prompt "$2" --output "$output" --contact-sheet
}

if [ "$#" -ge 1 ]; then
    animate "$1" "${2:-}"
else # a sprite that goes where the prompt says, and a photograph
    animate prompts/tiny/01_purple_ring.png "$(head -n 1 prompts/tiny/test_prompts.txt)"
    animate prompts/photographs/coffee.png "$(head -n 1 prompts/photographs/test_prompts.txt)"
fi
