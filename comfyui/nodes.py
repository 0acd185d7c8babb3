"""The nodes: a model, a LoRA on it, one for each mode, and one that saves a video with its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from lvdm.declaration.parameter import known_name
from lvdm.declaration.run_parameters import OutputParameters
from lvdm.hosting.words import in_words_of_guests
from lvdm.jobs.extend import plan_extension
from lvdm.jobs.in_memory import HeldVideo, hold_extension, hold_video
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.memory import plan_for
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.outputs import suffix_of
from lvdm.jobs.plan import plan_videos
from lvdm.jobs.preview import fit_colors
from lvdm.media.ownership import frame_name, names_frames
from lvdm.pipeline import DynamiCrafterPipeline

from . import host, inputs, stored_images

CATEGORY = "DynamiCrafter"
MODEL, VIDEO = "DYNAMICRAFTER_MODEL", "DYNAMICRAFTER_VIDEO"
TITLES = {
    "animate": "Animate",
    "interpolate": "Interpolate",
    "loop": "Loop",
    "keyframes": "Key Frames",
    "text-to-video": "Text to Video",
    "structure": "Structure",
    "extend": "Extend",
}
"""The node of each mode, by its name on the canvas."""
READ_FPS = 8.0
"""Of the file that keeps a driving or guide video, whose speed means nothing."""


@dataclass(frozen=True, eq=False)
class NodeModel:
    """What the node that loads a model gives: the parameters that name it, and the pipeline once it is loaded."""

    values: Mapping[str, Any]
    files: Mapping[str, Path]
    loaded: LoadedModel = field(default_factory=LoadedModel)


class LoadModel:
    """A model and how it computes. Its weights are read when the first video is made."""

    CATEGORY, FUNCTION = CATEGORY, "choose"
    RETURN_TYPES, RETURN_NAMES = (MODEL,), ("model",)
    DESCRIPTION = "A DynamiCrafter model: released ones that are here, and folders in models/dynamicrafter."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, inputs.Inputs]:  # noqa: N802
        """See ComfyUI."""
        library = host.library()
        models = (list(library.models), {"tooltip": "Folders with config.yaml and weights, or released models."})
        return {"required": {"model": models}, "optional": inputs.inputs_for(inputs.OF_THE_MODEL, list(library.files))}

    def choose(self, model: str, **values: Any) -> tuple[NodeModel]:
        """The model of this name. Raises `ValueError`."""
        library = host.library()
        named = library.models[known_name(model, library.models, "model")].values
        return (NodeModel(named | inputs.parameter_values(values, library.files), library.files),)


class AddLora:
    """A LoRA on top of a model and of those before it."""

    CATEGORY, FUNCTION = CATEGORY, "add"
    RETURN_TYPES, RETURN_NAMES = (MODEL,), ("model",)
    DESCRIPTION = "Adds a LoRA to the weights of a DynamiCrafter model."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, inputs.Inputs]:  # noqa: N802
        """See ComfyUI."""
        strength = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}
        return {"required": {"model": (MODEL,), "lora": (host.lora_files(),), "strength": ("FLOAT", strength)}}

    def add(self, model: NodeModel, lora: str, strength: float) -> tuple[NodeModel]:
        """The model with the LoRA."""
        loras = [*model.values.get("loras", ()), (host.lora_path(lora), float(strength))]
        return (replace(model, values={**model.values, "loras": loras}),)


class Generate:
    """Makes a video; a node of each mode is a class below this one."""

    CATEGORY, FUNCTION, mode = CATEGORY, "generate", ""
    RETURN_TYPES: ClassVar = ("IMAGE", "FLOAT", VIDEO, "STRING", "LATENT")
    RETURN_NAMES: ClassVar = ("images", "fps", "video", "report", "latents")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, inputs.Inputs]:  # noqa: N802
        """See ComfyUI."""
        found = inputs.inputs_of(cls.mode, list(host.library().files))
        return {"required": {"model": (MODEL,), **found["required"]}, "optional": found["optional"]}

    def generate(self, model: NodeModel, **values: Any) -> tuple[Any, ...]:
        """Frames, their speed, the video to save, what was measured of it, and latents. Raises `ValueError`."""
        bar = host.Bar()
        with torch.inference_mode(False):  # what is loaded here is used outside of ComfyUI's block as well
            try:
                given = {**inputs.parameter_values(_as_files(values), model.files), **model.values}
                held = (_extended if self.mode == "extend" else _generated)(self.mode, given, model.loaded, bar)
            except ValueError as error:
                raise ValueError(in_words_of_guests(str(error), host.library().models)) from error
            frames, latents = held.frames(), held.latents()
        return frames, held.fps, held, held.report, _no_latents() if latents is None else {"samples": latents}


class Save:
    """Writes a video with its record into ComfyUI's output folder, and shows it."""

    CATEGORY, FUNCTION, OUTPUT_NODE = CATEGORY, "save", True
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("path",)
    DESCRIPTION = "Saves a video, and a JSON file beside it from which dynamicrafter animate --replay makes it again."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, inputs.Inputs]:  # noqa: N802
        """See ComfyUI."""
        prefix = {"default": "dynamicrafter", "tooltip": "Beginning of the name, with a folder if wanted: shots/sea."}
        required = {"video": (VIDEO,), "filename_prefix": ("STRING", prefix)}
        return {"required": required, "optional": inputs.inputs_for(inputs.OF_THE_FILE, ())}

    def save(self, video: HeldVideo, filename_prefix: str, **values: Any) -> dict[str, Any]:
        """The path of the file. Raises `ValueError`."""
        output = OutputParameters(**inputs.parameter_values(values, {}))
        height, width = video.frames().shape[1:3]
        path, subfolder = host.output_place(filename_prefix, width, height, suffix_of(output))
        video.save(path, output.playback_fps)
        shown = frame_name(path.name, 0) if names_frames(path) else path.name
        seen = {"filename": shown, "subfolder": subfolder, "type": "output"}
        return {"ui": {"images": [seen], "animated": (not names_frames(path),)}, "result": (str(path),)}


