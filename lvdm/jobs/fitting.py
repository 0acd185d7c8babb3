"""`--max-memory`: pieces and tiles that keep a plan within an amount of memory, and leave its pixels as they are."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lvdm.declaration.values import MIN_TILE, memory_bytes
from lvdm.errors import UserError
from lvdm.jobs.memory import plan_for
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.resolved import ResolvedRequest
from lvdm.request.settings import GenerationSettings

if TYPE_CHECKING:
    from lvdm.jobs.plan import Plan

logger = logging.getLogger(__name__)

TILES = (64, 32, 16, MIN_TILE)
CHUNKS = (8, 4, 2, 1)
SPARE = 1.02
"""Times the smallest: libraries that are imported in the meantime may take a little more."""

Choice = tuple[ChosenModel, ResolvedRequest]


def fit_memory(model: ChosenModel, request: ResolvedRequest, batch: int = 1, held: int = 0) -> Choice:
    """The model and the request as they fit into the memory that the model's parameters allow; without, as they are.

    What takes the most is made smaller first, step by step: frames decoded at once, tiles, branches of guidance one
    after the other (low memory mode), frames in the network at once. None of it changes pixels but by rounding, so that
    digests stay. held: as in `plan_for`. Raises `UserError` with the smallest that would do.
    """
    if model.machine.max_memory is None:
        return model, request
    allowed = memory_bytes(model.machine.max_memory)
    plan = plan_for(model, request, batch, held=held)
    while plan.total > allowed:
        stage = max(plan.stages, key=lambda name: plan.stages[name])
        for choice in _smaller(model, request, stage):
            smaller = plan_for(*choice, batch, held=held)
            if smaller.total < plan.total:
                (model, request), plan = choice, smaller
                break
        else:
            raise UserError(_refusal(model, request, plan.total, held))
    return model, request


def _smaller(model: ChosenModel, request: ResolvedRequest, stage: str) -> Iterator[Choice]:
    """The next ways to make a stage smaller, the cheapest first; each still has to be."""
    settings = request.settings
    chunk = settings.decode_chunk_size or settings.num_frames
    changes = list[dict[str, int]]()
    if stage == "decoding":
        changes += [{"decode_chunk_size": count} for count in (2, 1) if count < chunk]
        if not model.outline.autoencoder.whole_clips:
            changes += [{"vae_tile": tile} for tile in TILES if tile < (settings.vae_tile or max(TILES) + 1)]
    if stage == "sampling" and not model.machine.low_memory and settings.num_branches > 1:
        yield replace(model, machine=replace(model.machine, low_memory=True)), request
    if stage == "sampling" and not model.placement.hooked:
        frames = settings.chunk_frames or settings.num_frames
        changes += [{"chunk_frames": count} for count in CHUNKS if count < frames]
    for change in changes:
        changed = _changed(settings, change)
        if changed is not None:
            yield model, replace(request, settings=changed)


def _changed(settings: GenerationSettings, change: dict[str, int]) -> GenerationSettings | None:
    """The settings with a change; None where a method does not go with it."""
    try:
        return replace(settings, **change)  # type: ignore[arg-type]
    except ValueError:
        return None


def _refusal(model: ChosenModel, request: ResolvedRequest, smallest: int, held: int) -> str:
    inner, frames = request.size.inner, request.settings.num_frames
    ways = f"a smaller --height and --width, or {'a shorter video' if held else 'fewer --num-frames'}"
    if model.device_name != "cpu":
        ways += ", or --offload group" if not model.placement.by_layer else ""
        ways += ", or --storage fp8" if model.placement.storage == "full" else ""
    video = f"{inner.width}x{inner.height} and {frames} frames with {model.card.name} in {model.precision().weights}"
    enough = f"{math.ceil(SPARE * smallest / 1e8) / 10:.1f} GB"
    return f"max_memory {model.machine.max_memory} is too little for {video}: {enough} would do; give that, or {ways}"


def describe_choice(before: Choice, after: Choice) -> str | None:
    """What was chosen, in one line; None for nothing."""
    names = ("decode_chunk_size", "vae_tile", "chunk_frames")
    then, now = before[1].settings, after[1].settings
    changed = [name for name in names if getattr(then, name) != getattr(now, name)]
    chosen = [f"--{name.replace('_', '-')} {getattr(now, name)}" for name in changed]
    if after[0].machine.low_memory and not before[0].machine.low_memory:
        chosen.insert(0, "--low-memory")
    return f"for --max-memory {after[0].machine.max_memory}: {', '.join(chosen)}" if chosen else None


def fit_plan(plan: Plan, batch: int = 1) -> Plan:
    """`plan` whose videos fit into the memory that its model's parameters allow, `batch` at a time; says what it took.

    Raises `UserError`.
    """
    if plan.model.machine.max_memory is None:
        return plan
    model, fitted, said = plan.model, dict[str, ResolvedRequest](), set[str]()
    videos = []
    for video in plan.videos:
        key = repr((video.request.settings, video.request.size))
        if key not in fitted:
            before = model, video.request
            model, fitted[key] = fit_memory(*before, batch)
            line = describe_choice(before, (model, fitted[key]))
            if line is not None and line not in said:
                said.add(line)
                logger.info("%s", line)
        settings = fitted[key].settings
        videos.append(replace(video, request=replace(video.request, settings=settings)))
    return replace(plan, model=model, videos=tuple(videos))
