"""Training under the name that the original's scripts call; the program is `lvdm.fit.trainer`."""

from __future__ import annotations

import sys

from lvdm.fit.trainer import main

if __name__ == "__main__":
    sys.exit(main())
