"""Videos of the embedded model with the ways in for the image taken away, one by one and together."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.evaluation.manifest import Manifest
from lvdm.evaluation.manifest_making import REQUESTS_FILE
from lvdm.media.video_writer import write_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.model import VideoModel
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.runtime import Runtime
from lvdm.request.settings import GenerationSettings


@dataclass(frozen=True)
class Variant:
    """What the denoiser reads, and where it begins.

    tokens   those of the image, beside the prompt's; without them those of a grey image
    latents  of the image, concatenated; without them zeros
    carried  whether sampling begins with what the frame carrier carried and adds its details to decoded frames, or
             begins with noise, as in the paper
    against  name of the variant that this one is compared with
    """

    name: str
    tokens: bool = True
    latents: bool = True
    carried: bool = True
    against: str = "full"

    @property
    def folder(self) -> str:
        """A name for files."""
        return self.name.replace(" ", "-").replace(",", "")


FULL = Variant("full")
FROM_NOISE = Variant("from noise", carried=False)
ABLATIONS = (
    Variant("no context tokens", tokens=False),
    FROM_NOISE,
    Variant("from noise, no context tokens", tokens=False, carried=False, against=FROM_NOISE.name),
    Variant("from noise, no concatenated latents", latents=False, carried=False, against=FROM_NOISE.name),
    Variant("from noise, neither", tokens=False, latents=False, carried=False, against=FROM_NOISE.name),
)


class AblatedRuntime(Runtime):
    """A runtime whose conditions lack what the variant takes away, in every branch of the guidance."""

    variant: Variant = FULL

    @classmethod
    def of(cls, runtime: Runtime, variant: Variant) -> AblatedRuntime:
        """The same model on the same device."""
        ablated = cls(runtime.model, runtime.device, runtime.precision, runtime.low_memory)
        ablated.variant = variant
        return ablated

    def conditions(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images: Mapping[int, Tensor],
        fs: int,
    ) -> tuple[Conditioning, ...]:
        """Those of the full model, with the tokens of a grey image or with empty latents."""
        grey = self._null_tokens(settings, images[0])
        branches = []
        for condition in super().conditions(requests, settings, images, fs):
            tokens = condition.image if self.variant.tokens else grey.expand_as(condition.image)
            latents = condition.concat if self.variant.latents else torch.zeros_like(condition.concat)
            branches.append(dataclasses.replace(condition, image=tokens, concat=latents))
        return tuple(branches)


@contextmanager
def beginning(model: VideoModel, variant: Variant) -> Iterator[None]:
    """Whether `model` begins with what is carried, as `variant` says; a model without a carrier does not."""
    carrier = model.frame_carrier
    if carrier is None or variant.carried:
        yield
        return
    own = carrier.config
    carrier.config = dataclasses.replace(own, start=1.0, between=None, details=False)
    try:
        yield
    finally:
        carrier.config = own


def generate_missing(
    pipe: DynamiCrafterPipeline, variant: Variant, clips: Manifest, folder: Path, batch_size: int, steps: int
) -> None:
    """`ID.mp4` in `folder` for every clip, from its first frame, caption, seed and stride; those that are there stay.

    A video depends on its clip and its place in the manifest alone, up to the rounding of batches.
    """
    requests = read_requests(clips.folder / REQUESTS_FILE)
    rates = {entry.id: entry.fps for entry in clips.entries}
    runtime, pipe.runtime = pipe.runtime, AblatedRuntime.of(pipe.runtime, variant)
    try:
        missing = [row for row in requests if not (folder / f"{row.name}.mp4").exists()]
        for batch in track(batches(missing, batch_size), description=variant.name):
            with beginning(runtime.model, variant):
                result = pipe(
                    [clips.folder / row.image for row in batch],
                    [row.prompt for row in batch],
                    seed=[row.seed for row in batch],
                    frame_stride=batch[0].stride,
                    num_inference_steps=steps,
                )
            for row, video in zip(batch, result.video, strict=True):
                write_video(video, folder / f"{row.name}.mp4", rates[row.name] or pipe.card.playback_fps)
    finally:
        pipe.runtime = runtime


@dataclass(frozen=True)
class Row:
    """One line of the list of procedural inputs."""

    name: str
    image: str
    prompt: str
    seed: int
    stride: int


def read_requests(path: Path) -> list[Row]:
    """The inputs that were written beside the procedural clips."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(row["name"], row["image"], row["prompt"], int(row["seed"]), int(row["fs"]))
            for row in csv.DictReader(file)
        ]


def batches(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """At most `size` rows of one stride together: a batch has one value of it."""
    found = []
    for stride in sorted({row.stride for row in rows}):
        same = [row for row in rows if row.stride == stride]
        found += [same[start : start + size] for start in range(0, len(same), size)]
    return found
