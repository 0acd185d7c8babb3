#!/usr/bin/env bash
# Train the embedded model from nothing: autoencoder, towers, then the video model in five stages. Hours on two cores.
#
#   bash scripts/train_tiny.sh
#
# Every stage can be stopped (Ctrl-C, SIGTERM, a power cut) and goes on from its last checkpoint when this is run again;
# a finished one is left alone. The seed is fixed: the same machine makes the same model again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup_environment.sh

export OMP_NUM_THREADS=1
processes=2
configs=configs/training_tiny
cpu=(lightning.trainer.accelerator=cpu)
shared=(--devices "$processes" "${cpu[@]}" lightning.trainer.strategy=ddp_find_unused_parameters_true)

train() { # the name of a stage, then its configurations and further arguments
    local name=$1
    shift
    if [[ -f logs/tiny/$name/weights.safetensors ]]; then
        echo "$name is trained: logs/tiny/$name/weights.safetensors"
        return
    fi
    python -m main.trainer --base "$@" --train --auto_resume --logdir logs/tiny --name "$name" --seed 20261122
}

train autoencoder "$configs/autoencoder.yaml" --devices 1 "${cpu[@]}" &
autoencoder=$!
train clip "$configs/clip.yaml" --devices 1 "${cpu[@]}"
wait "$autoencoder"
train video-1 "$configs/video.yaml" "$configs/video_first_stage.yaml" "${shared[@]}"
train video-2 "$configs/video.yaml" "$configs/video_second_stage.yaml" "${shared[@]}"
train video-3 "$configs/video.yaml" "$configs/video_third_stage.yaml" "${shared[@]}"
train video-4 "$configs/video.yaml" "$configs/video_fourth_stage.yaml" "${shared[@]}"
train video "$configs/video.yaml" "${shared[@]}"
