"""Batch inference with the flags, defaults and output names of the original's script of this name.

    python -m lvdm.cli.inference --config ... --ckpt_path ... --prompt_dir prompts/512 --savedir results ...

Videos are written to SAVEDIR/samples_separate/NAME_sampleI.mp4, each with its record beside it. Several devices share
them by `--devices`, torchrun or srun (`lvdm.batch`). Without these, a process can be one of several
(`--rank`, `--world_size`, or RANK and WORLD_SIZE in the environment), and takes each WORLD_SIZE-th video.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lvdm.cli.batch import ConsoleReporter
from lvdm.cli.errors import EXPECTED, FINISHED_WITH_FAILURES, report_error
from lvdm.consoles import last_on_any_console
from lvdm.launched import launch
from lvdm.request.layers import all_parameters

if TYPE_CHECKING:
    from lvdm.data.prompts import Request

logger = logging.getLogger(__name__)

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "--savedir": None,
        "--ckpt_path": None,
        "--config": None,
        "--prompt_dir": None,
        "--n_samples": 1,
        "--ddim_steps": 50,
        "--ddim_eta": 1.0,
        "--bs": 1,
        "--height": 512,
        "--width": 512,
        "--frame_stride": 3,
        "--unconditional_guidance_scale": 1.0,
        "--seed": 123,
        "--video_length": 16,
        "--negative_prompt": False,
        "--text_input": False,
        "--multiple_cond_cfg": False,
        "--cfg_img": None,
        "--timestep_spacing": "uniform",
        "--guidance_rescale": 0.0,
        "--perframe_ae": False,
        "--loop": False,
        "--interp": False,
        "--resume": False,
        "--device": "auto",
        "--dtype": "auto",
        "--low_memory": False,
        "--overwrite": False,
        "--devices": 1,
        "--rank": None,
        "--world_size": None,
    }
)
"""The original's flags with its defaults, then ours."""

HELP: Mapping[str, str] = MappingProxyType(
    {
        "--bs": "videos made at once",
        "--negative_prompt": "accepted; without effect, as in the original",
        "--text_input": "use the prompts; without it they are empty",
        "--multiple_cond_cfg": "guide by text and by image",
        "--perframe_ae": "decode one frame at a time",
        "--loop": "generate looping videos or not",
        "--interp": "generate generative frame interpolation or not",
        "--resume": "skip videos that are finished",
        "--devices": "processes that share the work, each on a device of its own; 0: one for each GPU",
        "--rank": "number of this process, from 0",
        "--world_size": "how many processes share the work, when they know nothing of each other",
    }
)
"""Flags that are no parameters of a request."""


def get_parser() -> argparse.ArgumentParser:
    """The flags of `DEFAULTS`; their help is that of the parameters."""
    parser = argparse.ArgumentParser(description="Animate a folder, CSV or JSONL of images and prompts.")
    parameters = {declared.parameter.original: declared for declared in all_parameters().values()}
    for flag, default in DEFAULTS.items():
        text = HELP[flag] if flag in HELP else parameters[flag].parameter.help
        if default is False:
            parser.add_argument(flag, action="store_true", help=text)
        else:
            numbers = {"--cfg_img": float, "--rank": int, "--world_size": int}
            kind = numbers.get(flag, str if default is None else type(default))
            parser.add_argument(flag, type=kind, default=default, help=text)
    return parser


def parameters_from(args: argparse.Namespace) -> dict[str, Any]:
    """Parameters of a request, by name, from the original's flags."""
    if args.ddim_steps < 1:
        raise ValueError(f"--ddim_steps {args.ddim_steps}: sampling without DDIM is not offered; give 1 to 1000 steps")
    given = {
        name: getattr(args, declared.parameter.original.removeprefix("--"))
        for name, declared in all_parameters().items()
        if declared.parameter.original
    }
    if not args.multiple_cond_cfg:
        given["image_guidance_scale"] = None
    # the original decodes the whole video at once; it runs the network as it was trained at any size
    chunk = 1 if args.perframe_ae else min(args.video_length, 1024)
    return given | {"fs": float(args.frame_stride), "decode_chunk_size": chunk, "scale": "off"}


