# Sets `dynamicrafter`, the command, to be run in the folder that the script was called from. Sourced, not run.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="python"
if [ -x "$root/.venv/bin/python" ]; then python="$root/.venv/bin/python"; fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
dynamicrafter=("$python" -m scripts.launch)
