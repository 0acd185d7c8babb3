"""What the pipeline is called with, made into tensors and lists of one length."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lvdm.device import Precision
from lvdm.errors import counted
from lvdm.media.geometry import PaddedSize
from lvdm.media.images import fit_image
from lvdm.model_card import ModelCard
from lvdm.pipeline.model import VideoModel
from lvdm.pipeline.requests import GenerationRequest
from lvdm.request.effects import circumstances, effective, say_idle
from lvdm.request.settings import GenerationSettings
from lvdm.sizes import choose_size, explain_size


def common_size(
    requests: Sequence[GenerationRequest], settings: GenerationSettings, card: ModelCard, multiple: int
) -> PaddedSize:
    """The size of all videos of a batch; logs what is unusual of it. Raises `ValueError` for several sizes."""
    if not requests:
        raise ValueError("there is nothing to generate: give at least one image, or a prompt")
    trained = card.height, card.width
    shapes = [request.source_shape or trained for request in requests]
    sizes = [choose_size(settings.height, settings.width, shape, trained, multiple) for shape in shapes]
    if any(size != sizes[0] for size in sizes):
        raise ValueError("the images of this batch lead to videos of different sizes; give height and width")
    explain_size(sizes[0], settings.height is None and settings.width is None, trained, card.name)
    return sizes[0]


def without_effect(
    settings: GenerationSettings,
    requests: list[GenerationRequest],
    keywords: Container[str],
    card: ModelCard,
    model: VideoModel,
) -> tuple[GenerationSettings, list[GenerationRequest]]:
    """Both with neutral values for what has no effect; warns of those among them that are in `keywords`."""
    trained = card.height, card.width
    sources = [request.source_shape or trained for request in requests]
    sizes = {choose_size(settings.height, settings.width, shape, trained, model.size_multiple) for shape in sources}
    if len(sizes) > 1:
        return settings, requests  # which is refused
    shapes = [request.source_shape for request in requests if request.source_shape is not None]
    shapes += [(image.height, image.width) for one in requests for image in one.later_images(settings).values()]
    prompts, negatives = ({getattr(one, name) for one in requests} for name in ("prompt", "negative_prompt"))
    around = circumstances(
        *(card, sizes.pop(), shapes, prompts.pop() if len(prompts) == 1 else None, max(negatives)),
        reads_images=model.config.reads_images,
        timesteps=model.schedule.num_train_timesteps,
    )
    settings, idle = effective(settings, around)
    say_idle([{name: idle[name] for name in idle if name in keywords or name == "negative_prompt"}], keywords)
    if "negative_prompt" in idle:
        requests = [replace(request, negative_prompt="") for request in requests]
    return settings, requests


def fitted_images(images: Sequence[Image.Image | None], size: PaddedSize, fit: Any) -> Tensor:
    """(b, 3, H, W) in [-1, 1] at the size of the video, grey in the place of no image; b may be 0."""
    height, width = size.inner.height, size.inner.width
    grey = torch.zeros(3, height, width)
    fitted = [grey if image is None else fit_image(image, height, width, fit) for image in images]
    return torch.stack(fitted) if fitted else torch.zeros(0, 3, height, width)


def later_images(
    requests: Sequence[GenerationRequest], size: PaddedSize, settings: GenerationSettings
) -> dict[int, Tensor]:
    """The images after that of frame 0, (b, 3, H, W) each. Raises `ValueError` if not all have the same frames."""
    given = [request.later_images(settings) for request in requests]
    if any(list(some) != list(given[0]) for some in given):
        raise ValueError("the videos of a batch have their key frames at the same places; make these one by one")
    return {frame: fitted_images([some[frame] for some in given], size, settings.fit) for frame in given[0]}


def cyclic_clip(settings: GenerationSettings) -> GenerationSettings:
    """The settings of the clip on a ring, where the video is one that is closed; else `settings`."""
    if not settings.is_cyclic:
        return settings
    return replace(settings, mode="animate", num_frames=settings.num_frames - 1)


def check_finite(latents: Iterable[Tensor], precision: Precision) -> Iterator[Tensor]:
    """The latents of a video in parts. Raises `ValueError` at the first that holds values which are no numbers."""
    for part in latents:
        if not bool(torch.isfinite(part).all()):
            raise ValueError(
                f"sampling in {precision.name} gave values that are not numbers; "
                + ("the weights are damaged: get the file again" if precision.name == "fp32" else "use dtype fp32")
            )
        yield part


def as_list(value: Any) -> list[Any]:
    """A sequence as a list, anything else, such as a prompt or a path, as a list of it alone."""
    single = isinstance(value, str | Path) or not isinstance(value, Sequence)
    return [value] if single else list(value)


def for_each(value: Any, count: int, name: str) -> list[Any]:
    """One value for all of `count` images, or one for each."""
    values = as_list(value)
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise ValueError(f"{counted(count, 'image')} and {len(values)} of {name}; give one, or one for each image")
    return values