@dataclass(frozen=True)
class OriginalLayout:
    """samples_separate/NAME_sampleI.mp4; without `text_input` the prompts are empty."""

    text_input: bool

    def row(self, row: Request) -> Request:
        """The row, with its prompt or without."""
        return row if self.text_input else replace(row, values={**row.values, "prompt": ""})

    def paths(self, folder: Path, row: Request, suffix: str, copies: int) -> tuple[Path, list[Path]]:
        """One name for each sample, also where there is one."""
        inside = folder / "samples_separate"
        names = [inside / f"{row.name}_sample{sample}{suffix}" for sample in range(copies)]
        return names[0], names


def run(args: argparse.Namespace) -> int:
    """Check everything, then make the videos; returns the exit code."""
    missing = [f"--{name}" for name in ("savedir", "prompt_dir", "config", "ckpt_path") if not getattr(args, name)]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given")
    if args.loop and args.interp:
        raise ValueError("--loop and --interp exclude each other")
    if args.n_samples < 1 or args.bs < 1:
        raise ValueError("--n_samples and --bs must be at least 1")
    if args.devices < 0:
        raise ValueError(f"--devices {args.devices} is not possible; use 1 or more, or 0 for all GPUs")
    if args.negative_prompt:
        logger.warning(
            "--negative_prompt has no effect, as in the original; use `dynamicrafter animate --negative-prompt`"
        )
    for flag, other in (("cfg_img", "multiple_cond_cfg"), ("multiple_cond_cfg", "cfg_img")):
        if getattr(args, flag) and not getattr(args, other):
            logger.warning("--%s has no effect without --%s", flag, other)
    rank, world_size = _share(args)
    from lvdm.batch.plan import BatchPlan
    from lvdm.cli.progress import print_lines
    from lvdm.declaration.run_parameters import BatchParameters
    from lvdm.jobs.plan import plan_videos

    mode = "loop" if args.loop else "interpolate" if args.interp else "animate"
    given, usual = parameters_from(args), parameters_from(get_parser().parse_args([]))
    typed = {name: value for name, value in given.items() if value != usual[name]} | {"device": _device(args.device)}
    below = {name: value for name, value in usual.items() if name not in typed}
    plan = plan_videos(mode, OriginalLayout(args.text_input), below, **typed)
    mine = replace(plan, videos=plan.videos[rank::world_size], skip_finished=args.resume)
    if not mine.videos:
        return 0
    from lvdm.batch.run import run_batch  # torch takes seconds to import: not for what the plan refuses

    how = BatchParameters(devices=args.devices or None, batch_size=args.bs)
    report = run_batch(BatchPlan.of(mine, Path(args.savedir), how), ConsoleReporter())
    if report is None:
        return 0  # the first process speaks for all
    print_lines(report.lines())
    return 0 if report.is_whole else FINISHED_WITH_FAILURES


def _share(args: argparse.Namespace) -> tuple[int, int]:
    """Which part of the videos this process takes: all, and Lightning shares them, where a launcher has started it."""
    if launch() is not None:
        if args.rank is not None or args.world_size is not None:
            raise ValueError("the launcher says how many processes there are; leave out --rank and --world_size")
        return 0, 1
    rank = int(os.environ.get("RANK", 0)) if args.rank is None else args.rank
    world_size = int(os.environ.get("WORLD_SIZE", 1)) if args.world_size is None else args.world_size
    if not 0 <= rank < world_size:
        raise ValueError(f"--rank {rank} is not one of {world_size} processes; count from 0 to {world_size - 1}")
    return rank, world_size


def _device(name: str) -> str:
    """Where processes know nothing of each other, each takes the GPU of its local rank."""
    local_rank = os.environ.get("LOCAL_RANK") if launch() is None else None
    if name != "auto" or local_rank is None:
        return name
    from lvdm.device import name_of_local_rank  # with torch, which takes seconds: not for what the plan refuses

    return name_of_local_rank(int(local_rank))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these command-line arguments; returns the exit code."""
    from lvdm.cli.progress import library_messages

    last_on_any_console()
    args = get_parser().parse_args(arguments)
    try:
        with library_messages():
            return run(args)
    except (KeyboardInterrupt, *EXPECTED) as error:
        code = report_error(error)
        if code is None:
            raise
        return code


if __name__ == "__main__":
    sys.exit(main())
