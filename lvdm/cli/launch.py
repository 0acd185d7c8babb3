"""The installed command `dynamicrafter`: sets what must be set before torch is loaded, then runs it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "2000"
"""Some microseconds: more keeps other processes' turns, less makes an idle machine slower."""


def main() -> None:
    """Entry point of the installed command."""
    wait_asleep(os.environ)
    from lvdm.cli.app import main as run

    run()


def wait_asleep(environment: MutableMapping[str, str]) -> None:
    """Let threads of a computation soon sleep while they wait for each other, unless the user has chosen.

    By default they spin for milliseconds. Where another process is busy on the same cores, the spinning thread keeps
    away the very one that it waits for, at each of thousands of short loops a second. A video of the embedded model
    took 4.2 s instead of 3.8 on two idle cores, and 11 s beside two busy processes, where a fifth of its steps had
    taken 22.
    GNU's OpenMP, which torch brings on Linux, reads the variable when it is loaded; others do not know it.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)


if __name__ == "__main__":
    main()
