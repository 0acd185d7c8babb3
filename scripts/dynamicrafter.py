"""The command `dynamicrafter`: animate images, join two of them, make loops, and look after checkpoints.

Text-to-video too, with checkpoints of VideoCrafter.
"""

from __future__ import annotations

import typer

from scripts.commands.convert import convert
from scripts.commands.data_cache import cache
from scripts.commands.data_check import check
from scripts.commands.errors import OneLineErrors
from scripts.commands.evaluate import evaluate
from scripts.commands.extend import extend
from scripts.commands.generate import animate, interpolate, loop, text_to_video
from scripts.commands.inspection import doctor, info
from scripts.commands.merge import merge
from scripts.commands.motion_statistics import motion_levels
from scripts.commands.options import GeneratingCommand
from scripts.commands.statistics import analytic_init
from scripts.commands.train import TRAIN_SETTINGS, train

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (animate, interpolate, loop, text_to_video, extend):
    app.command(cls=GeneratingCommand)(command)
for command in (info, convert, merge, doctor):
    app.command()(command)
app.command(context_settings=TRAIN_SETTINGS)(train)

data = typer.Typer(no_args_is_help=True, help="Look after training data.")
data.command()(check)
data.command()(cache)
app.add_typer(data, name="data")
app.add_typer(evaluate, name="evaluate")

stats = typer.Typer(no_args_is_help=True, help="Measure data for generations.")
stats.command("analytic-init")(analytic_init)
stats.command("motion")(motion_levels)
app.add_typer(stats, name="stats")


@app.callback()
def describe() -> None:
    """Animate still images from a sentence."""


def main() -> None:
    """Entry point of the installed command."""
    app(prog_name="dynamicrafter")


if __name__ == "__main__":
    main()
