"""The line about memory before a generation starts, and what makes it smaller where there is too little."""

from __future__ import annotations

import logging
from dataclasses import replace

from lvdm.checkpoint import read_shapes
from lvdm.checkpoint.parts import FRAME_CARRIER
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.resolved import ResolvedRequest
from lvdm.pipeline.memory import MemoryPlan, Workload, count_parameters, plan_memory
from lvdm.pipeline.process_memory import can_give_back, plan_process
from lvdm.plugins.choosing import choose_offload

logger = logging.getLogger(__name__)


def announce_memory(model: ChosenModel, request: ResolvedRequest, batch: int) -> None:
    """Log about how much memory `batch` such videos at once need; warn of less."""
    plan = plan_for(model, request, batch)
    logger.info("%s", describe_plan(plan, model.device_name))
    from lvdm.device import free_memory

    free = free_memory(model.device)
    if free is None or plan.total - plan.process <= free:  # the process is there already
        return
    ways = ["a smaller --height and --width", "fewer --num-frames"]
    if plan.decoding > plan.sampling:
        ways.insert(0, "--decode-chunk-size 1, with --vae-tile 16 if that is not enough")
    if not model.machine.low_memory:
        smaller = plan_for(model, request, batch, low_memory=True)
        ways.insert(0, f"--low-memory (about {in_bytes(smaller.total)})")
    logger.warning(
        "about %s of memory are needed and %s has %s free; use %s",
        *(in_bytes(plan.total), model.device, in_bytes(free), ", or ".join(ways)),
    )


def describe_plan(plan: MemoryPlan, device: str) -> str:
    """The memory of a generation in one line."""
    named = {"process": plan.process, "weights": plan.weights, **plan.stages}
    parts = ", ".join(f"{name} {in_bytes(count)}" for name, count in named.items() if count)
    return f"about {in_bytes(plan.total)} of memory needed on {device} ({parts})"


def in_bytes(count: int) -> str:
    """A number of bytes for people, in GB, or in MB below 0.1 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def plan_for(
    model: ChosenModel, request: ResolvedRequest, batch: int = 1, low_memory: bool = False, held: int = 0
) -> MemoryPlan:
    """The plan for `batch` such videos, in low memory mode where that is asked for or `low_memory`.

    held: bytes of frames that lie in the memory of the process all the time
    """
    low_memory = low_memory or model.machine.low_memory
    on_cpu = model.device_name == "cpu"
    workload = _workload(model, request, batch, low_memory)
    sources = [model.files.checkpoint, *([model.added.encoders] if model.added.encoders else [])]
    precision = model.precision(low_memory)
    parameters = count_parameters(*map(read_shapes, sources))
    plan = plan_memory(
        model.outline,
        parameters,
        workload,
        precision,
        low_memory,
        moves_parts=model.placement.offload != "none" or (low_memory and not on_cpu),
        storage=model.placement.storage,
        by_layer=model.placement.by_layer,
    )
    if not on_cpu:
        return plan
    gives_back, carries = model.machine.max_memory is not None and can_give_back(), FRAME_CARRIER in parameters
    plan = plan_process(plan, model.outline, workload, precision.vae_bytes, sources, carries, gives_back)
    return replace(plan, process=plan.process + held)


def _workload(model: ChosenModel, request: ResolvedRequest, batch: int, low_memory: bool) -> Workload:
    settings, trained = request.settings, model.card.num_frames
    windows = settings.long_video == "fifo"  # of the trained length, whatever that of the video
    store = choose_offload(settings.num_frames, settings.chunk_frames, low_memory, model.device_name == "cpu")
    return Workload(
        request.size.height,
        request.size.width,
        min(settings.num_frames, trained) if windows else settings.num_frames,
        batch,
        settings.num_branches,
        settings.decode_chunk_size or settings.num_frames,
        settings.vae_tile,
        settings.chunk_frames,
        store != "device",
        second_stage_unet=settings.second_stage_unet is not None,
    )
