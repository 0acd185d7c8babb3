"""A pipeline of diffusers around ours: its components are loaded, moved, cast and saved by diffusers, and made to work
by `lvdm.pipeline`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import nn

from lvdm.checkpoint.diffusers_writing import NODES, PIPELINE_FILE, PIPELINE_SOURCE
from lvdm.checkpoint.keys import DIFFUSERS_INDEX
from lvdm.config import Component, model_component
from lvdm.device import Precision
from lvdm.diffusers_pipeline.components import (
    Built,
    Network,
    VideoScheduler,
    VideoUNet,
    autoencoder_of,
    compute_dtype,
)
from lvdm.diffusers_pipeline.residence import ComponentRuntime
from lvdm.diffusers_pipeline.scheduling import check_scheduler, takes_eta
from lvdm.errors import UserError
from lvdm.media.atomic import write_json
from lvdm.model_card import ModelCard
from lvdm.model_files import ModelFiles
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.pipeline import ImageSource
from lvdm.progress import Progress
from lvdm.request.keywords import GenerationKeywords

ORDER = "text_encoder->image_encoder->image_projection->frame_carrier->depth_estimator->unet->vae"
"""The order in which a generation needs its components."""
NETWORKS = ("text_encoder", "image_encoder", "image_projection", "frame_carrier", "depth_estimator")


@dataclass
class VideoOutput(BaseOutput):
    """What a call gives: the videos in the type that was asked for, and the latents (n, c, t, h, w) on the CPU."""

    frames: Any
    latents: torch.Tensor


class DynamiCrafterDiffusionPipeline(DiffusionPipeline):
    """The components of a folder that `dynamicrafter convert --to diffusers` wrote.

    model, sampling  the nodes of our YAML; the settings of a call take the values of `sampling`

    `enable_model_cpu_offload` works for all components; `enable_group_offload` and `enable_sequential_cpu_offload` for
    UNet and autoencoder, while the others move as a whole, or stay. One call after the other: hooks are shared.
    """

    model_cpu_offload_seq = ORDER
    _optional_components: ClassVar[list[str]] = [name for name in NETWORKS if name != "text_encoder"]
    _exclude_from_cpu_offload: ClassVar[list[str]] = list(NETWORKS)

    def __init__(
        self,
        unet: VideoUNet,
        vae: AutoencoderKL | Network,
        text_encoder: Network,
        scheduler: Any,
        image_encoder: Network | None = None,
        image_projection: Network | None = None,
        frame_carrier: Network | None = None,
        depth_estimator: Network | None = None,
        model: dict[str, Any] | None = None,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if model is None or sampling is None:
            raise UserError("model and sampling are the nodes of the YAML; load a folder, from_pretrained(folder)")
        self.register_modules(
            unet=unet,
            vae=vae,
            text_encoder=text_encoder,
            scheduler=scheduler,
            image_encoder=image_encoder,
            image_projection=image_projection,
            frame_carrier=frame_carrier,
            depth_estimator=depth_estimator,
        )
        self.register_to_config(model=model, sampling=sampling)
        self._by_groups = False

    @classmethod
    def load_config(cls, *arguments: Any, **options: Any) -> Any:
        """The `model_index.json`; this class needs no code of the folder to be found, so that none is run."""
        found = super().load_config(*arguments, **options)
        if isinstance(found, dict) and cls is not DiffusionPipeline:
            found["_class_name"] = cls.__name__
        return found

    def save_config(self, save_directory: str | Path, push_to_hub: bool = False, **options: Any) -> None:
        """Write `model_index.json`, and the file by which diffusers finds this class."""
        super().save_config(save_directory, push_to_hub=push_to_hub, **options)
        folder = Path(save_directory)
        (folder / PIPELINE_FILE).write_text(PIPELINE_SOURCE, encoding="utf-8")
        index = dict(self.load_config(str(folder)))
        index["_class_name"] = [PIPELINE_FILE.removesuffix(".py"), type(self).__name__]
        write_json(folder / DIFFUSERS_INDEX, index)

    def enable_group_offload(
        self, onload_device: torch.device | str, *, exclude_modules: str | Sequence[str] | None = None, **options: Any
    ) -> None:
        """diffusers' own, for UNet and autoencoder; the others are moved as a whole while they are at work.

        By layers (`offload_type="leaf_level"`): what surrounds blocks also calls their layers.
        """
        if options.setdefault("offload_type", "leaf_level") != "leaf_level":
            raise UserError("offload_type should be leaf_level: layers of this network are called outside their blocks")
        excluded = [exclude_modules] if isinstance(exclude_modules, str) else list(exclude_modules or ())
        whole = [name for name in NETWORKS if name not in excluded]
        whole += [] if isinstance(self.vae, AutoencoderKL) else ["vae"]
        super().enable_group_offload(torch.device(onload_device), exclude_modules=[*excluded, *whole], **options)
        for name in whole:
            component = getattr(self, name)
            if component is not None:
                component.to("cpu")
        self._by_groups = True

    @torch.no_grad()
    def __call__(
        self,
        image: ImageSource | Sequence[ImageSource] | None = None,
        prompt: str | Sequence[str] = "",
        negative_prompt: str | Sequence[str] = "",
        end_image: ImageSource | Sequence[ImageSource] | None = None,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **settings: Unpack[GenerationKeywords],
    ) -> VideoOutput | tuple[Any, torch.Tensor]:
        """Videos of images and prompts; the arguments are those of `lvdm.pipeline.DynamiCrafterPipeline.__call__`.

        output_type  pil (a list of images for each video), np, pt or uint8
        callback_on_step_end  as in diffusers: (pipeline, step, timestep, tensors by name) -> tensors that it changed

        Raises `ValueError`.
        """
        if settings.get("vae_tile") is not None and isinstance(self.vae, AutoencoderKL):
            raise UserError("vae_tile is for our own decoder; use pipe.vae.enable_tiling()")
        pipeline = self._pipeline()
        if not isinstance(self.scheduler, VideoScheduler) and not takes_eta(self.scheduler):
            settings.setdefault("eta", 0.0)  # in the place of the card's, which is for DDIM

        def on_step(_: Any, *rest: Any) -> Any:
            return callback_on_step_end(self, *rest) if callback_on_step_end else {}

        with self.progress_bar(total=pipeline.settings(**settings).num_inference_steps) as bar:

            def on_progress(progress: Progress) -> None:
                if progress.stage == "sample":
                    bar.update(progress.done - bar.n)

            result = pipeline(
                image,
                prompt,
                negative_prompt,
                end_image,
                seed=seed,
                generator=generator,
                output_type=output_type,
                callback_on_step_end=on_step if callback_on_step_end else None,
                callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs if callback_on_step_end else None,
                on_progress=on_progress,
                **settings,
            )
        self.maybe_free_model_hooks()
        return VideoOutput(result.frames, result.latents) if return_dict else (result.frames, result.latents)

    def _pipeline(self) -> DynamiCrafterPipeline:
        """Our pipeline around the components as they are now. Raises `UserError` for a scheduler that does not fit."""
        tree = {"model": self.config.model, "sampling": self.config.sampling}
        place = Path(str(self.config.get("_name_or_path") or "."))
        described = model_component(tree, str(place / DIFFUSERS_INDEX))
        modules = {name: _module(name, getattr(self, name)) for name in NODES}
        built = {
            NODES[name]: Built(_node(described.params, name), module)
            for name, module in modules.items()
            if module is not None
        }
        model = described.resolve()(replace(described.params, **built))
        owners = {module: getattr(self, name) for name, module in modules.items() if module is not None}
        owners[model.model] = self.unet
        theirs = None if isinstance(self.scheduler, VideoScheduler) else self.scheduler
        if theirs is not None:
            check_scheduler(theirs, model.schedule)
        precision = Precision(compute_dtype(self.unet), compute_dtype(self.vae))
        device = torch.device(self._execution_device)
        runtime = ComponentRuntime(
            model.eval(), device, precision, owners=owners, scheduler=theirs, by_groups=self._by_groups
        )
        card = ModelCard.from_tree(tree, str(place))
        return DynamiCrafterPipeline(runtime, card, ModelFiles(place / DIFFUSERS_INDEX, place))


def _module(name: str, component: Any) -> nn.Module | None:
    """What our models are made of: a component itself, the network in it, or an adapter of it."""
    if component is None or name == "unet":
        found: nn.Module | None = component
        return found
    return autoencoder_of(component) if name == "vae" else component.network


def _node(config: Any, name: str) -> Component:
    found: Component = getattr(config, NODES[name])
    return found
