"""The command `dynamicrafter` from a checkout that is not installed; the program is `lvdm.cli.app`."""

from __future__ import annotations

from lvdm.cli.app import main

if __name__ == "__main__":
    main()
