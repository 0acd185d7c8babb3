"""`dynamicrafter train`: the trainer, `python -m lvdm.fit.trainer`, with its own flags."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def train(context: typer.Context) -> None:
    """Train or fine-tune from YAML files; `train --help` lists the flags, the same as of `main/trainer.py`."""
    raise typer.Exit(run(context.args))


def run(arguments: Sequence[str]) -> int:
    """The exit code of the trainer with these arguments; `--help` ends the process before torch is imported."""
    from lvdm.fit.arguments import build_parser

    if {"-h", "--help"} & set(arguments):
        build_parser().parse_args(["--help"])
    from lvdm.fit.trainer import main

    return main(arguments)


TRAIN_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Every argument goes to the trainer's own parser, `--help` too: one list of flags, not two."""
