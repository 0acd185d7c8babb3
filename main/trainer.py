"""Training under the name that the original's scripts call; the program is `lvdm.fit.trainer`."""

from __future__ import annotations

import sys

from lvdm.cli.train import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
