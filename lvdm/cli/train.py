"""`dynamicrafter train`: the trainer, `python -m lvdm.fit.trainer`, with its own flags."""

from __future__ import annotations

import typer


def train(context: typer.Context) -> None:
    """Train or fine-tune from YAML files; `train --help` lists the flags, the same as of `main/trainer.py`."""
    from lvdm.fit.arguments import build_parser

    if {"-h", "--help"} & set(context.args):
        build_parser().parse_args(["--help"])  # ends here: torch takes seconds to import
    from lvdm.fit.trainer import main

    raise typer.Exit(main(context.args))


TRAIN_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Every argument goes to the trainer's own parser, `--help` too: one list of flags, not two."""
