"""Runs batch inference as one of several processes, under the name and flags that the original's launcher calls.

    torchrun --nproc_per_node=8 scripts/evaluation/ddp_wrapper.py --module inference --config ... --savedir ...

The processes that torchrun has started share the requests (`lvdm.batch`). Where RANK, WORLD_SIZE and LOCAL_RANK come
from something else, they decide which requests and which device this process takes, and nothing is communicated.
`scripts/run_mp.sh` starts the processes itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lvdm.cli import inference


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", type=str, default="inference", choices=["inference"], help="what to run")
    parser.add_argument("--local_rank", "--local-rank", type=int, nargs="?", default=0, help="device of this process")
    args, rest = parser.parse_known_args(arguments)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank or 0))
    return inference.main(rest)


if __name__ == "__main__":
    sys.exit(main())