def _as_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with images, masks and videos as files in ComfyUI's input folder. Raises `ValueError`."""
    found, folder = dict(values), host.input_folder()
    numbers, fps = str(found.pop(inputs.KEYFRAME_NUMBERS, "")).replace(",", " ").split(), found.pop(inputs.VIDEO_FPS, 0)
    for name in found.keys() & {"image", "end_image"}:
        found[name] = stored_images.store_image(found[name], folder, name)
    if "keep_mask" in found:
        found["keep_mask"] = stored_images.store_mask(found["keep_mask"], folder, "keep_mask")
    if "depth" in found:
        found["depth"] = stored_images.store_depth(found["depth"], folder)
    for name in found.keys() & {"guide_video", "driving_video", "video"}:
        found[name] = stored_images.store_video(found[name], float(fps) if name == "video" else READ_FPS, folder, name)
    if "keyframes" in found:
        files = stored_images.store_images(found["keyframes"], folder)
        if len(numbers) != len(files) or not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{inputs.KEYFRAME_NUMBERS} should be {len(files)} numbers, one for each key image")
        found["keyframes"] = [(int(number), file) for number, file in zip(numbers, files, strict=True)]
    return found


def _generated(mode: str, parameters: dict[str, Any], loaded: LoadedModel, bar: host.Bar) -> HeldVideo:
    plan = plan_videos(mode, output=host.temporary_folder() / "dynamicrafter.mp4", **parameters)

    def load(model: ChosenModel) -> DynamiCrafterPipeline:
        host.make_room(plan_for(model, plan.videos[0].request).total, model.device)
        pipeline = loaded.load(model)
        if host.shows_previews():
            bar.show_colors(fit_colors(pipeline))
        bar.check()
        return pipeline

    return hold_video(plan, bar.progress, load, bar.on_step)


def _extended(mode: str, parameters: dict[str, Any], loaded: LoadedModel, bar: host.Bar) -> HeldVideo:
    video = parameters.pop("video")
    plan = plan_extension(video, output=host.temporary_folder() / "dynamicrafter.mp4", **parameters)
    host.make_room(torch.inf, plan.model.device)
    return hold_extension(plan, bar.progress, loaded.load)


def _no_latents() -> Any:
    """What stops a node that takes latents where there are none, and says why."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker("this video has no latents of its own: it was made in segments, or frame by frame")


GENERATING = {
    f"DynamiCrafter{title.title().replace(' ', '')}": type(title.title().replace(" ", ""), (Generate,), {"mode": mode})
    for mode, title in TITLES.items()
}
NODE_CLASS_MAPPINGS = {
    "DynamiCrafterLoadModel": LoadModel,
    "DynamiCrafterLora": AddLora,
    **GENERATING,
    "DynamiCrafterSave": Save,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "DynamiCrafterLoadModel": "DynamiCrafter: Load Model",
    "DynamiCrafterLora": "DynamiCrafter: Add LoRA",
    **{name: f"DynamiCrafter: {title}" for name, title in zip(GENERATING, TITLES.values(), strict=True)},
    "DynamiCrafterSave": "DynamiCrafter: Save Video",
}
