"""What a method may read of the settings of a generation; `lvdm.request.settings` adds what they are checked for."""

from __future__ import annotations

from typing import Annotated, Literal

from lvdm.declaration.parameter import Parameter, declared
from lvdm.declaration.parameters import SamplingParameters, SizeParameters
from lvdm.declaration.run_parameters import MemoryParameters
from lvdm.plugins.all_parameters import MethodParameters

Mode = Literal["animate", "interpolate", "loop", "keyframes", "text-to-video"]


@declared
class MethodSettings(SizeParameters, SamplingParameters, MethodParameters, MemoryParameters):
    """Every setting of a generation, without the checks between them.

    mode  animate (one image), interpolate (first and last image), loop (the image at both ends), keyframes (images at
          any frames) or text-to-video (no image)
    """

    mode: Annotated[Mode, Parameter("What is made of what.", "Input", flag="")] = "animate"

    def steps_before(self, share: float) -> int:
        """How many of the first steps a share of them, 0 to 1, stands for; as `lvdm.plugins.hooks.StepClock` counts."""
        return round(share * self.num_inference_steps)

    @property
    def num_branches(self) -> int:
        """How often guidance evaluates the network for each step: once, twice, or three times with image guidance."""
        if self.guidance_scale == 1 and self.image_guidance_scale in (None, 1):
            return 1
        return 2 if self.image_guidance_scale in (None, self.guidance_scale) else 3
