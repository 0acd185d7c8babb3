"""The stages of a generation, in their order: resolve, encode, methods, sample, decode, result.

Each takes what the ones before it came to and gives a typed record; `DynamiCrafterPipeline.generate` is their sequence.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.device import empty_cache, peak_memory
from lvdm.diffusion.samplers import StepCallback
from lvdm.documents import short_text
from lvdm.media.geometry import PaddedSize
from lvdm.model_card import ModelCard
from lvdm.modules.encoders.condition import PromptReading
from lvdm.pipeline.carried_details import CarriedFrames
from lvdm.pipeline.clip_decoding import check_decoding
from lvdm.pipeline.inputs import check_finite, common_size, cyclic_clip, fitted_images, later_images
from lvdm.pipeline.requests import GenerationRequest, check_requests, kept_regions
from lvdm.pipeline.results import (
    FrameConsumer,
    GenerationResult,
    Stopwatch,
    convert_frames,
    gather_frames,
)
from lvdm.pipeline.runtime import Runtime
from lvdm.pipeline.streaming import for_windows, stream_latents
from lvdm.pipeline.structure import fit_video, with_depth_maps
from lvdm.plugins.assembly import finish_parts, sample_repeatedly
from lvdm.plugins.carry import GivenFrames, given_frames
from lvdm.plugins.freescale import Cascade, FreeScalePlan, enlarge
from lvdm.plugins.hooks import Plugin
from lvdm.plugins.perturbed_guidance import check_blocks
from lvdm.plugins.scaling import Plan, plan_scale
from lvdm.progress import ProgressCallback, report_progress
from lvdm.psnr import psnr
from lvdm.request.settings import GenerationSettings, choose_fs

logger = logging.getLogger(__name__)

WEIGHTED_WORD = re.compile(r"\([^()]+:\s*\d+(\.\d+)?\)")
"""How other programs write the weight of a word; no model here reads it."""


@dataclass(frozen=True, eq=False)
class Callbacks:
    """What the caller hears of a generation, and takes of it.

    on_step   (step, t, x_t, pred_x0); may return a changed x_t
    frames    takes the frames of a single video as they are decoded
    """

    on_step: StepCallback | None = None
    on_progress: ProgressCallback | None = None
    frames: FrameConsumer | None = None


@dataclass(frozen=True, eq=False)
class ResolvedBatch:
    """Stage 1: videos of one size under the same settings.

    clip      the settings of what the network sees: of a video by frames its windows, of a closed loop the ring
    size      of the videos, and of the network around it
    fs        the model's `fs` input
    scale     what is done beyond the trained size; None for nothing
    streamed  whether frames come out of the sampler one after the other
    watch     seconds by stage
    """

    requests: tuple[GenerationRequest, ...]
    settings: GenerationSettings
    clip: GenerationSettings
    size: PaddedSize
    fs: int
    scale: Plan | None
    streamed: bool
    callbacks: Callbacks
    watch: Stopwatch = field(repr=False)

    @property
    def cascade(self) -> FreeScalePlan | None:
        """The plan of a smaller video that comes first; None for none."""
        return self.scale if isinstance(self.scale, FreeScalePlan) and self.scale.cascades else None


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Stage 2: what the network is shown.

    images    (b, 3, H, W) in [-1, 1] by the number of their frame, at the size of the video
    padded      the same at the size of the network
    conditions  those that guidance needs, the full one first
    requests    as they were, with the depth that the network reads
    carried     the image's pixels, carried along; None unless their details are added to decoded frames
    kept        (b, 1 or t, H, W) in [0, 1] at the size of the network, 1 where the image stays; None for nowhere
    readings    how much of each prompt the text encoder reads
    """

    images_by_frame: Mapping[int, Tensor]
    padded: Mapping[int, Tensor]
    conditions: tuple[Conditioning, ...]
    requests: tuple[GenerationRequest, ...]
    kept: Tensor | None
    carried: CarriedFrames | None
    readings: Mapping[str, PromptReading]


@dataclass(frozen=True, eq=False)
class SampledBatch:
    """Stage 4: latents (b, c, k, h, w) in parts, as they come; `whole` (b, c, t, h, w), without frames if streamed."""

    parts: Iterator[Tensor]
    whole: Tensor


@dataclass(frozen=True, eq=False)
class DecodedBatch:
    """Stage 5: videos (b, 3, t, H, W), without frames if streamed, and their frames 0 (b, 3, H, W)."""

    video: Tensor
    first: Tensor


