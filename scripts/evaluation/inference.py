"""Batch inference with the flags, defaults and output names of the original's script of this name.

    python -m scripts.evaluation.inference --config ... --ckpt_path ... --prompt_dir prompts/512 --savedir results ...

Videos are written to SAVEDIR/samples_separate/NAME_sampleI.mp4, each with its record beside it. With several processes
(`--rank`, `--world_size`, or RANK and WORLD_SIZE in the environment) every process takes each WORLD_SIZE-th request.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.commands.errors import EXPECTED, report_error
from scripts.commands.options import GenerationOptions

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The original's flags with its defaults, then ours."""
    parser = argparse.ArgumentParser(description="Animate a folder, CSV or JSONL of images and prompts.")
    add = parser.add_argument
    add("--savedir", type=str, default=None, help="results saving path")
    add("--ckpt_path", type=str, default=None, help="checkpoint path")
    add("--config", type=str, help="config (yaml) path")
    add("--prompt_dir", type=str, default=None, help="a folder of images with a prompt file, a CSV or a JSONL")
    add("--n_samples", type=int, default=1, help="num of samples per prompt")
    add("--ddim_steps", type=int, default=50, help="steps of ddim if positive, otherwise use DDPM")
    add("--ddim_eta", type=float, default=1.0, help="eta for ddim sampling (0.0 yields deterministic sampling)")
    add("--bs", type=int, default=1, help="videos made at once")
    add("--height", type=int, default=512, help="image height, in pixel space")
    add("--width", type=int, default=512, help="image width, in pixel space")
    add(
        "--frame_stride", type=int, default=3, help="the model's fs: frame stride for 256, frames per second for others"
    )
    add("--unconditional_guidance_scale", type=float, default=1.0, help="prompt classifier-free guidance")
    add("--seed", type=int, default=123, help="seed")
    add("--video_length", type=int, default=16, help="inference video length")
    add("--negative_prompt", action="store_true", default=False, help="accepted; without effect, as in the original")
    add("--text_input", action="store_true", default=False, help="use the prompts; without it they are empty")
    add("--multiple_cond_cfg", action="store_true", default=False, help="guide by text and by image")
    add("--cfg_img", type=float, default=None, help="guidance scale for image conditioning")
    add("--timestep_spacing", type=str, default="uniform", help="uniform, uniform_trailing or quad")
    add("--guidance_rescale", type=float, default=0.0, help="guidance rescale in [0, 1]")
    add("--perframe_ae", action="store_true", default=False, help="decode one frame at a time")
    add("--loop", action="store_true", default=False, help="generate looping videos or not")
    add("--interp", action="store_true", default=False, help="generate generative frame interpolation or not")

    add("--resume", action="store_true", help="skip videos that are finished")
    add("--device", type=str, default="auto", help="auto, cpu, cuda:1 ...")
    add("--dtype", type=str, default="auto", help="auto, fp32, bf16 or fp16")
    add("--low_memory", action="store_true", help="slower, with less memory")
    add("--overwrite", action="store_true", help="replace videos there that were not made here")
    add("--rank", type=int, default=None, help="number of this process, from 0")
    add("--world_size", type=int, default=None, help="how many processes share the work")
    return parser


def settings_from(args: argparse.Namespace, fs_unit: str) -> dict[str, Any]:
    """`GenerationSettings` fields from the original's flags; `fs_unit` is what the checkpoint calls its fs input."""
    if args.ddim_steps < 1:
        raise ValueError(f"--ddim_steps {args.ddim_steps}: sampling without DDIM is not offered; give 1 to 1000 steps")
    return {
        "height": args.height,
        "width": args.width,
        "num_frames": args.video_length,
        fs_unit: args.frame_stride,
        "num_inference_steps": args.ddim_steps,
        "guidance_scale": args.unconditional_guidance_scale,
        "image_guidance_scale": args.cfg_img if args.multiple_cond_cfg else None,
        "guidance_rescale": args.guidance_rescale,
        "eta": args.ddim_eta,
        "timestep_spacing": args.timestep_spacing,
        "decode_chunk_size": 1 if args.perframe_ae else None,
        "scale": "off",  # the original runs the network as it was trained at any size
    }


def run(args: argparse.Namespace) -> None:
    """Check everything, then make the videos of this process."""
    missing = [f"--{name}" for name in ("savedir", "prompt_dir", "config", "ckpt_path") if not getattr(args, name)]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given")
    if args.loop and args.interp:
        raise ValueError("--loop and --interp exclude each other")
    if args.n_samples < 1 or args.bs < 1:
        raise ValueError("--n_samples and --bs must be at least 1")
    if args.negative_prompt:
        logger.warning(
            "--negative_prompt has no effect, as in the original; use `dynamicrafter animate --negative-prompt`"
        )
    rank, world_size = _share(args)
    from lvdm.data.prompts import read_requests
    from lvdm.data.video_writer import check_output
    from lvdm.generation import GenerationSettings
    from scripts.commands import jobs, running

    mode = "loop" if args.loop else "interpolate" if args.interp else "animate"
    requests = read_requests(args.prompt_dir, mode=jobs.READ_MODES[mode])
    options = GenerationOptions(
        config=Path(args.config),
        checkpoint=Path(args.ckpt_path),
        seed=args.seed,
        device=_device(args.device),
        dtype=args.dtype,
        low_memory=args.low_memory,
        overwrite=args.overwrite,
    )
    files, card = jobs.choose_model(options)
    unit = "fps" if card.fs_meaning == "fps" else "frame_stride"
    settings = GenerationSettings.from_card(card, mode=mode, **settings_from(args, unit))
    videos = []
    for number, asked in enumerate(requests):
        request = asked if args.text_input else dataclasses.replace(asked, prompt="")
        jobs.check_request(request)
        for sample in range(args.n_samples):
            output = Path(args.savedir) / "samples_separate" / f"{asked.name}_sample{sample}.mp4"
            index = sample if asked.seed is not None else number * args.n_samples + sample
            videos.append(jobs.Video(request, index, settings, output))
    check_output(videos[0].output)
    mine = tuple(videos[rank::world_size])
    running.run(jobs.Job(mine, files, options, card.playback_fps, args.loop, args.resume), args.bs)


def _share(args: argparse.Namespace) -> tuple[int, int]:
    rank = int(os.environ.get("RANK", 0)) if args.rank is None else args.rank
    world_size = int(os.environ.get("WORLD_SIZE", 1)) if args.world_size is None else args.world_size
    if not 0 <= rank < world_size:
        raise ValueError(f"--rank {rank} is not one of {world_size} processes; count from 0 to {world_size - 1}")
    return rank, world_size


def _device(name: str) -> str:
    """With several processes on a machine, each takes the GPU of its local rank."""
    import torch

    local_rank = os.environ.get("LOCAL_RANK")
    if name == "auto" and local_rank is not None and torch.cuda.is_available():
        return f"cuda:{int(local_rank) % torch.cuda.device_count()}"
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these command-line arguments; returns the exit code."""
    from scripts.commands.progress import library_messages

    args = get_parser().parse_args(arguments)
    try:
        with library_messages():
            run(args)
    except (KeyboardInterrupt, *EXPECTED) as error:
        code = report_error(error)
        if code is None:
            raise
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
