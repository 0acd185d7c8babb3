"""Image and prompt in, or a prompt alone, and video out: load a model once, then generate as often as wanted."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lvdm.checkpoint import checkpoint_hash
from lvdm.checkpoint.lora import read_lora
from lvdm.config import load_yaml
from lvdm.declaration.parameters import SeedParameters
from lvdm.declaration.values import Schedule, Storage, WeightOffload
from lvdm.deprecation import warn_of_former_name
from lvdm.device import (
    choose_device,
    choose_precision,
    device_name,
    empty_cache,
    multiplies_bf16,
    reset_peak_memory,
)
from lvdm.diffusion.samplers import StepCallback
from lvdm.errors import OutOfMemoryError, counted
from lvdm.media.geometry import PaddedSize
from lvdm.media.images import to_image
from lvdm.media.masks import MaskSource, to_masks
from lvdm.model_card import ModelCard
from lvdm.model_files import ModelFiles, ModelIdentity, card_for, config_hash, find_model, identify
from lvdm.models.lora_merging import LoraStack
from lvdm.modules.attention_backends import choose_attention
from lvdm.pipeline.callbacks import DiffusersCallback, as_step_callback, seeds_of
from lvdm.pipeline.inputs import as_list, for_each, without_effect
from lvdm.pipeline.loading import choose_schedule, load_model
from lvdm.pipeline.placement import WeightPlacement
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.results import OUTPUT_TYPES, FrameConsumer, GenerationResult
from lvdm.pipeline.runtime import Runtime
from lvdm.pipeline.stages import (
    Callbacks,
    ResolvedBatch,
    decode,
    describe,
    encode,
    make_methods,
    resolve,
    sample,
    smaller_request,
)
from lvdm.precision import numbers_name
from lvdm.progress import ProgressCallback
from lvdm.request.keywords import GenerationKeywords
from lvdm.request.settings import GenerationSettings
from lvdm.sizes import choose_size

logger = logging.getLogger(__name__)

DEFAULT_SEED = SeedParameters().seed
ImageSource = str | Path | Image.Image | np.ndarray | Tensor


class DynamiCrafterPipeline:
    """A loaded model, what it can do (`card`), where it came from (`files`) and how it runs (`runtime`)."""

    def __init__(
        self,
        runtime: Runtime,
        card: ModelCard,
        files: ModelFiles,
        schedule: Schedule = "config",
        encoders: Path | None = None,
    ) -> None:
        self.runtime = runtime
        self.card = card
        self.files = files
        self.schedule = schedule
        self.encoders = encoders
        self._loras = LoraStack(cast(nn.Module, runtime.model))

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        low_memory: bool = False,
        encoders: str | Path | None = None,
        schedule: str = "config",
        towers: str | Path | None = None,
        attention: str = "auto",
        offload: WeightOffload = "none",
        storage: Storage = "full",
    ) -> DynamiCrafterPipeline:
        """Load a model named by a preset, a folder, a YAML or a weight file, see `lvdm.model_files.find_model`.

        device      auto, or a name such as cpu
        dtype       auto, fp32, bf16 or fp16, see `lvdm.device.choose_precision`
        low_memory  keep only the part at work on the accelerator, run guidance branches one after the other and decode
                    single frames: slower, with the same result up to rounding
        encoders    a checkpoint that supplies the text and image encoders, for files without them; `towers` until now
        schedule    whose noise schedule counts where the weight file holds another one than the YAML: config, or file
                    as in the original; either way a disagreement is a warning
        attention   what computes the network's attention, see `lvdm.modules.attention_backends`
        offload, storage  how the network's weights are kept, see `lvdm.pipeline.placement`

        Raises `ValueError` (of which `ConfigError` and `CheckpointError` are kinds) with a hint.
        """
        if towers is not None:
            warn_of_former_name("towers", "encoders")
            encoders = towers if encoders is None else encoders
        chosen_schedule = choose_schedule(schedule)
        chosen_device, placement = choose_device(device), WeightPlacement(offload, storage)
        placement.check(chosen_device.type == "cpu")
        precision = choose_precision(dtype, chosen_device, low_memory)
        if chosen_device.type == "cpu" and precision.weights == torch.bfloat16 and not multiplies_bf16(chosen_device):
            logger.warning("this CPU has no instructions for bf16 and is many times slower in it; leave out --dtype")
        chosen_attention = choose_attention(attention, chosen_device, precision.weights)
        files = find_model(source, checkpoint)
        card = card_for(files)
        waits = low_memory or placement != WeightPlacement()
        model = load_model(files, precision, encoders, torch.device("cpu") if waits else chosen_device, chosen_schedule)
        placement.apply(model.unet, chosen_device, precision.weights)
        logger.info("%s on %s in %s", files.checkpoint, device_name(chosen_device), precision)
        supplied = None if encoders is None else Path(encoders)
        runtime = Runtime(model, chosen_device, precision, low_memory, chosen_attention, placement=placement)
        return cls(runtime, card, files, chosen_schedule, supplied)

    def load_lora(self, path: str | Path, scale: float = 1.0) -> None:
        """Add `scale` times a LoRA to the weights, beside those that were loaded before.

        Scale 0 changes no bit. Generation is as fast as without. Raises `ValueError` for a file that is no LoRA or was
        trained on another architecture; one trained on another checkpoint of the same architecture is a warning.
        Weights are shared by all pipelines around one model, and so are the LoRAs in them. Raises `WeightsInUseError`
        while a generation is at work with them.
        """
        self.runtime.placement.check_loras([path])
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
        runtime = self.runtime
        numbers = numbers_name(runtime.precision.name, runtime.attention, runtime.placement.storage)
        return identify(self._config_hash, self.files, self.encoders, self.loras, self.schedule, numbers)

    @cached_property
    def _config_hash(self) -> str:
        return config_hash(load_yaml(self.files.config))

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
        guide_video: Tensor | np.ndarray | None = None,
        depth: Tensor | np.ndarray | None = None,
        driving_video: Tensor | np.ndarray | None = None,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        sample_index: int = 0,
        output_type: str = "pt",
        callback_on_step_end: StepCallback | DiffusersCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] | None = None,
        on_progress: ProgressCallback | None = None,
        frames_to: FrameConsumer | None = None,
        **settings: Unpack[GenerationKeywords],
    ) -> GenerationResult:
        """Animate one image, or each of several, by its prompt; or make a video of each prompt alone.

        image, end_image  path, PIL image, array or tensor, or a sequence of them; with `end_image` the video goes from
                          the one to the other, with `loop` it ends as it begins; without `image` it is text-to-video
        prompt            one for all images, or one for each; the same for `negative_prompt`, `end_image`, `keep_mask`
        keep_mask         as large as the image, 1 (white) where the video stays as the image is: a path, a PIL image,
                          an array or tensor (H, W), or (t, H, W) for a mask of its own for each frame
        prompts_at        frames, and the prompt that has taken over there, for all images
        keyframes         frames from 1, and the images that they show, for all images; `image` is frame 0
        guide_video       (t, H, W, 3) bytes, whose latents are shown to the network in the place of the image's
        depth             (t, H, W), near is large: structure, a video of each prompt that follows it
        driving_video     (t, H, W, 3) bytes, whose depth is estimated, in its place
        seed              one for all (samples then differ by their index, counted from `sample_index`), or one for each
                          image; 123 when it is left out
        generator         in the place of `seed`, as in diffusers: the seed, or one for each image, is drawn from it
        output_type       what `GenerationResult.frames` holds: pt, np, pil or uint8
        callback_on_step_end  (step, t, x_t, pred_x0); may return a changed x_t, may raise `SamplingCancelled`; with
                          scale freescale it is called in each of the passes, whose sizes x_t tells
        callback_on_step_end_tensor_inputs  of latents and pred_original_sample: `callback_on_step_end` is one of
                          diffusers then, (pipeline, step, timestep, tensors by name), and gives a dict with `latents`
        frames_to         takes the frames of a single video as they are decoded, see `generate`
        settings          those of `lvdm.request.keywords.GenerationKeywords` (height, width, num_frames, motion,
                          num_inference_steps, guidance_scale, ...), each of which docs/parameters.md explains; what is
                          left out takes the value of the card

        Images of a batch whose sizes lead to different videos need `height` and `width`. Raises `ValueError`.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type {output_type!r} is not known; use one of {', '.join(OUTPUT_TYPES)}")
        if seed is not None and generator is not None:
            raise ValueError("seed and generator decide on the same noise; give one of them")
        chosen_seed = seeds_of(generator) if generator is not None else DEFAULT_SEED if seed is None else seed
        on_step = as_step_callback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
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
        without_image = "text-to-video" if depth is None and driving_video is None else "structure"
        chosen = self.settings(mode=without_image if image is None else mode, **settings)
        count = len(as_list(prompt if image is None else image))
        images = [None] * count if image is None else [to_image(source) for source in as_list(image)]
        last = None if end_image is None else [to_image(source) for source in as_list(end_image)]
        ends = for_each(last, count, "end_image")
        prompts = for_each(prompt, count, "prompt")
        negatives = for_each(negative_prompt, count, "negative_prompt")
        masks = for_each([()] if keep_mask is None else [to_masks(m) for m in as_list(keep_mask)], count, "keep_mask")
        seeds = for_each(chosen_seed, count, "seed")
        copies = chosen.num_videos_per_prompt
        requests = []
        for i, copy in itertools.product(range(count), range(copies)):
            index = sample_index + copy + (i * copies if isinstance(chosen_seed, int) else 0)
            requests.append(
                GenerationRequest(
                    *(images[i], prompts[i], negatives[i], ends[i], seeds[i], index),
                    keep_mask=masks[i],
                    prompts_at=tuple(sorted((prompts_at or {}).items())),
                    keyframes=tuple(later),
                    guide_video=None if guide_video is None else torch.as_tensor(guide_video),
                    depth=None if depth is None else torch.as_tensor(depth),
                    driving_video=None if driving_video is None else torch.as_tensor(driving_video),
                )
            )
        chosen, requests = without_effect(chosen, requests, settings, self.card, self.runtime.model)
        return self.generate(requests, chosen, output_type, on_step, on_progress, frames_to)

    def settings(self, **values: Any) -> GenerationSettings:
        """Checked settings: those `given` (not None), and the card's for the rest. Raises `ValueError`."""
        return GenerationSettings.from_card(self.card, **values)

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
        callbacks = Callbacks(callback_on_step_end, on_progress, frames_to)
        runtime = self.runtime
        with runtime.in_use():
            self._check_second_stage(settings)
            batch = resolve(runtime, self.card, requests, settings, callbacks)  # 1 sizes, fs, what is refused
            smaller = self._smaller_video(batch)
            reset_peak_memory(runtime.device)
            with _memory_errors(runtime.device, batch), runtime.without_gradients():
                encoded = encode(runtime, batch)  # 2 images and prompts to conditions
                methods = make_methods(runtime, batch, encoded, smaller)  # 3 what is on top of the sampler
                sampled = sample(runtime, batch, encoded, methods)  # 4 noise to latents
                decoded = decode(runtime, batch, encoded, sampled)  # 5 latents to frames
            return describe(runtime, batch, encoded, sampled, decoded, output_type)  # 6 with what was measured

    def _smaller_video(self, batch: ResolvedBatch) -> Tensor | None:
        """The video (b, 3, t, H, W) that a larger one goes on from: stage 4 of a smaller request; None for none."""
        if batch.cascade is None:
            return None
        with batch.watch.stage("smaller video"):
            own, heard = smaller_request(batch, batch.cascade), batch.callbacks
            return self.generate(
                batch.requests, own, callback_on_step_end=heard.on_step, on_progress=heard.on_progress
            ).video

    def _check_second_stage(self, settings: GenerationSettings) -> None:
        if settings.second_stage_unet is not None and self.loras:
            raise ValueError(
                "a LoRA would change the early weights alone; leave out second_stage_unet, or merge it into both"
            )


@contextmanager
def _memory_errors(device: torch.device, batch: ResolvedBatch) -> Iterator[None]:
    """Turn a lack of memory inside the block into `OutOfMemoryError` with a hint."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        empty_cache(device)
        raise OutOfMemoryError(
            f"{device} has too little memory for a batch of {len(batch.requests)} at "
            f"{batch.size.width}x{batch.size.height}, {counted(batch.settings.num_frames, 'frame')}; "
            "use low memory mode, a smaller size, fewer frames or a smaller batch"
        ) from error
