#!/usr/bin/env bash
# Train the embedded model: autoencoder and CLIP encoders, the video model in five stages, then in nine further ones.
#
#   bash scripts/train_tiny.sh                  from nothing; a night on two cores
#   bash scripts/train_tiny.sh --further        the further stages alone, from the embedded model as it was before them,
#                                               which is taken from the history of this repository; an afternoon
#   bash scripts/train_tiny.sh --carried        a frame carrier and the UNet on what it carries, from the embedded model
#   bash scripts/train_tiny.sh --structure      a model that follows depth, which takes what fits of the embedded one
#   bash scripts/train_tiny.sh [--further] key.sub=value ...   the same, with this laid over every stage
#
# Every stage can be stopped (Ctrl-C, SIGTERM, a power cut) and goes on from its last checkpoint when this is run again;
# a finished one is left alone. The seeds are fixed: the same machine makes the same model again. The further stages are in
# bf16 where the processor has instructions for it, 1.4 times as fast as in float32; without them it is 12 times as slow.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup_environment.sh ""

first_model=37f5e36:checkpoints/tiny/model.safetensors
further_stages=9
processes=2
configs=configs/training_tiny
part=all
case "${1:-}" in --further | --carried | --structure)
    part=${1#--}
    shift
    ;;
esac
overrides=("$@")
if ! python -c 'import sys, torch; from lvdm.device import multiplies_bf16; sys.exit(not multiplies_bf16(torch.device("cpu")))'; then
    echo "this processor has no instructions for bf16: all stages are trained in float32"
    overrides=(lightning.precision=32 tuning.frozen_precision=fp32 ${overrides[@]+"${overrides[@]}"})
fi
export OMP_NUM_THREADS=1
alone=(--devices 1 lightning.trainer.accelerator=cpu)
shared=(--devices "$processes" lightning.trainer.accelerator=cpu
    lightning.trainer.strategy=ddp_find_unused_parameters_true)

train() { # seed, name of the stage, then its configurations and further arguments
    local seed=$1 name=$2
    shift 2
    if [[ -f logs/tiny/$name/weights.safetensors ]]; then
        echo "$name is trained: logs/tiny/$name/weights.safetensors"
        return
    fi
    python -m main.trainer --base "$@" --train --auto_resume --logdir logs/tiny --name "$name" --seed "$seed" \
        ${overrides[@]+"${overrides[@]}"}
}

train_first() {
    train 20261122 autoencoder "$configs/autoencoder.yaml" "${alone[@]}" &
    local autoencoder=$!
    train 20261122 clip "$configs/clip.yaml" "${alone[@]}"
    wait "$autoencoder"
    train 20261122 video-1 "$configs/video.yaml" "$configs/video_first_stage.yaml" "${shared[@]}"
    train 20261122 video-2 "$configs/video.yaml" "$configs/video_second_stage.yaml" "${shared[@]}"
    train 20261122 video-3 "$configs/video.yaml" "$configs/video_third_stage.yaml" "${shared[@]}"
    train 20261122 video-4 "$configs/video.yaml" "$configs/video_fourth_stage.yaml" "${shared[@]}"
    train 20261122 video "$configs/video.yaml" "${shared[@]}"
}

fetch_first() { # as the last stage of train_first would leave it
    local weights=logs/tiny/video/weights.safetensors
    [[ ! -f $weights ]] || return 0
    mkdir -p "$(dirname "$weights")"
    git show "$first_model" > "$weights.part" || {
        rm -f "$weights.part"
        echo "the history of this repository is not whole (git show $first_model); run: git fetch --unshallow" >&2
        exit 1
    }
    mv "$weights.part" "$weights"
}

train_further() {
    local stage devices
    for ((stage = 1; stage <= further_stages; stage++)); do
        devices=("${shared[@]}")
        [[ $stage -ge 4 ]] || devices=("${alone[@]}")
        train 20261126 "further-$stage" "$configs/video.yaml" "$configs/video_further_stage_$stage.yaml" "${devices[@]}"
    done
}

train_carried() {
    local weights=logs/tiny/further-9/weights.safetensors
    if [[ ! -f $weights ]]; then
        mkdir -p "$(dirname "$weights")"
        cp checkpoints/tiny/model.safetensors "$weights"
    fi
    if [[ ! -f logs/tiny/words/weights.safetensors ]]; then
        python -m scripts.fit_motion_words "$configs/video.yaml" "$configs/carrier.yaml" --weights "$weights" \
            --captions 40000 --steps 14000 --output logs/tiny/words/weights.safetensors
    fi
    train 20261129 carrier "$configs/video.yaml" "$configs/carrier.yaml" "${alone[@]}"
    train 20261129 carrier-2 "$configs/video.yaml" "$configs/carrier.yaml" "$configs/carrier_second_stage.yaml" \
        "${alone[@]}"
    train 20261129 carried "$configs/video.yaml" "$configs/carried.yaml" "${alone[@]}"
    train 20261129 carried-2 "$configs/video.yaml" "$configs/carried.yaml" "$configs/carried_second_stage.yaml" \
        "${alone[@]}"
}

train_structure() {
    train 20261130 structure-1 "$configs/structure.yaml" "$configs/structure_first_stage.yaml" "${alone[@]}"
    train 20261130 structure-2 "$configs/structure.yaml" "$configs/structure_second_stage.yaml" "${alone[@]}"
    train 20261130 structure "$configs/structure.yaml" "${alone[@]}"
}

case $part in
further)
    fetch_first
    train_further
    ;;
carried) train_carried ;;
structure) train_structure ;;
*)
    train_first
    train_further
    ;;
esac
