"""`animate`, `interpolate`, `loop` and `text-to-video`: one video, several, a list of them, or one made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from scripts.commands.options import GenerationOptions, with_generation_options

Image = Annotated[Path | None, typer.Argument(help="The image.", show_default=False)]
First = Annotated[Path | None, typer.Argument(help="The first frame.", show_default=False)]
Last = Annotated[Path | None, typer.Argument(help="The last frame.", show_default=False)]


@with_generation_options
def animate(image: Image = None, *, options: GenerationOptions) -> None:
    """Animate an image as the prompt says, past further pictures if there are any (--keyframe)."""
    keyframes = dict(options.keyframes())
    if not keyframes:
        _generate("animate", image, None, options)
        return
    if image is not None and 0 in keyframes:
        raise ValueError(f"frame 0 was given twice: {image} and --keyframe 0={keyframes[0]}; leave out one")
    first = keyframes.pop(0, image)
    if first is None and options.replay is None:
        raise ValueError("the video begins with an image: give it, or --keyframe 0=FILE")
    if not keyframes:
        raise ValueError("--keyframe 0 is the image alone; give pictures for other frames, or leave out --keyframe")
    later = [f"{frame}={path}" for frame, path in keyframes.items()]
    _generate("keyframes", first, None, replace(options, keyframe=later))


@with_generation_options
def interpolate(first: First = None, last: Last = None, *, options: GenerationOptions) -> None:
    """Make the video between two images."""
    if first is not None and last is None:
        raise ValueError("give two images, the first and the last frame")
    _generate("interpolate", first, last, options)


@with_generation_options
def loop(image: Image = None, *, options: GenerationOptions) -> None:
    """Make a video that ends as it begins; the last frame, which equals the first, is left out of the file."""
    _generate("loop", image, None, options)


@with_generation_options
def text_to_video(
    text: Annotated[str | None, typer.Argument(help="What the video shows.", show_default=False)] = None,
    *,
    options: GenerationOptions,
) -> None:
    """Make a video from a sentence alone, with a checkpoint for it, such as --preset vc2."""
    if text is not None and options.prompt is not None:
        raise ValueError("the sentence was given twice; leave out --prompt")
    if options.keep_mask or options.fit:
        raise ValueError(f"there is no image; leave out --{'keep-mask' if options.keep_mask else 'fit'}")
    _generate("text-to-video", None, None, replace(options, prompt=options.prompt if text is None else text))


def _generate(mode: str, image: Path | None, end_image: Path | None, options: GenerationOptions) -> None:
    # torch and the library take seconds to import: not for --help, and not before the arguments are understood
    first = ("a sentence", options.prompt is not None) if mode == "text-to-video" else ("an image", image)
    if options.keyframe and (mode != "keyframes" or options.prompts or options.replay):
        where = mode if mode != "keyframes" else "--prompts" if options.prompts else "--replay"
        raise ValueError(f"--keyframe is for one video of `animate`; leave it out with {where}")
    candidates = (first, ("--prompts", options.prompts), ("--replay", options.replay))
    sources = [name for name, given in candidates if given]
    if len(sources) != 1:
        given = " and ".join(sources) or "nothing"
        raise ValueError(f"give one of: {first[0]}, --prompts or --replay; {given} was given")
    from scripts.commands import jobs, running
    from scripts.commands.progress import library_messages

    with library_messages():
        if options.replay:
            todo = jobs.replay_job(options.replay, options)
        elif options.prompts:
            todo = jobs.list_job(options.prompts, mode, options)
        else:
            todo = jobs.single_job(image, end_image, mode, options)
        running.run(todo)
