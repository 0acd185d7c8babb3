#!/usr/bin/env bash
# FVD by a published protocol, from videos and I3D weights that you have.
#
#   bash scripts/evaluation/fvd.sh REAL FAKE I3D OUTPUT [PROTOCOL] [flags of `dynamicrafter evaluate score`]
#
# REAL and FAKE are folders of videos, or lists or manifests of them; I3D is what `dynamicrafter evaluate convert-i3d`
# wrote; PROTOCOL is dynamicrafter-2023 unless it is given. Run it again after Ctrl-C: it goes on where it was.
set -euo pipefail
[ $# -ge 4 ] || { echo "Error: give REAL FAKE I3D OUTPUT, see the first lines of this script" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/command.sh"
options=(--real "$1" --fake "$2" --weights "i3d-logits=$3" --protocol "${5:-dynamicrafter-2023}")
"${dynamicrafter[@]}" evaluate score "${options[@]}" --output "$4" --cache "$4/cache" --extract "${@:6}"
"${dynamicrafter[@]}" evaluate report "$4"
