"""The trainer's flags, which are shown without importing torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lvdm.documents import short_text
from lvdm.errors import UserError
from lvdm.suggestions import suggest

DESCRIPTION = "Train from YAML files: `python -m lvdm.fit.trainer --base config.yaml --train [key.sub=value ...]`."
MAX_SEED = 2**32 - 1
"""numpy takes no larger one."""
OURS = ("auto", "ddp", "fsdp", "fsdp_sharded", "deepspeed")
"""auto         one process, or ddp over several
ddp          the whole model on every device
fsdp         FSDP2: trained weights, gradients and optimizer split over the devices; checkpoints are one file
fsdp_sharded the same, with a folder of shards for each checkpoint: `dynamicrafter convert` makes one file of it
deepspeed    ZeRO stage 2: gradients and optimizer split over the devices"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The flags, and the overrides of the configuration. Raises `UserError`."""
    parser = build_parser()
    args, overrides = parser.parse_known_args(argv)
    for item in overrides:
        flag = item.partition("=")[0]
        if flag.startswith("-"):
            near = suggest(flag, parser._option_string_actions)
            place = near if near.startswith("did you mean") else "see `dynamicrafter train --help`"
            raise UserError(f"option {short_text(flag)} is not known; {place}")
        if flag == item:
            raise UserError(f"{short_text(item)} is not an override; they look like model.params.uncond_prob=0.1")
    if not (args.train or args.val or args.test or args.dry_run):
        raise UserError("nothing to do: add --train, --val or --dry-run")
    return args, overrides


def _seed(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 10 and int(text) <= MAX_SEED):
        raise argparse.ArgumentTypeError(f"{short_text(text)} is not possible; use a whole number from 0 to {MAX_SEED}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """The original's flags and defaults, and a few of ours."""
    parser = _Parser(prog="python -m lvdm.fit.trainer", description=DESCRIPTION)
    parser.add_argument("--seed", "-s", type=_seed, default=20230211, help="seed of weights, data order and noise")
    parser.add_argument("--name", "-n", default="", help="name of the run: a folder inside --logdir")
    parser.add_argument("--base", "-b", nargs="*", default=[], metavar="YAML", help="configurations, later ones win")
    parser.add_argument("--train", "-t", action="store_true", help="train")
    parser.add_argument("--val", "-v", action="store_true", help="validate")
    parser.add_argument("--test", action="store_true", help="the same as --val")
    parser.add_argument("--logdir", "-l", default="logs", help="folder of all runs")
    parser.add_argument("--auto_resume", action="store_true", help="go on from the newest checkpoint of this name")
    parser.add_argument("--auto_resume_weight_only", action="store_true", help="the same, from its weights only")
    parser.add_argument("--resume_from", type=Path, default=None, help="go on from this checkpoint, of any run")
    parser.add_argument("--dry-run", action="store_true", help="report memory, steps and the first clips instead")
    parser.add_argument("--overwrite", action="store_true", help="also into a folder that no training here made")
    parser.add_argument("--debug", "-d", action="store_true", help="log more")
    parser.add_argument("--devices", default="auto", help="how many devices, or which: 2, 0,1 or auto")
    parser.add_argument("--strategy", default=None, help=f"{', '.join(OURS)}: see docs/cluster.md")
    return parser
