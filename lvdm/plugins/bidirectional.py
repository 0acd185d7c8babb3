"""Between images with a model that animates one: there from the first, and back from the last with time reversed.

Two ways to join the two views of the same noisy video (both leave the network as it is, with its own guidance):

trf    time reversal fusion (arXiv 2403.14611): each step takes both estimates and blends them, from the first image's
       at frame 0 to the last one's at the last frame. `repeats` takes the first steps several times, with new noise
       between (the paper's noise re-injection).
vibid  ViBiDSampler (arXiv 2410.05651, algorithm 1): each step is taken there, noised again, and taken back. Neither
       estimate is off the other's path, as a blend is. Its CFG++ and DDS guidance are not here.

Noise is added again so that latents at step s are those of step t, dynamic rescale included:

    x_t = a x_s + b eps,    a = sqrt(abar_t) s_t / (sqrt(abar_s) s_s),    b^2 = (1 - abar_t) - a^2 (1 - abar_s)

Under zero terminal SNR a is 0 at the first step, and what was done before it is lost: there one pass is taken, not two.

More than two images cut the video into stretches, each of which is a clip of its own for the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.deprecation import renamed_names
from lvdm.diffusion.guidance import Branches, Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.samplers.ddim import DDIMStep, ddim_steps
from lvdm.diffusion.samplers.run import SamplingRun
from lvdm.diffusion.samplers.types import Inpainting, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.methods.between import Between, takes_steps_once


@dataclass(frozen=True, eq=False)
class Pass:
    """One stretch of frames, `begin` to `end` (both part of it), as a clip that begins with one of its images.

    backwards   the image is that of `end`, and the network sees the stretch in reversed time
    conditions  those of the clip, in the order of the conditions of the whole video
    alone       nothing is seen from the other end: there is no image
    """

    begin: int
    end: int
    backwards: bool
    conditions: Sequence[Conditioning]
    alone: bool = False

    def view(self, branches: Branches, x_t: Tensor, t: Tensor) -> list[Tensor]:
        """The outputs for the stretch of x_t (b, c, t, h, w), in the order of its own frames."""
        part = x_t[:, :, self.begin : self.end + 1]
        outputs = branches(part.flip(2) if self.backwards else part, t)
        return [output.flip(2) for output in outputs] if self.backwards else list(outputs)

    def weights(self) -> Tensor:
        """Its share in the blend of both ways, (n, 1, 1): 1 at its own image, falling to 0 at the other one."""
        falling = torch.linspace(1, 1 if self.alone else 0, self.end - self.begin + 1)
        return (falling.flip(0) if self.backwards else falling)[:, None, None]


@dataclass
class Views:
    """Which way the network looks at the video; the sampler turns it."""

    now: str = "both"


def look(passes: Sequence[Pass], branches: Sequence[Branches], view: str, x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    """The network's outputs for the whole video (b, c, t, h, w) from its stretches, in one view.

    forward, backward  every frame from the image before it, or after it; a frame with an image from its own, and frames
                       with none on that side from the other
    both               the blend of the two, see `Pass.weights`
    """
    outputs: list[Tensor] = []
    total = torch.zeros(x_t.shape[2], 1, 1, device=x_t.device)
    for stretch, own in zip(passes, branches, strict=True):
        weights = stretch.weights() if view == "both" else _chosen(passes, stretch, view)
        if not weights.any():
            continue
        weights = weights.to(x_t.device)
        total[stretch.begin : stretch.end + 1] += weights
        for number, output in enumerate(stretch.view(own, x_t, t)):
            if number == len(outputs):
                outputs.append(torch.zeros(x_t.shape, dtype=torch.float32, device=x_t.device))
            outputs[number][:, :, stretch.begin : stretch.end + 1] += weights * output.float()
    return tuple(output / total for output in outputs)


def _chosen(passes: Sequence[Pass], stretch: Pass, view: str) -> Tensor:
    """1 (n, 1, 1) for the frames that the view takes from `stretch`."""
    backwards = view == "backward"
    chosen = torch.zeros(stretch.end - stretch.begin + 1, 1, 1)
    for i in range(len(chosen)):
        frame = stretch.begin + i
        around = [other for other in passes if other.begin <= frame <= other.end]
        same = [other for other in around if other.backwards == backwards] or around
        # of two stretches that meet at an image, the one that begins with it in its own time
        own = min(same, key=lambda other: abs(frame - (other.end if other.backwards else other.begin)))
        chosen[i] = own is stretch
    return chosen


def make_passes(
    frames: Sequence[int], num_frames: int, conditions: Callable[[int, int, bool], Sequence[Conditioning]]
) -> list[Pass]:
    """The stretches between the `frames` that have images, frame 0 among them: each both ways, the rest forward.

    conditions  (number of the image, length of the clip, whether time is reversed) -> those of the clip
    """
    passes = []
    for number, (begin, end) in enumerate(pairwise(frames)):
        length = end - begin + 1
        passes.append(Pass(begin, end, False, conditions(number, length, False)))
        passes.append(Pass(begin, end, True, conditions(number + 1, length, True)))
    if frames[-1] < num_frames - 1:
        rest = conditions(len(frames) - 1, num_frames - frames[-1], False)
        passes.append(Pass(frames[-1], num_frames - 1, False, rest, alone=True))
    return passes


@dataclass(frozen=True, eq=False)
class Bidirectional:
    """The method as a plug-in.

    method   how the two ways are joined
    passes   see `make_passes`
    whole    the conditions of the whole video, in the place of which those of the passes are used
    """

    method: Between
    passes: Sequence[Pass]
    whole: Sequence[Conditioning]

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Show the network the stretches instead of the video, one way or both; see `Plugin`."""
        views = Views()

        def make(conditions: Sequence[Conditioning]) -> Branches:
            # other methods may ask for some of the conditions only
            numbers = [[own is condition for own in self.whole].index(True) for condition in conditions]
            branches = [hooks.branches([stretch.conditions[number] for number in numbers]) for stretch in self.passes]
            return lambda x_t, t: look(self.passes, branches, views.now, x_t, t)

        sampler = hooks.sampler
        if not takes_steps_once(self.method):
            sampler = partial(sample_in_passes, self.method, views)
        return replace(hooks, branches=make, sampler=sampler)


