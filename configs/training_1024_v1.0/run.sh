#!/usr/bin/env bash
# Fine-tune the 576x1024 model: fill in the paths of your videos, then run it. Run again, it goes on from its last checkpoint.
#
#   bash configs/training_1024_v1.0/run.sh [further flags of main.trainer, such as --devices 2]
set -euo pipefail

data_dir="${DATA_DIR:-<folder that holds videos/>}"
meta_path="${META_PATH:-<.csv file with the columns videoid, page_dir, name>}"
config="${CONFIG:-config.yaml}"

# Paths are those of the folder that this is called from.
for name in data_dir meta_path; do
    case "${!name}" in /* | "<"*) ;; *) printf -v "$name" %s "$PWD/${!name}" ;; esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="python"
if [ -x .venv/bin/python ]; then python=".venv/bin/python"; fi
"${PYTHON:-$python}" -m main.trainer --base "configs/training_1024_v1.0/$config" \
    --train --auto_resume --logdir logs --name "training_1024_v1.0_${config%.yaml}" \
    "data.params.train.params.data_dir=$data_dir" "data.params.train.params.meta_path=$meta_path" "$@"
