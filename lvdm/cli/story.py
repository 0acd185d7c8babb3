"""`story`: from a script to a film: `plan`, `make`, `export`, `write`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvdm.cli.options import GeneratingCommand, with_options
from lvdm.declaration.parameter import ALL_MODES, parameters_of
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters, OutputParameters

if TYPE_CHECKING:
    from lvdm.story.endpoint import Endpoint
    from lvdm.story.images import ImageGenerator
    from lvdm.story.planning import StoryPlan

Script = Annotated[Path, typer.Argument(metavar="STORY", help="The script, such as story.yaml.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The folder of the story; left out, its name in outputs/.", show_default=False),
]
Only = Annotated[
    str | None, typer.Option("--shot", help="Make this shot alone, with those that it follows.", show_default=False)
]

ImageUrl = Annotated[
    str | None,
    typer.Option(
        "--image-endpoint",
        metavar="URL",
        help="Makes the images of text_to_image: an address with the API of OpenAI, such as http://127.0.0.1:8080/v1.",
        show_default=False,
    ),
]
ImageModel = Annotated[str | None, typer.Option("--image-model", help="The model there.", show_default=False)]
Timeout = Annotated[float, typer.Option(help="Seconds until an answer of an endpoint has to be there.")]
Idea = Annotated[str, typer.Argument(help="What the film is about.", show_default=False)]
Url = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="An address with the API of OpenAI; its key, if it wants one, in the variable DYNAMICRAFTER_STORY_KEY.",
        show_default=False,
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="The language model there.", show_default=False)]
Cast = Annotated[
    Path | None,
    typer.Option("--cast", help="A script without shots: characters, places and the rest.", show_default=False),
]
Shots = Annotated[int | None, typer.Option("--shots", min=1, max=100, help="How many shots.", show_default=False)]
NewScript = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The script; left out, story.yaml beside --cast.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a script that is there.")]

story = typer.Typer(no_args_is_help=True, help="Make films of several shots by a script.")

_OPTIONS = {**parameters_of(ModelParameters), **parameters_of(MachineParameters)}
_OPTIONS["overwrite"] = parameters_of(OutputParameters)["overwrite"]
_with_parameters = with_options(list(_OPTIONS.values()), set(ALL_MODES))


@story.command(cls=GeneratingCommand)
@_with_parameters
def plan(
    script: Script,
    output: Output = None,
    image_endpoint: ImageUrl = None,
    image_model: ImageModel = None,
    *,
    typed: Mapping[str, Any],
) -> None:
    """Check everything and write a storyboard page; nothing is generated."""
    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.story.page import summary, write_storyboard

    with library_messages():
        planned = _plan(script, output, typed, _images(image_endpoint, image_model))
        print_lines([*summary(planned), str(write_storyboard(planned))])


@story.command(cls=GeneratingCommand)
@_with_parameters
def make(
    script: Script,
    output: Output = None,
    shot: Only = None,
    image_endpoint: ImageUrl = None,
    image_model: ImageModel = None,
    timeout: Timeout = 120.0,
    *,
    typed: Mapping[str, Any],
) -> None:
    """Make all shots that are not finished, and the film."""
    from lvdm.cli.progress import library_messages, print_lines, progress_bar
    from lvdm.story.page import write_storyboard

    with library_messages():
        planned = _plan(script, output, typed, _images(image_endpoint, image_model, timeout))
        print_lines([str(write_storyboard(planned))])
        from lvdm.story.making import Film, make_story  # torch takes seconds to import: not for what is refused

        for event in make_story(planned, shot, progress_bar):
            if isinstance(event, Film):
                files = [event.output, event.record, *([event.subtitles] if event.subtitles else [])]
                print_lines([f"{files[0]}  ({event.seconds:.2f} s)", *map(str, files[1:])])
            else:
                print_lines(event.lines if event.is_new else [f"{event.video.output}  (finished already)"])


@story.command(cls=GeneratingCommand)
@_with_parameters
def export(script: Script, output: Output = None, *, typed: Mapping[str, Any]) -> None:
    """Write the timeline of a story that is made, as OpenTimelineIO, for another editor."""
    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.story.timeline import check_exportable, export_timeline

    check_exportable()
    with library_messages():
        print_lines([str(export_timeline(_plan(script, output, typed)))])


@story.command()
def write(
    idea: Idea,
    endpoint: Url = None,
    model: Model = None,
    cast: Cast = None,
    shots: Shots = None,
    output: NewScript = None,
    timeout: Timeout = 120.0,
    overwrite: Overwrite = False,
) -> None:
    """Let a language model write a script of an idea; asks nobody unless --endpoint is given."""
    from lvdm.cli.progress import print_lines
    from lvdm.story.writing import write_script

    place = _endpoint(endpoint, model, timeout, "--endpoint", "--model")
    if place is None:
        raise ValueError("no language model is asked unless --endpoint URL and --model NAME are given; give both")
    beside = Path("story.yaml") if cast is None else cast.with_name("story.yaml")
    print_lines([str(write_script(idea, place, output or beside, cast, shots, overwrite))])


def _plan(
    script: Path, output: Path | None, typed: Mapping[str, Any], images: ImageGenerator | None = None
) -> StoryPlan:
    from lvdm.story.folder import StoryFolder
    from lvdm.story.planning import plan_story
    from lvdm.story.reading import read_story

    folder = Path("outputs") / script.stem if output is None else output
    return plan_story(read_story(script), StoryFolder(folder, script.stem), typed, images)


def _images(url: str | None, model: str | None, timeout: float = 120.0) -> ImageGenerator | None:
    """The generator at an endpoint; None without one."""
    place = _endpoint(url, model, timeout, "--image-endpoint", "--image-model")
    if place is None:
        return None
    from lvdm.story.endpoint import draw
    from lvdm.story.images import ImageGenerator

    return ImageGenerator(partial(draw, place), place.model)


def _endpoint(url: str | None, model: str | None, timeout: float, *flags: str) -> Endpoint | None:
    if url is None and model is None:
        return None
    if url is None or model is None:
        raise ValueError(f"{flags[0]} and {flags[1]} belong together; give both")
    from lvdm.story.endpoint import KEY_VARIABLE, Endpoint

    return Endpoint(url, model, os.environ.get(KEY_VARIABLE) or None, timeout)
