# Sourced by demo.sh and test.sh: puts a Python environment with this project in it first on PATH.
#
#   source scripts/setup_environment.sh ""       # what the project needs to run; without "" it sees the caller's arguments
#   source scripts/setup_environment.sh test     # and what its tests need
#
# Uses the active virtual environment, else .venv, else makes .venv. Installs only when pyproject.toml or constraints.txt
# changed since the last time. Set PYTHON to choose the interpreter that .venv is made with.

setup_environment() {
    local extras="${1:-}" root environment bin stamp wanted
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

    environment="${VIRTUAL_ENV:-$root/.venv}"
    if [ ! -d "$environment" ]; then
        make_environment "$environment" || return 1
    fi
    bin="$environment/bin"
    [ -d "$bin" ] || bin="$environment/Scripts" # Windows
    if ! "$bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "The environment $environment has no Python 3.11 or newer; deactivate or remove it and run this again." >&2
        return 1
    fi
    export VIRTUAL_ENV="$environment" PATH="$bin:$PATH"

    stamp="$environment/.dynamicrafter${extras:+-$extras}"
    wanted="$root $(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    echo "Installing the project and what it needs into $environment (the first time, torch alone takes minutes) ..."
    if ! python -m pip install -qq --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root${extras:+[$extras]}" </dev/null; then
        echo "Installing failed; the lines above say why. See 'Troubleshooting' in README.md." >&2
        return 1
    fi
    echo "$wanted" >"$stamp"
    echo "Installed."
}

make_environment() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "Making a virtual environment in $1 with $("$candidate" --version) ..."
            "$candidate" -m venv "$1" && return 0
            rm -rf "$1" # a half-made one would be taken for good the next time
            echo "'$candidate -m venv' failed; on Debian and Ubuntu the package python3-venv is missing." >&2
            return 1
        fi
    done
    echo "No Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python bash scripts/demo.sh" >&2
    return 1
}

setup_environment "$@"
