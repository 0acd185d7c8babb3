"""Batch inference under the name that the original's scripts call; the program is `lvdm.cli.inference`."""

from __future__ import annotations

import sys

from lvdm.cli.inference import main

if __name__ == "__main__":
    sys.exit(main())
