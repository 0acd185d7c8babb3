"""FIFO-Diffusion (arXiv 2405.11473): videos of any length, with the weights as they are and the memory of a short one.

Frames stand in a queue, one for each step of the sampling: the one at its head is nearly clean, the one at its tail
is noise. All take their step at the same time; then the one at the head leaves as a finished frame, and noise joins at
the tail. The network sees `window` frames at once, each at its own time step. Windows overlap by half, and only the
noisier half of each is kept (lookahead denoising): every frame is denoised with cleaner ones before it.

Before frame 0 stands a still image, as noisy as each place of the queue asks for, in the place of the video that the
paper begins with: the queue fills from its tail, and every frame of the video takes every step once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.parameterization import predict_eps, predict_x0, q_sample, scale_x0, unscale_x0
from lvdm.diffusion.samplers.ddim import ddim_steps
from lvdm.diffusion.schedule import NoiseSchedule

FrameNoise = Callable[[int], Tensor]
"""The noise (b, c, h, w) that the frame of a number begins with; frames before the video have negative numbers."""
FrameStepNoise = Callable[[int, int], Tensor]
"""The noise (b, c, h, w) that a frame gets in a step, both by number."""


@dataclass(frozen=True)
class FIFO:
    """The method.

    window     frames that the network sees at once, as many as it was trained on; at least 2
    lookahead  keep the noisier half of each window only; otherwise windows lie side by side, at half the cost
    """

    window: int = 16
    lookahead: bool = True

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"a window of {self.window} frames is not possible; use 2 or more")

    @property
    def kept(self) -> int:
        """Frames of a window that take their step in it."""
        return self.window - self.window // 2 if self.lookahead else self.window

    def blocks(self, length: int) -> list[tuple[int, int]]:
        """Places (begin, end) of a queue of `length` that take their step together, the noisiest first.

        The window of a block is the `window` places before its end. The block at the tail may be shorter.
        """
        return [(begin, min(begin + self.kept, length)) for begin in range(0, length, self.kept)][::-1]

    def stream(
        self,
        denoiser: Denoiser,
        still: Tensor,
        frame_noise: FrameNoise,
        schedule: NoiseSchedule,
        timesteps: Tensor,
        num_frames: int,
        *,
        eta: float = 0.0,
        step_noise: FrameStepNoise | None = None,
        fix_final_step: bool = False,
        on_iteration: Callable[[int], None] | None = None,
    ) -> Iterator[Tensor]:
        """Finished latents (b, c, h, w), one frame after the other, each as soon as it has taken its last step.

        denoiser      (x_t (b, c, window, h, w), t (b, window)) -> output, for windows that begin with any frame
        still         (b, c, h, w) float32, the latents of the image before frame 0
        timesteps     (S,) descending: the steps of the sampling; there are as many places
        on_iteration  called with the number of each iteration from 0; frame k leaves in iteration k + S - 1

        eta, step_noise and fix_final_step are those of `lvdm.diffusion.samplers.types.Sampler`.
        """
        schedule, total = schedule.to(still.device), len(timesteps)
        queue = Queue(self, still, frame_noise, schedule, timesteps.to(still.device))
        steps = ddim_steps(schedule, timesteps, eta, fix_final_step, still.dtype)[::-1]  # of each place, the head first
        columns = ((s.abar_prev**0.5 * s.scale_prev, s.direction, s.sigma) for s in steps)
        signal, direction, sigma = (still.new_tensor(column)[:, None, None] for column in zip(*columns, strict=True))
        for iteration in range(num_frames + total - 1):
            queue.join(iteration)
            newest = queue.frame_at(total - 1)
            for begin, end in self.blocks(total):
                first, last = newest - (total - 1 - begin), newest - (total - end)
                if last < 0 or first >= num_frames - 1 + self.kept:
                    continue  # nothing but the still, or frames that no frame of the video will ever see
                x, t = queue.window(end)
                x_0, eps = _predict(denoiser, x, t, schedule, end - begin)
                x_t = signal[begin:end] * x_0 + direction[begin:end] * eps
                if step_noise is not None and bool((sigma[begin:end] > 0).any()):
                    noise = [step_noise(newest - (total - 1 - place), total - 1 - place) for place in range(begin, end)]
                    x_t = x_t + sigma[begin:end] * torch.stack(noise, dim=2).to(x_t)
                queue.put(begin, x_t)
            finished = queue.leave()
            if on_iteration is not None:
                on_iteration(iteration)
            if iteration >= total - 1:
                yield finished


class Queue:
    """The frames that are being denoised, the cleanest first, behind those that were finished last."""

    def __init__(
        self, method: FIFO, still: Tensor, frame_noise: FrameNoise, schedule: NoiseSchedule, timesteps: Tensor
    ) -> None:
        self._window, self._context = method.window, method.window - 1
        self._still, self._noise, self._schedule = still, frame_noise, schedule
        self._t = torch.cat(
            [timesteps.new_zeros(self._context), timesteps.flip(0)]
        )  # finished frames are shown as clean
        self._newest = -1
        self._frames = [still] * len(self._t)
        self._next: dict[int, Tensor] = {}

    def frame_at(self, place: int) -> int:
        """The number of the frame at a place; those at negative places are finished."""
        return self._newest - (len(self._t) - self._context - 1 - place)

    def join(self, number: int) -> None:
        """Put the noise of frame `number` at the tail, and the still where the video has not begun."""
        self._newest = number
        for place in range(-self._context, len(self._t) - self._context):
            if self.frame_at(place) < 0:
                self._frames[place + self._context] = self._at_place(place, self.frame_at(place))
        self._frames[-1] = self._noise(number).to(self._still)

    def window(self, end: int) -> tuple[Tensor, Tensor]:
        """Latents (b, c, window, h, w) of the places before `end`, and their time steps (b, window)."""
        last = end + self._context
        x = torch.stack(self._frames[last - self._window : last], dim=2)
        return x, self._t[last - self._window : last].expand(x.shape[0], -1)

    def put(self, begin: int, x_t: Tensor) -> None:
        """Latents (b, c, n, h, w) of the places from `begin` after their step; windows see them after `leave` only."""
        self._next |= dict(enumerate(x_t.unbind(2), begin + self._context))

    def leave(self) -> Tensor:
        """All move on by one place; gives the frame (b, c, h, w) that has left the head."""
        for place, frame in self._next.items():
            self._frames[place] = frame
        self._next.clear()
        self._frames = [*self._frames[1:], self._frames[-1]]
        return self._frames[self._context - 1]

    def _at_place(self, place: int, number: int) -> Tensor:
        """The still as noisy as it is at a place."""
        if place < 0:
            return self._still
        t = self._t[place + self._context].expand(self._still.shape[0])
        return q_sample(
            scale_x0(self._still, t, self._schedule), self._noise(number).to(self._still), t, self._schedule
        )


def _predict(denoiser: Denoiser, x: Tensor, t: Tensor, schedule: NoiseSchedule, count: int) -> tuple[Tensor, Tensor]:
    """The network's estimates of x_0 (dynamic rescale undone) and of the noise, of the last `count` frames."""
    output = denoiser(x, t).to(x.dtype)[:, :, -count:]
    x, t = x[:, :, -count:], t[:, -count:]
    x_0 = unscale_x0(predict_x0(output, x, t, schedule), t, schedule)
    return x_0, predict_eps(output, x, t, schedule)
