"""Image and sentence in, or a sentence alone, and video out: load a model once, then generate as often as wanted."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lvdm.checkpoint import checkpoint_hash
from lvdm.checkpoint.lora import read_lora
from lvdm.data.geometry import Box, PaddedSize
from lvdm.data.images import to_image
from lvdm.data.masks import MaskSource, to_masks
from lvdm.device import (
    choose_device,
    choose_precision,
    device_name,
    empty_cache,
    multiplies_bf16,
    peak_memory,
    reset_peak_memory,
)
from lvdm.diffusion.samplers import StepCallback
from lvdm.errors import OutOfMemoryError
from lvdm.generation import GenerationSettings, choose_fs
from lvdm.model_card import ModelCard
from lvdm.model_files import ModelFiles, ModelIdentity, card_for, find_model, identify
from lvdm.model_loading import Schedule, choose_schedule, load_model
from lvdm.models.lora_merging import LoraStack
from lvdm.pipeline_inputs import (
    as_list,
    check_finite,
    check_requests,
    fitted_images,
    for_each,
    kept_regions,
    later_pictures,
    ring_of,
)
from lvdm.plugins.assembly import finish_parts, sample_repeatedly
from lvdm.plugins.freescale import Cascade, FreeScalePlan, enlarge
from lvdm.plugins.scaling import Plan, plan_scale
from lvdm.plugins.weak_guidance import check_blocks
from lvdm.progress import ProgressCallback, report_progress
from lvdm.psnr import psnr
from lvdm.results import (
    OUTPUT_TYPES,
    FrameConsumer,
    GenerationRequest,
    GenerationResult,
    Stopwatch,
    convert_frames,
    gather_frames,
)
from lvdm.runtime import Runtime
from lvdm.runtime_streaming import for_windows, stream_latents
from lvdm.sizes import choose_size, explain_size

logger = logging.getLogger(__name__)

ImageSource = str | Path | Image.Image | np.ndarray | Tensor


class DynamiCrafterPipeline:
    """A loaded model, what it can do (`card`), where it came from (`files`) and how it runs (`runtime`)."""

    def __init__(
        self,
        runtime: Runtime,
        card: ModelCard,
        files: ModelFiles,
        schedule: Schedule = "config",
        towers: Path | None = None,
    ) -> None:
        self.runtime = runtime
        self.card = card
        self.files = files
        self.schedule = schedule
        self.towers = towers
        self._loras = LoraStack(runtime.model)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        low_memory: bool = False,
        towers: str | Path | None = None,
        schedule: str = "config",
    ) -> DynamiCrafterPipeline:
        """Load a model named by a preset, a folder, a YAML or a weight file, see `lvdm.model_files.find_model`.

        device      auto, or a name such as cpu
        dtype       auto, fp32, bf16 or fp16, see `lvdm.device.choose_precision`
        low_memory  keep only the part at work on the accelerator, run guidance branches one after the other and decode
                    single frames: slower, with the same result up to rounding
        towers      a checkpoint that supplies the text and image towers, for files without them
        schedule    whose noise schedule counts where the weight file holds another one than the YAML: config, or file
                    as in the original; either way a disagreement is a warning

        Raises `ValueError` (of which `ConfigError` and `CheckpointError` are kinds) with the way out.
        """
        chosen_schedule = choose_schedule(schedule)
        chosen_device = choose_device(device)
        precision = choose_precision(dtype, chosen_device, low_memory)
        if chosen_device.type == "cpu" and precision.weights == torch.bfloat16 and not multiplies_bf16(chosen_device):
            logger.warning("this CPU has no instructions for bf16 and is many times slower in it; leave out --dtype")
        files = find_model(source, checkpoint)
        card = card_for(files)
        weights_device = torch.device("cpu") if low_memory else chosen_device
        model = load_model(files, precision, towers, weights_device, chosen_schedule)
        logger.info("%s on %s in %s", files.checkpoint, device_name(chosen_device), precision)
        supplied = None if towers is None else Path(towers)
        return cls(Runtime(model, chosen_device, precision, low_memory), card, files, chosen_schedule, supplied)

    def load_lora(self, path: str | Path, scale: float = 1.0) -> None:
        """Add `scale` times a LoRA to the weights, beside those that were loaded before.

        Scale 0 changes no bit. Generation is as fast as without. Raises `ValueError` for a file that is no LoRA or was
        trained on another architecture; one trained on another checkpoint of the same architecture is a warning.
        Weights are shared by all pipelines around one model, and so are the LoRAs in them. Raises `WeightsInUseError`
        while a generation is at work with them.
        """
        if not math.isfinite(scale):
            raise ValueError(f"the scale of a LoRA should be a number such as 0.8, it is {scale}")
        lora = read_lora(path)
        self._loras.add(lora, float(scale), f"{self.card.name} ({self.files.checkpoint})")
        base = lora.info.base_sha256
        if base and base != checkpoint_hash(self.files.checkpoint):
            logger.warning(
                "%s was trained on another checkpoint than %s: %s", path, self.files.checkpoint, lora.info.base
            )

    def unload_loras(self) -> None:
        """Take all LoRAs out again; the weights are as they were loaded, to the bit. Raises as `load_lora` does."""
        self._loras.clear()

    @property
    def loras(self) -> tuple[tuple[Path, float], ...]:
        """Files and scales of the LoRAs in the weights."""
        return tuple((lora.path, scale) for lora, scale in self._loras.loras)

    def identity(self) -> ModelIdentity:
        """The hashes of all that decides on the model's numbers. Reads each file once for the process."""
        return identify(self.files, self.towers, self.loras, self.schedule, self.runtime.precision.name)

    def __call__(
        self,
        image: ImageSource | Sequence[ImageSource] | None = None,
        prompt: str | Sequence[str] = "",
        negative_prompt: str | Sequence[str] = "",
        end_image: ImageSource | Sequence[ImageSource] | None = None,
        *,
        loop: bool = False,
        keep_mask: MaskSource | Sequence[MaskSource] | None = None,
        prompts_at: Mapping[int, str] | None = None,
        keyframes: Mapping[int, ImageSource] | None = None,
        seed: int | Sequence[int] = 123,
        sample_index: int = 0,
        output_type: str = "pt",
        callback_on_step_end: StepCallback | None = None,
        on_progress: ProgressCallback | None = None,
        frames_to: FrameConsumer | None = None,
        **settings: Any,
    ) -> GenerationResult:
        """Animate one image, or each of several, by its prompt; or make a video of each prompt alone.

        image, end_image  path, PIL image, array or tensor, or a sequence of them; with `end_image` the video goes from
                          the one to the other, with `loop` it ends as it begins; without `image` it is text-to-video
        prompt            one for all images, or one for each; the same for `negative_prompt`, `end_image`, `keep_mask`
        keep_mask         as large as the image, 1 (white) where the video stays as the image is: a path, a PIL image,
                          an array or tensor (H, W), or (t, H, W) for a mask of its own for each frame
        prompts_at        frames, and the sentence that has taken over there, for all images
        keyframes         frames from 1, and the pictures that they show, for all images; `image` is frame 0
        seed              one for all (samples then differ by their index, counted from `sample_index`), or one for each
        output_type       what `GenerationResult.frames` holds: pt, np, pil or uint8
        callback_on_step_end  (step, t, x_t, pred_x0); may return a changed x_t, may raise `SamplingCancelled`; with
                          scale freescale it is called in each of the passes, whose sizes x_t tells
        frames_to         takes the frames of a single video as they are decoded, see `generate`
        settings          fields of `GenerationSettings` (height, width, num_frames, fps, frame_stride, motion,
                          num_inference_steps, guidance_scale, ...); what is left out takes the value of the card

        Images of a batch whose sizes lead to different videos need `height` and `width`. Raises `ValueError`.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type {output_type!r} is not known; use one of {', '.join(OUTPUT_TYPES)}")
        if loop and end_image is not None:
            raise ValueError("a loop ends with its first image; leave out end_image, or loop")
        if image is None and (loop or end_image is not None):
            raise ValueError(
                "a loop begins with an image and ends with it, and end_image needs a first one; give image"
            )
        if keyframes and (loop or end_image is not None or image is None):
            raise ValueError("key frames come after an image, and make end_image and loop needless; give these alone")
        later = [(frame, to_image(source)) for frame, source in sorted((keyframes or {}).items())]
        mode = "keyframes" if later else "loop" if loop else "animate" if end_image is None else "interpolate"
        chosen = self.settings(mode="text-to-video" if image is None else mode, **settings)
        count = len(as_list(prompt if image is None else image))
        images = [None] * count if image is None else [to_image(source) for source in as_list(image)]
        last = None if end_image is None else [to_image(source) for source in as_list(end_image)]
        ends = for_each(last, count, "end_image")
        prompts = for_each(prompt, count, "prompt")
        negatives = for_each(negative_prompt, count, "negative_prompt")
        masks = for_each([()] if keep_mask is None else [to_masks(m) for m in as_list(keep_mask)], count, "keep_mask")
        seeds = for_each(seed, count, "seed")
        copies = chosen.num_videos_per_prompt
        requests = []
        for i, copy in itertools.product(range(count), range(copies)):
            index = sample_index + copy + (i * copies if isinstance(seed, int) else 0)
            requests.append(
                GenerationRequest(
                    *(images[i], prompts[i], negatives[i], ends[i], seeds[i], index),
                    keep_mask=masks[i],
                    prompts_at=tuple(sorted((prompts_at or {}).items())),
                    keyframes=tuple(later),
                )
            )
        return self.generate(requests, chosen, output_type, callback_on_step_end, on_progress, frames_to)

    def settings(self, **given: Any) -> GenerationSettings:
        """Checked settings: those `given` (not None), and the card's for the rest. Raises `ValueError`."""
        return GenerationSettings.from_card(self.card, **given)

    def size_for(self, image: Image.Image | None, settings: GenerationSettings) -> PaddedSize:
        """The size of the video of `image`, see `lvdm.sizes.choose_size`; without an image, that of the training."""
        trained, multiple = (self.card.height, self.card.width), self.runtime.model.size_multiple
        shape = trained if image is None else (image.height, image.width)
        return choose_size(settings.height, settings.width, shape, trained, multiple)

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        output_type: str = "pt",
        callback_on_step_end: StepCallback | None = None,
        on_progress: ProgressCallback | None = None,
        frames_to: FrameConsumer | None = None,
    ) -> GenerationResult:
        """The videos of `requests`, one each, as one batch. Raises `ValueError`, `OutOfMemoryError`.

        With `frames_to`, for a single request, the video is never held as a whole: it is called with an iterator over
        its parts (3, k, H, W), in order and each decoded when it is asked for; it is to take all of them. The frames
        are those of the whole video, to the bit; the result has none.

        Threads may call it at the same time, and those that share the weights of a low memory pipeline on an
        accelerator take turns. Until it returns, LoRAs can be neither loaded nor unloaded.
        """
        with self.runtime.in_use():
            return self._generate(requests, settings, output_type, callback_on_step_end, on_progress, frames_to)

    def _generate(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        output_type: str,
        callback_on_step_end: StepCallback | None,
        on_progress: ProgressCallback | None,
        frames_to: FrameConsumer | None,
    ) -> GenerationResult:
        if settings.late_weights is not None and self.loras:
            raise ValueError(
                "a LoRA would change the early weights alone; leave out late_weights, or merge it into both"
            )
        by_frame = settings.long_video == "fifo" and settings.num_frames > self.runtime.model.trained_frames
        check_requests(requests, settings, self.card, by_frame, frames_to is not None)
        check_blocks(settings.weak, self.runtime.model.unet)
        if by_frame and callback_on_step_end is not None:
            raise ValueError("with long_video fifo frames are at different steps; leave out callback_on_step_end")
        size = self._common_size(requests, settings)
        scale = self._scale_plan(size, settings)
        if by_frame and scale is not None:
            raise ValueError("long_video fifo cannot re-dilate the network for a larger video; use scale off")
        runtime, fs = self.runtime, choose_fs(self.card, settings)
        watch = Stopwatch(runtime.device)
        cascade = scale if isinstance(scale, FreeScalePlan) and scale.cascades else None
        if cascade is not None:
            with watch.stage("smaller video"):
                smaller = self._smaller_video(
                    requests, settings, size.inner, cascade, callback_on_step_end, on_progress
                )
        reset_peak_memory(runtime.device)
        with _memory_errors(runtime.device, len(requests), size, settings), torch.inference_mode():
            images = fitted_images([request.image for request in requests], size, settings.fit)
            pictures = {0: images, **later_pictures(requests, size, settings)}
            report_progress(on_progress, "encode", 0, 1)
            with watch.stage("encode"):
                shown = for_windows(settings, runtime.model.trained_frames) if by_frame else ring_of(settings)
                padded = {frame: size.pad(picture) for frame, picture in pictures.items()}
                conditions = runtime.conditions(requests, shown, padded, fs)
                plugins = runtime.plugins(requests, shown, padded, scale, conditions, fs)
                if cascade is not None:
                    larger = enlarge(smaller[:, :, : shown.num_frames], (size.inner.height, size.inner.width))
                    frames = (size.pad(frame)[:, :, None] for frame in larger.unbind(2))
                    plugins.append(Cascade(runtime.encode_video(frames), cascade.level))
            report_progress(on_progress, "encode", 1, 1)
            kept = None if by_frame else kept_regions(requests, size, shown)
            with watch.stage("sample"):
                if by_frame:  # sampled while they are decoded
                    sampled = stream_latents(runtime, requests, settings, conditions, on_progress, plugins)
                    latents = torch.empty(
                        len(requests), runtime.model.config.channels, 0, *conditions[0].concat.shape[3:]
                    )
                else:
                    common = requests, shown, conditions, callback_on_step_end, on_progress, kept
                    latents = sample_repeatedly(shown, plugins, partial(runtime.sample, *common))
                    if settings.closes_ring:
                        latents = torch.cat([latents, latents[:, :, :1]], dim=2)
                    sampled = iter([latents])
            with watch.stage("decode"):
                finite = check_finite(sampled, runtime.precision)
                decoded = map(size.crop, runtime.decode(finite, settings.num_frames, settings, on_progress))
                finished = finish_parts(settings, decoded, pictures, None if kept is None else size.crop(kept))
                first, parts = _first_frames(finished)
                if frames_to is None:
                    video = gather_frames(parts, settings.num_frames)
                else:
                    video = torch.empty(1, 3, 0, *images.shape[2:])
                    frames_to(part[0] for part in parts)
        return GenerationResult(
            video=video,
            latents=latents.cpu(),
            frames=convert_frames(video, output_type),
            requests=tuple(requests),
            settings=settings,
            size=size,
            fs=fs,
            scale=scale.text if scale else "off",
            seconds=watch.seconds,
            peak_memory=peak_memory(runtime.device),
            first_frame_psnr=tuple(
                None if request.image is None else psnr(frame, image)
                for request, frame, image in zip(requests, first, images, strict=True)
            ),
        )

    def _smaller_video(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        inside: Box,
        plan: FreeScalePlan,
        on_step: StepCallback | None,
        on_progress: ProgressCallback | None,
    ) -> Tensor:
        """The video (b, 3, t, H, W) that comes before a larger one, of which `inside` is shown.

        It ends at the clean latents: noise is added to it again, under the dynamic rescale of that time step alone.
        """
        (height, width), again = plan.before((inside.height, inside.width))
        logger.info("first at %dx%d, to begin the larger video on", width, height)
        own = replace(settings, height=height, width=width, scale=again, fix_final_step=True)
        return self.generate(requests, own, callback_on_step_end=on_step, on_progress=on_progress).video

    def _scale_plan(self, size: PaddedSize, settings: GenerationSettings) -> Plan | None:
        plan = plan_scale(settings.scale, (size.height, size.width), (self.card.height, self.card.width))
        if plan is not None:
            logger.info("for a video larger than those of the training: --scale %s; --scale off leaves it", plan.text)
        return plan

    def _common_size(self, requests: Sequence[GenerationRequest], settings: GenerationSettings) -> PaddedSize:
        if not requests:
            raise ValueError("there is nothing to generate: give at least one image, or a prompt")
        sizes = [self.size_for(request.image, settings) for request in requests]
        if any(size != sizes[0] for size in sizes):
            raise ValueError("the images of this batch lead to videos of different sizes; give height and width")
        follows_image = settings.height is None and settings.width is None
        explain_size(sizes[0], follows_image, (self.card.height, self.card.width), self.card.name)
        return sizes[0]


def _first_frames(parts: Iterator[Tensor]) -> tuple[Tensor, Iterator[Tensor]]:
    """Frame 0 of videos in parts (b, 3, k, H, W), and all of their parts."""
    begin = next(parts)
    return begin[:, :, 0].clone(), itertools.chain([begin], parts)


@contextmanager
def _memory_errors(device: torch.device, batch: int, size: PaddedSize, settings: GenerationSettings) -> Iterator[None]:
    """Turn a lack of memory inside the block into `OutOfMemoryError` with the way out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        empty_cache(device)
        raise OutOfMemoryError(
            f"{device} has too little memory for a batch of {batch} at {size.width}x{size.height}, "
            f"{settings.num_frames} frames; use low memory mode, a smaller size, fewer frames or a smaller batch"
        ) from error
