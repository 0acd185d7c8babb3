"""What a checkpoint and a model do not have in common, grouped so that people can read it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from lvdm.checkpoint.families import FIRST_LAYER, family_of, has_camera_adapter, videocrafter_model
from lvdm.checkpoint.parts import PARTS, Part, part_of
from lvdm.checkpoint.reading import CheckpointFile
from lvdm.model_card import CARDS

Shape = tuple[int, ...]

MAX_LISTED = 3
"""Keys named for each kind of difference in each component."""

ALPHA = ".attn2.alpha"
CONFIG_256, CONFIG_512, CONFIG_1024 = (f"configs/{CARDS.sources[name]}" for name in ("256", "512", "1024"))


@dataclass(frozen=True)
class StateDictDifference:
    """Keys of the model that the file lacks, keys that only the file has, and shapes that differ (file, model)."""

    model: Mapping[str, Shape]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: Mapping[str, tuple[Shape, Shape]]

    @classmethod
    def between(cls, model: Mapping[str, Shape], file: Mapping[str, Shape]) -> StateDictDifference:
        """Compare the keys and shapes of a model with those of a file."""
        return cls(
            model,
            tuple(key for key in model if key not in file),
            tuple(key for key in file if key not in model),
            {key: (file[key], model[key]) for key in model if key in file and file[key] != model[key]},
        )

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def without_missing(self, keys: Collection[str]) -> StateDictDifference:
        """The same without the missing keys among `keys`, which something else supplies."""
        return replace(self, missing=tuple(key for key in self.missing if key not in keys))

    def lacks_all_of(self, part: Part) -> bool:
        """Whether the model has `part` and the file nothing of it."""
        keys = [key for key in self.model if part_of(key) == part]
        present = any(part_of(key) == part for key in self.unexpected)
        return bool(keys) and set(keys) <= set(self.missing) and not present

    def describe(self, checkpoint: CheckpointFile) -> str:
        """One line on what it means, then one for each component and kind of difference."""
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", tuple(self.misshapen)),
        )
        lines = []
        for part in PARTS:
            for kind, all_keys in kinds:
                keys = [key for key in all_keys if part_of(key) == part]
                if keys:
                    shown = ", ".join(self._show(key, part) for key in keys[:MAX_LISTED])
                    more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
                    lines.append(f"  {part.name} ({part.prefix or 'no prefix'}): {len(keys)} {kind}: {shown}{more}")
        return "\n".join([f"{checkpoint.path} does not fit the model: {self._hint(checkpoint)}", *lines])

    def _is_incomplete(self) -> bool:
        """Whether the file differs by what it lacks alone."""
        return not self.unexpected and not self.misshapen

    def _show(self, key: str, part: Part) -> str:
        name = key.removeprefix(part.prefix)
        if key not in self.misshapen:
            return name
        file, model = self.misshapen[key]
        return f"{name} {_shape(file)} in the file, {_shape(model)} in the model"

    def _hint(self, checkpoint: CheckpointFile) -> str:
        """What the difference most likely means. Evidence: the released files differ in alpha and scale_arr alone."""
        first = checkpoint.shape(FIRST_LAYER) if FIRST_LAYER in checkpoint else None
        if first is None:
            return "it holds no UNet under model.diffusion_model; use a checkpoint of the whole model"
        name = videocrafter_model(checkpoint)
        if name is not None and not self._is_incomplete():
            return f"it is a VideoCrafter checkpoint ({name}); use configs/{CARDS.sources[name]}"
        if has_camera_adapter(checkpoint):
            return "it holds a camera adapter (CamI2V, CameraCtrl or MotionCtrl), which is not implemented"
        if family_of(checkpoint) == "makeyourvideo" and not self._is_incomplete():
            return f"it is a Make-Your-Video checkpoint; use configs/{CARDS.sources['myv']}"
        if family_of(checkpoint) == "tooncrafter" and not self._is_incomplete():
            return f"it is a ToonCrafter checkpoint (it has attn_refinement); use configs/{CARDS.sources['toon']}"
        if first[1] == 4 and self.model.get(FIRST_LAYER, first)[1] == 8:
            return "its UNet takes no image latents (a VideoCrafter checkpoint); use one of DynamiCrafter"
        if first[1] == 8 and self.model.get(FIRST_LAYER, first)[1] == 4:
            return "its UNet takes image latents (a DynamiCrafter checkpoint); use a configuration of DynamiCrafter"
        if FIRST_LAYER in self.misshapen:
            width = self.misshapen[FIRST_LAYER]
            return (
                f"another family (its UNet starts with {width[0][0]} channels, the model's with {width[1][0]}); "
                "use the configuration that belongs to it"
            )
        if any(key.endswith(ALPHA) for key in self.unexpected):
            return f"it is a 256 checkpoint (it has attn2.alpha); use {CONFIG_256}"
        if any(key.endswith(ALPHA) for key in self.missing):
            config = {0.7: CONFIG_512, 0.3: CONFIG_1024}.get(
                base_scale(checkpoint) or 0.0, f"{CONFIG_512} or {CONFIG_1024}"
            )
            return f"it is not a 256 checkpoint (it has no attn2.alpha); use {config}"
        if self.unexpected == ("scale_arr",):
            return "it was trained with a dynamic rescale; use a configuration with use_dynamic_rescale: true"
        if self._is_incomplete():
            return "it is incomplete; use the whole checkpoint"
        if any(re.search(r"lora_|\.lora", key) for key in self.unexpected):
            return "it holds LoRA weights; merge them, or load them beside a whole checkpoint"
        return "use the configuration that belongs to it"


def base_scale(checkpoint: CheckpointFile) -> float | None:
    """The last value of the file's dynamic rescale, rounded to 3 digits: 0.7 for 512, 0.3 for 1024; None without it."""
    if "scale_arr" not in checkpoint:
        return None
    return round(float(checkpoint["scale_arr"][-1]), 3 if checkpoint.dtype("scale_arr").itemsize > 2 else 2)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
