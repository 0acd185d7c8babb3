"""The environment of processes that tests start."""

from __future__ import annotations

import os

RANKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def fresh_environment(**variables: str) -> dict[str, str]:
    """This process's variables and `variables`, with one thread and without the ranks.

    Lightning leaves ranks in the environment of a process that trained, and a process that finds them waits for others.
    """
    kept = {key: value for key, value in os.environ.items() if key not in RANKS}
    return {**kept, "OMP_NUM_THREADS": "1", **variables}