def resolve(
    runtime: Runtime,
    card: ModelCard,
    requests: Sequence[GenerationRequest],
    settings: GenerationSettings,
    callbacks: Callbacks,
) -> ResolvedBatch:
    """Stage 1: everything that can be decided, and refused, before the first tensor. Raises `ValueError`."""
    model = runtime.model
    streamed = settings.long_video == "fifo" and settings.num_frames > model.trained_frames
    check_requests(requests, settings, card, streamed, callbacks.frames is not None)
    check_blocks(settings.perturbed_guidance, model.unet)
    check_decoding(model.first_stage_model, settings)
    runtime.placement.check_settings(settings)
    if streamed and callbacks.on_step is not None:
        raise ValueError("with long_video fifo frames are at different steps; leave out callback_on_step_end")
    size = common_size(requests, settings, card, model.size_multiple)
    scale = plan_scale(settings.scale, (size.height, size.width), (card.height, card.width))
    if scale is not None:
        runtime.placement.check_settings(settings, scale.text)
        logger.info("for a video larger than those of the training: --scale %s; --scale off leaves it", scale.text)
    if streamed and scale is not None:
        raise ValueError("long_video fifo cannot re-dilate the network for a larger video; use scale off")
    clip = for_windows(settings, model.trained_frames) if streamed else cyclic_clip(settings)
    watch = Stopwatch(runtime.device)
    fs = choose_fs(card, settings)
    return ResolvedBatch(tuple(requests), settings, clip, size, fs, scale, streamed, callbacks, watch)


def smaller_request(batch: ResolvedBatch, plan: FreeScalePlan) -> GenerationSettings:
    """The settings of the video that comes before a larger one.

    It ends at the clean latents: noise is added to it again, under the dynamic rescale of that time step alone.
    """
    inside = batch.size.inner
    (height, width), again = plan.before((inside.height, inside.width))
    logger.info("first at %dx%d, to begin the larger video on", width, height)
    return replace(batch.settings, height=height, width=width, scale=again, fix_final_step=True)


def encode(runtime: Runtime, batch: ResolvedBatch) -> EncodedBatch:
    """Stage 2: images and prompts to the conditions of guidance."""
    requests, size = batch.requests, batch.size
    readings = read_prompts(runtime, batch)
    images = fitted_images([request.image for request in requests], size, batch.settings.fit)
    images_by_frame = {0: images, **later_images(requests, size, batch.settings)}
    padded = {frame: size.pad(image) for frame, image in images_by_frame.items()}
    report_progress(batch.callbacks.on_progress, "encode", 0, 1)
    with batch.watch.stage("encode"):
        requests = with_depth_maps(runtime, requests, batch.settings, size)
        requests = with_given_frames(requests, images, batch.settings, size)
        conditions = runtime.conditions(requests, batch.clip, padded, batch.fs)
        carried = None
        if not batch.streamed:
            carried = runtime.carried_frames(requests, batch.clip, padded, batch.fs, conditions[0].concat)
    report_progress(batch.callbacks.on_progress, "encode", 1, 1)
    kept = None if batch.streamed else kept_regions(requests, size, batch.clip)
    return EncodedBatch(images_by_frame, padded, conditions, requests, kept, carried, readings)


def with_given_frames(
    requests: Sequence[GenerationRequest], images: Tensor, settings: GenerationSettings, size: PaddedSize
) -> tuple[GenerationRequest, ...]:
    """The requests with their images (b, 3, H, W) as `carry` moves them, or with their guide video."""

    def moved(request: GenerationRequest, image: Tensor) -> GivenFrames | None:
        if request.guide_video is None:
            return given_frames(image, settings)
        frames = fit_video(request.guide_video, size, settings).transpose(0, 1)
        return GivenFrames(frames, torch.ones_like(frames[:1]))

    shown = map(moved, requests, images)
    return tuple(
        request if frames is None else replace(request, given_frames=frames.mapped(size.pad))
        for request, frames in zip(requests, shown, strict=True)
    )


def read_prompts(runtime: Runtime, batch: ResolvedBatch) -> dict[str, PromptReading]:
    """How much of each prompt the text encoder reads; says what it does not, and what it takes for plain text."""
    prompts = [prompt for request in batch.requests for prompt in request.prompts()]
    prompts += [batch.settings.between_prompt] if batch.settings.between_prompt else []
    readings = {prompt: runtime.model.cond_stage_model.read(prompt) for prompt in dict.fromkeys(prompts) if prompt}
    for prompt, reading in readings.items():
        if reading.unread:
            logger.warning(
                "the prompt has %d tokens and the text encoder reads %d; not read: %s",
                *(reading.tokens, reading.limit, short_text(reading.unread)),
            )
        if WEIGHTED_WORD.search(prompt):
            logger.warning("weights such as (word:1.3) are read as plain text; write the prompt without them")
    return readings


