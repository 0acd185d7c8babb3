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
from lvdm.sizes import choose_size
from scripts.commands.options import GenerationOptions

logger = logging.getLogger(__name__)

GB = 1e9


def announce_memory(
    files: ModelFiles, options: GenerationOptions, settings: GenerationSettings, image: Image.Image, batch: int
) -> None:
    """Log about how much memory videos of `image` need, `batch` at once, and warn when there is less."""
    device = choose_device(options.device)
    plan = plan_for(files, options, settings, image, batch)
    parts = f"weights {plan.weights / GB:.1f}, " if plan.weights else ""
    logger.info(
        "about %.1f GB of memory needed on %s (%ssampling %.1f, decoding %.1f)",
        *(plan.total / GB, device, parts, plan.sampling / GB, plan.decoding / GB),
    )
    free = free_memory(device)
    if free is None or plan.total <= free:
        return
    ways = ["a smaller --height and --width", "fewer --frames"]
    if plan.decoding > plan.sampling:
        ways.insert(0, "--decode-chunk-size 1, with --vae-tile 64 if that is not enough")
    if not options.low_memory:
        smaller = plan_for(files, options, settings, image, batch, low_memory=True)
        ways.insert(0, f"--low-memory (about {smaller.total / GB:.1f} GB)")
    logger.warning(
        "about %.1f GB of memory are needed and %s has %.1f GB free; use %s",
        *(plan.total / GB, device, free / GB, ", or ".join(ways)),
    )


def plan_for(
    files: ModelFiles,
    options: GenerationOptions,
    settings: GenerationSettings,
    image: Image.Image,
    batch: int,
    low_memory: bool = False,
) -> MemoryPlan:
    """The plan for videos of `image`, with the options' low memory mode or, if `low_memory`, with it in any case."""
    low_memory = low_memory or options.low_memory
    device, card, config = choose_device(options.device), card_for(files), load_model_config(files.config).params
    factor = config.first_stage_config.params.ddconfig.downsample_factor
    multiple = factor * config.unet_config.params.size_multiple
    trained, shape = (card.height, card.width), (image.height, image.width)
    size = choose_size(settings.height, settings.width, shape, trained, multiple)
    workload = Workload(
        size.height,
        size.width,
        settings.num_frames,
        batch,
        settings.num_branches,
        settings.decode_chunk_size or settings.num_frames,
        settings.vae_tile,
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
