"""The option of every command that writes: what was not made here is replaced only when it is given."""

from __future__ import annotations

from typing import Annotated

import typer

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files there that were not made here.")]
