"""The command `dynamicrafter`: animate images, join two of them, make loops, and look after checkpoints.

Text-to-video too, with checkpoints of VideoCrafter.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lvdm.cli.batch import batch
from lvdm.cli.benchmark import benchmark
from lvdm.cli.convert import convert
from lvdm.cli.data_cache import cache
from lvdm.cli.data_check import check
from lvdm.cli.errors import OneLineErrors
from lvdm.cli.evaluate import evaluate
from lvdm.cli.extend import extend
from lvdm.cli.generate import animate, interpolate, loop, structure, text_to_video
from lvdm.cli.inspection import doctor, info
from lvdm.cli.merge import merge
from lvdm.cli.motion_statistics import motion_levels
from lvdm.cli.options import GeneratingCommand, HostingCommand
from lvdm.cli.serve import serve
from lvdm.cli.statistics import analytic_init
from lvdm.cli.story import story
from lvdm.cli.train import TRAIN_SETTINGS, train
from lvdm.cli.web import web_page
from lvdm.versions import installed_version

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (animate, interpolate, loop, text_to_video, structure, extend, batch):
    app.command(cls=GeneratingCommand)(command)
for command in (info, convert, merge, doctor, benchmark):
    app.command()(command)
app.command(cls=HostingCommand)(serve)
app.command(context_settings=TRAIN_SETTINGS)(train)
app.command("app", cls=HostingCommand)(web_page)

data = typer.Typer(no_args_is_help=True, help="Look after training data.")
data.command()(check)
data.command()(cache)
app.add_typer(data, name="data")
app.add_typer(evaluate, name="evaluate")
app.add_typer(story, name="story")

stats = typer.Typer(no_args_is_help=True, help="Measure data for generations.")
stats.command("analytic-init")(analytic_init)
stats.command("motion")(motion_levels)
app.add_typer(stats, name="stats")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"dynamicrafter {installed_version('dynamicrafter')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]


@app.callback()
def describe(version: Version = False) -> None:
    """Animate still images as a prompt says."""


def main() -> None:
    """Entry point of the installed command."""
    app(prog_name="dynamicrafter")


if __name__ == "__main__":
    main()
