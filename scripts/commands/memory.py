"""The line about memory before a generation starts, and the way out where there is too little."""

from __future__ import annotations

import logging

from PIL import Image

from lvdm.checkpoint import read_checkpoint
from lvdm.config import load_model_config
from lvdm.device import choose_device, choose_precision, free_memory
from lvdm.generation import GenerationSettings
from lvdm.memory import MemoryPlan, Workload, count_parameters, plan_memory
from lvdm.model_files import ModelFiles, card_for
from lvdm.plugins.choosing import choose_shelf
from lvdm.sizes import choose_size
from scripts.commands.options import GenerationOptions

logger = logging.getLogger(__name__)


def announce_memory(
    files: ModelFiles, options: GenerationOptions, settings: GenerationSettings, image: Image.Image | None, batch: int
) -> None:
    """Log about how much memory videos of `image` (None: of the trained shape) need, `batch` at once; warn of less."""
    device = choose_device(options.device)
    plan = plan_for(files, options, settings, image, batch)
    parts = f"weights {in_bytes(plan.weights)}, " if plan.weights else ""
    logger.info(
        "about %s of memory needed on %s (%ssampling %s, decoding %s)",
        *(in_bytes(plan.total), device, parts, in_bytes(plan.sampling), in_bytes(plan.decoding)),
    )
    free = free_memory(device)
    if free is None or plan.total <= free:
        return
    ways = ["a smaller --height and --width", "fewer --frames"]
    if plan.decoding > plan.sampling:
        ways.insert(0, "--decode-chunk-size 1, with --vae-tile 16 if that is not enough")
    if not options.low_memory:
        smaller = plan_for(files, options, settings, image, batch, low_memory=True)
        ways.insert(0, f"--low-memory (about {in_bytes(smaller.total)})")
    logger.warning(
        "about %s of memory are needed and %s has %s free; use %s",
        *(in_bytes(plan.total), device, in_bytes(free), ", or ".join(ways)),
    )


def in_bytes(count: int) -> str:
    """A number of bytes for people, in GB, or in MB below 0.1 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def plan_for(
    files: ModelFiles,
    options: GenerationOptions,
    settings: GenerationSettings,
    image: Image.Image | None,
    batch: int,
    low_memory: bool = False,
) -> MemoryPlan:
    """The plan for videos of `image`, with the options' low memory mode or, if `low_memory`, with it in any case."""
    low_memory = low_memory or options.low_memory
    device, card, config = choose_device(options.device), card_for(files), load_model_config(files.config).params
    factor = config.first_stage_config.params.ddconfig.downsample_factor
    multiple = factor * config.unet_config.params.size_multiple
    trained = card.height, card.width
    shape = trained if image is None else (image.height, image.width)
    size = choose_size(settings.height, settings.width, shape, trained, multiple)
    windows = settings.long_video == "fifo"  # of the trained length, whatever that of the video
    workload = Workload(
        size.height,
        size.width,
        min(settings.num_frames, card.num_frames) if windows else settings.num_frames,
        batch,
        settings.num_branches,
        settings.decode_chunk_size or settings.num_frames,
        settings.vae_tile,
        settings.chunk_frames,
        choose_shelf(settings.num_frames, settings.chunk_frames, low_memory, device.type == "cpu") != "device",
        settings.late_weights is not None and settings.late_below > 0,
    )
    sources = [files.checkpoint, *([options.towers] if options.towers else [])]
    return plan_memory(
        config,
        count_parameters(*map(read_checkpoint, sources)),
        workload,
        choose_precision(options.dtype, device, low_memory),
        low_memory,
        moves_parts=low_memory and device.type != "cpu",
    )
