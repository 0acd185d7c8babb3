#!/usr/bin/env bash
# Everything that must hold before a change goes in: lint, format, types, documents, tests. Exits non-zero if any of them fails.
#
#   bash scripts/test.sh                        # all of it
#   bash scripts/test.sh tests/test_config.py   # arguments go to pytest
#   TEST_WORKERS=1 bash scripts/test.sh         # test processes (default: one per core, at most 8)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source scripts/setup_environment.sh test || exit 1

# the page is tested in a real browser, where there is one or one can be had; elsewhere those tests say so and skip
if [ ! -x /usr/bin/chromium-headless-shell ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell; } >/dev/null 2>&1 ||
        echo "chromium-headless-shell cannot be installed: the tests of the page in a browser are skipped"
fi

failed=0
check() {
    echo "== $*"
    "$@" || failed=1
}
check ruff check .
check ruff format --check .
[ "$failed" -eq 0 ] || echo "A check above failed, so this script will exit with 1 whatever the tests say."

# types and the site use one core, so they run beside the tests and are heard at the end
beside="$(mktemp)"
trap 'rm -f "$beside"' EXIT
(
    echo "== mypy" && mypy
    types=$?
    echo "== mkdocs build" && NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict --site-dir build/site
    [ $? -eq 0 ] && [ "$types" -eq 0 ]
) >"$beside" 2>&1 &
besides=$!

workers="${TEST_WORKERS:-$(python -c 'import os; print(min(os.cpu_count() or 1, 8))')}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # one thread per test process; more would fight over the cores
unset PYTHONDONTWRITEBYTECODE                     # compiled once, not by each process that the tests start
python -m compileall -q -j "$workers" lvdm tests
echo "== pytest, $workers processes"
# asserts are not rewritten, which takes each process ten seconds: what fails is run again with all that pytest can tell
if ! python -m pytest -n "$workers" --dist worksteal --assert=plain "$@"; then
    failed=1
    echo "== pytest, what failed, in detail"
    python -m pytest --last-failed --last-failed-no-failures none "$@"
fi
wait "$besides" || failed=1
cat "$beside"
exit "$failed"
