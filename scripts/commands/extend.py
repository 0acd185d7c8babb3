"""`extend`: go on with a video from its last frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.commands.options import GenerationOptions, with_generation_options

Source = Annotated[Path, typer.Argument(help="The video.", show_default=False)]
Overlap = Annotated[
    int | None,
    typer.Option(help="Last frames of the video that each segment begins with; a quarter of it when left out."),
]


@with_generation_options
def extend(video: Source, overlap: Overlap = None, *, options: GenerationOptions) -> None:
    """Go on with a video from its last frames: --frames new ones, in the colours of the old ones (--color-lock 1)."""
    # torch and the library take seconds to import: not for --help, and not before the arguments are understood
    from scripts.commands.extending import extend_file
    from scripts.commands.progress import library_messages

    with library_messages():
        extend_file(video, overlap, options)
