"""Stores how the project behaves, in `tests/golden/frozen/`; by hand, from the root: `python tests/freeze.py`.

videos   `videos.safetensors`, the cases of `frozen_cases`
Run it for a change that is meant only. With `--to FOLDER` the files go elsewhere: made before and after a change, on
one machine and with one number of threads, videos should be the same to the byte.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def freeze_videos(to: Path) -> None:
    """All cases, as float32."""
    from frozen_cases import CASES, EXTENSIONS
    from frozen_videos import VIDEOS, FrozenPipelines, flat, make, make_extension
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        pipelines = FrozenPipelines(Path(folder))
        made = {name: make(pipelines, case) for name, case in CASES.items()}
        made |= {name: make_extension(pipelines, case) for name, case in EXTENSIONS.items()}
    save_file(flat(made), to / VIDEOS.name)


KINDS = {"videos": freeze_videos}


def main() -> None:
    """Parse the arguments and write what is asked for."""
    from frozen_videos import FROZEN

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="all when left out")
    parser.add_argument("--to", type=Path, default=FROZEN, help="folder to write to")
    args = parser.parse_args()
    unknown = set(args.kinds) - KINDS.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not known; use {', '.join(KINDS)}")
    args.to.mkdir(parents=True, exist_ok=True)
    for kind in args.kinds or KINDS:
        KINDS[kind](args.to)


if __name__ == "__main__":
    main()
