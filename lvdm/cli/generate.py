"""`animate`, `interpolate`, `loop`, `text-to-video`, `structure`: one video, several, a list, or one made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lvdm.cli.options import with_parameters

Image = Annotated[Path | None, typer.Argument(help="The image.", show_default=False)]
First = Annotated[Path | None, typer.Argument(help="The first frame.", show_default=False)]
Last = Annotated[Path | None, typer.Argument(help="The last frame.", show_default=False)]
Text = Annotated[str | None, typer.Argument(help="What the video shows.", show_default=False)]


@with_parameters("animate", "keyframes")
def animate(image: Image = None, *, typed: Mapping[str, Any]) -> None:
    """Animate an image as the prompt says, past further images if there are any (--keyframe)."""
    _generate("animate", {"image": image, **typed})


@with_parameters("interpolate")
def interpolate(first: First = None, last: Last = None, *, typed: Mapping[str, Any]) -> None:
    """Make the video between two images."""
    _generate("interpolate", {"image": first, "end_image": last, **typed})


@with_parameters("loop")
def loop(image: Image = None, *, typed: Mapping[str, Any]) -> None:
    """Make a video that ends as it begins; the last frame, which equals the first, is left out of the file."""
    _generate("loop", {"image": image, **typed})


@with_parameters("text-to-video")
def text_to_video(text: Text = None, *, typed: Mapping[str, Any]) -> None:
    """Make a video from a prompt alone, with a checkpoint for it, such as --preset vc2."""
    if text is not None and "prompt" in typed:
        raise ValueError("the prompt was given twice; leave out --prompt")
    _generate("text-to-video", {"prompt": text, **typed})


@with_parameters("structure")
def structure(text: Text = None, *, typed: Mapping[str, Any]) -> None:
    """Make a video that follows depth (--depth), or that of another video (--driving-video), as the prompt says."""
    if text is not None and "prompt" in typed:
        raise ValueError("the prompt was given twice; leave out --prompt")
    _generate("structure", {"prompt": text, **typed})


def _generate(mode: str, typed: Mapping[str, Any]) -> None:
    from lvdm.cli.progress import library_messages, print_lines, progress_bar
    from lvdm.jobs.plan import plan_videos
    from lvdm.launched import process_number

    first = process_number() == 0
    with library_messages(first):
        plan = plan_videos(mode, **typed)
        if typed.get("dry_run"):
            from lvdm.cli.dry_run import show_plan

            print_lines(show_plan(plan))
            return
        # torch takes seconds to import: not for --help, a dry run or what is refused
        from lvdm.jobs.run import run
        from lvdm.pipeline.process_group import joined_processes

        with joined_processes(plan.model.machine.device) as (processes, device):
            machine = replace(plan.model.machine, device=device)
            plan = replace(plan, model=replace(plan.model, machine=machine))
            for event in run(plan, progress=progress_bar if first else None, processes=processes):
                print_lines(event.lines())