def make_methods(runtime: Runtime, batch: ResolvedBatch, encoded: EncodedBatch, smaller: Tensor | None) -> list[Plugin]:
    """Stage 3: the methods that the settings ask for. smaller: (b, 3, t, h, w), the video that a larger one goes on."""
    with batch.watch.stage("encode"):
        methods = runtime.plugins(
            encoded.requests, batch.clip, encoded.padded, batch.scale, encoded.conditions, batch.fs
        )
        if batch.cascade is not None and smaller is not None:
            inside = batch.size.inner
            larger = enlarge(smaller[:, :, : batch.clip.num_frames], (inside.height, inside.width))
            frames = (batch.size.pad(frame)[:, :, None] for frame in larger.unbind(2))
            methods.append(Cascade(runtime.encode_video(frames), batch.cascade.level))
    return methods


def sample(runtime: Runtime, batch: ResolvedBatch, encoded: EncodedBatch, methods: Sequence[Plugin]) -> SampledBatch:
    """Stage 4: noise to latents; of a streamed video when they are asked for."""
    callbacks, requests = batch.callbacks, batch.requests
    _give_back(runtime)
    if batch.streamed:
        parts = stream_latents(runtime, requests, batch.settings, encoded.conditions, callbacks.on_progress, methods)
        channels, (height, width) = runtime.model.config.channels, encoded.conditions[0].concat.shape[3:]
        return SampledBatch(parts, torch.empty(len(requests), channels, 0, height, width))
    with batch.watch.stage("sample"):
        common = requests, batch.clip, encoded.conditions, callbacks.on_step, callbacks.on_progress, encoded.kept
        latents: Tensor = sample_repeatedly(batch.clip, methods, partial(runtime.sample, *common))
        if batch.settings.is_cyclic:
            latents = torch.cat([latents, latents[:, :, :1]], dim=2)
    return SampledBatch(iter([latents]), latents)


def decode(runtime: Runtime, batch: ResolvedBatch, encoded: EncodedBatch, sampled: SampledBatch) -> DecodedBatch:
    """Stage 5: latents to finished frames, a few at a time, gathered or streamed."""
    settings, size, consumer = batch.settings, batch.size, batch.callbacks.frames
    _give_back(runtime)
    with batch.watch.stage("decode"):
        finite = check_finite(sampled.parts, runtime.precision)
        later = encoded.padded.get(settings.num_frames - 1)
        ends = None if later is None else torch.stack([encoded.padded[0], later], dim=2)
        frames = runtime.decode(
            finite, settings.num_frames, settings, batch.callbacks.on_progress, ends, encoded.carried
        )
        kept = None if encoded.kept is None else size.crop(encoded.kept)
        finished = finish_parts(settings, map(size.crop, frames), encoded.images_by_frame, kept)
        first = next(finished)
        parts = itertools.chain([first], finished)
        if consumer is None:
            video = gather_frames(parts, settings.num_frames)
        else:
            video = torch.empty(1, 3, 0, size.inner.height, size.inner.width)
            consumer(part[0] for part in parts)
    return DecodedBatch(video, first[:, :, 0].clone())


def _give_back(runtime: Runtime) -> None:
    """Between stages, on a CPU: what the one before has freed and malloc keeps would add to the peak of the next."""
    if runtime.device.type == "cpu":
        empty_cache(runtime.device)


def describe(
    runtime: Runtime,
    batch: ResolvedBatch,
    encoded: EncodedBatch,
    sampled: SampledBatch,
    decoded: DecodedBatch,
    output_type: str,
) -> GenerationResult:
    """Stage 6: the videos, and what was measured on the way."""
    likeness = zip(batch.requests, decoded.first, encoded.images_by_frame[0], strict=True)
    return GenerationResult(
        video=decoded.video,
        latents=sampled.whole.cpu(),
        frames=convert_frames(decoded.video, output_type),
        requests=batch.requests,
        settings=batch.settings,
        size=batch.size,
        fs=batch.fs,
        scale="off" if batch.scale is None else batch.scale.text,
        seconds=batch.watch.seconds,
        peak_memory=peak_memory(runtime.device),
        depth=tuple(request.depth_maps for request in encoded.requests),
        readings=encoded.readings,
        first_frame_psnr=tuple(
            None if request.image is None else psnr(frame, image) for request, frame, image in likeness
        ),
    )