def noise_again(step: DDIMStep, t: int, schedule: NoiseSchedule) -> tuple[float, float]:
    """What multiplies the latents that `step` arrives at and fresh noise, so that they are latents at time step `t`."""
    abar = float(schedule.alphas_cumprod[t].double())
    arrived = math.sqrt(step.abar_prev) * step.scale_prev
    kept = math.sqrt(abar) * float(schedule.scale(torch.tensor([t]))) / arrived
    return kept, math.sqrt(max(1.0 - abar - kept**2 * (1.0 - step.abar_prev), 0.0))


def sample_in_passes(
    method: Between,
    views: Views,
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    eta: float = 0.0,
    step_noise: StepNoise | None = None,
    fix_final_step: bool = False,
    inpaint: Inpainting | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """DDIM whose steps are taken in the passes of `method`, with noise added again between two passes.

    The arguments after `views`, which is turned for each pass, are those of `lvdm.diffusion.samplers.types.Sampler`.
    """
    if step_noise is None:
        raise ValueError("between adds noise again in every step: pass step_noise")
    run, cpu = SamplingRun(denoiser, x_T, schedule, timesteps, inpaint, callback), schedule.to("cpu")
    x_t, total = x_T, len(timesteps)
    for i, step in enumerate(ddim_steps(schedule, timesteps, eta, fix_final_step, x_T.dtype)):
        kept, fresh = noise_again(step, run.steps[i], cpu)
        chosen = method.views(i, total) if kept > 0 else method.views(i, total)[-1:]
        for number, view in enumerate(chosen):
            # the last pass has the noise of a plain step; streams beyond the number of steps are used by none of those
            last = number == len(chosen) - 1
            stream = i if last else total * (2 * number + 1) + i
            views.now = view
            x_t = run.show_known(i, x_t)
            x_0, eps = run.predict(i, x_t)
            x_t = math.sqrt(step.abar_prev) * step.scale_prev * x_0 + step.direction * eps
            if step.sigma > 0.0:
                x_t = x_t + step.sigma * step_noise(stream, tuple(x_t.shape)).to(x_t)
            if not last:
                x_t = kept * x_t + fresh * step_noise(total * (2 * number + 2) + i, tuple(x_t.shape)).to(x_t)
        x_t = run.finish(i, x_t, x_0)
    return x_t


__getattr__ = renamed_names(__name__, {"Leg": "Pass", "make_legs": "make_passes"})
