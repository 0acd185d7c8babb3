"""`extend`: go on with a video from its last frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lvdm.cli.options import with_parameters
from lvdm.errors import counted

if TYPE_CHECKING:
    from lvdm.pipeline.extension_request import Drift

Source = Annotated[Path | None, typer.Argument(help="The video; that of the record with --replay.", show_default=False)]


@with_parameters("extend")
def extend(video: Source = None, *, typed: Mapping[str, Any]) -> None:
    """Go on with a video from its last frames: --num-frames new ones, in the colours of the old (--color-lock 1)."""
    from lvdm.cli.dry_run import show_extension
    from lvdm.cli.progress import library_messages, print_lines, progress_bar
    from lvdm.jobs.extend import plan_extension, run_extension
    from lvdm.launched import torchrun_processes

    if torchrun_processes() > 1:
        raise ValueError("extend makes its video by one process; leave out torchrun")
    with library_messages():
        plan = plan_extension(video, **typed)
        if typed.get("dry_run"):
            print_lines(show_extension(plan))
            return
        made = run_extension(plan, progress_bar)
        _print_drift(made.drifts)
        print_lines([f"{made.output}  ({counted(made.before, 'frame')}, now {made.after})"])


def _print_drift(drifts: Sequence[Drift]) -> None:
    table = Table("segment", "brightness", "contrast", "sharpness", "seam", title="drift from the given video")
    for number, drift in enumerate(drifts, 1):
        table.add_row(
            str(number),
            f"{drift.brightness:.1f} levels",
            f"{drift.contrast:.2f} x",
            f"{drift.sharpness:.2f} x",
            f"{drift.seam:.1f} x",
        )
    Console(soft_wrap=True, highlight=False).print(table)
