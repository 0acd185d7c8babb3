"""`story`: from a script to a film: `plan`, `make`, `export`, `write`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvdm.cli.options import GeneratingCommand, with_options
from lvdm.declaration.parameter import ALL_MODES, parameters_of
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters, OutputParameters

if TYPE_CHECKING:
    from lvdm.story.planning import StoryPlan

Script = Annotated[Path, typer.Argument(metavar="STORY", help="The script, such as story.yaml.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The folder of the story. [default: outputs/ and its name]", show_default=False
    ),
]
Only = Annotated[
    str | None, typer.Option("--shot", help="Make this shot alone, with those that it follows.", show_default=False)
]

story = typer.Typer(no_args_is_help=True, help="Make films of several shots by a script.")

_OPTIONS = {**parameters_of(ModelParameters), **parameters_of(MachineParameters)}
_OPTIONS["overwrite"] = parameters_of(OutputParameters)["overwrite"]
_with_parameters = with_options(list(_OPTIONS.values()), set(ALL_MODES))


@story.command(cls=GeneratingCommand)
@_with_parameters
def plan(script: Script, output: Output = None, *, typed: Mapping[str, Any]) -> None:
    """Check everything and write a storyboard page; nothing is generated."""
    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.story.page import summary, write_storyboard

    with library_messages():
        planned = _plan(script, output, typed)
        print_lines([*summary(planned), str(write_storyboard(planned))])


@story.command(cls=GeneratingCommand)
@_with_parameters
def make(script: Script, output: Output = None, shot: Only = None, *, typed: Mapping[str, Any]) -> None:
    """Make all shots that are not finished, and the film."""
    from lvdm.cli.progress import library_messages, print_lines, progress_bar
    from lvdm.story.page import write_storyboard

    with library_messages():
        planned = _plan(script, output, typed)
        print_lines([str(write_storyboard(planned))])
        from lvdm.story.making import Film, make_story  # torch takes seconds to import: not for what is refused

        for event in make_story(planned, shot, progress_bar):
            if isinstance(event, Film):
                files = [event.output, event.record, *([event.subtitles] if event.subtitles else [])]
                print_lines([f"{files[0]}  ({event.seconds:.2f} s)", *map(str, files[1:])])
            else:
                print_lines(event.lines if event.is_new else [f"{event.video.output}  (finished already)"])


def _plan(script: Path, output: Path | None, typed: Mapping[str, Any]) -> StoryPlan:
    from lvdm.story.folder import StoryFolder
    from lvdm.story.planning import plan_story
    from lvdm.story.reading import read_story

    folder = Path("outputs") / script.stem if output is None else output
    return plan_story(read_story(script), StoryFolder(folder, script.stem), typed)
