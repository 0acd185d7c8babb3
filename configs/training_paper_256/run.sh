#!/usr/bin/env bash
# The paper's three stages: fill in the paths, then run stage 1, 2 and 3 one after another.
#
#   bash configs/training_paper_256/run.sh 1|2|3 [further flags of main.trainer, such as --devices 2]
set -euo pipefail

data_dir="${DATA_DIR:-<folder that holds videos/>}"
meta_path="${META_PATH:-<.csv file with the columns videoid, page_dir, name>}"
stable_diffusion="${STABLE_DIFFUSION:-<the file of Stable Diffusion 2.1>}"                # stage 1
video_crafter="${VIDEO_CRAFTER:-<the text-to-video model of VideoCrafter at 256x256>}"  # stage 2

# Paths are those of the folder that this is called from.
for name in data_dir meta_path stable_diffusion video_crafter; do
    case "${!name}" in /* | "<"*) ;; *) printf -v "$name" %s "$PWD/${!name}" ;; esac
done

stage="${1:-}"
case "$stage" in
    1) pretrained=("model.pretrained_checkpoint=[$stable_diffusion,checkpoints/image_encoder.safetensors]") ;;
    2) pretrained=("model.pretrained_checkpoint=[logs/paper_256/stage1.safetensors,$video_crafter]") ;;
    3) pretrained=() ;;
    *) echo "Error: name the stage: bash configs/training_paper_256/run.sh 1, 2 or 3" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="python"
if [ -x .venv/bin/python ]; then python=".venv/bin/python"; fi
configs="configs/training_paper_256"
"${PYTHON:-$python}" -m main.trainer --base "$configs/base.yaml" "$configs/config_stage$stage.yaml" \
    --train --auto_resume --logdir logs --name "paper_256/stage$stage" \
    ${pretrained[@]+"${pretrained[@]}"} \
    "data.params.train.params.data_dir=$data_dir" "data.params.train.params.meta_path=$meta_path" "${@:2}"
