"""`extend`: go on with a video from its last frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.commands.options import GenerationOptions, with_generation_options

Source = Annotated[Path | None, typer.Argument(help="The video; none with --replay.", show_default=False)]
Overlap = Annotated[
    int | None,
    typer.Option(help="Last frames of the video that each segment begins with; a quarter of it when left out."),
]


@with_generation_options
def extend(video: Source = None, overlap: Overlap = None, *, options: GenerationOptions) -> None:
    """Go on with a video from its last frames: --frames new ones, in the colours of the old ones (--color-lock 1)."""
    # torch and the library take seconds to import: not for --help, and not before the arguments are understood
    from scripts.commands.extending import extension_job, replayed_extension, run
    from scripts.commands.progress import library_messages

    if (video is None) == (options.replay is None):
        raise ValueError("give a video to go on with, or --replay and the record of one; not both")
    with library_messages():
        if video is not None:
            run(extension_job(video, overlap, options))
        elif options.replay is not None:
            if overlap is not None:
                raise ValueError("--replay has the overlap of its record; leave out --overlap")
            run(replayed_extension(options.replay, options))
