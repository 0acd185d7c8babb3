"""What every sampler does around its own update: checks, the network call, inpainting, the callback."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.parameterization import predict_eps, predict_x0, unscale_x0
from lvdm.diffusion.samplers.types import Inpainting, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule


class SamplingRun:
    """One pass over `timesteps`. Tensors move to the latents' device here, once, so that no step waits for a copy."""

    def __init__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        schedule: NoiseSchedule,
        timesteps: Tensor,
        inpaint: Inpainting | None,
        callback: StepCallback | None,
    ) -> None:
        _check_timesteps(timesteps, schedule)
        self.steps: list[int] = timesteps.tolist()
        self.edited = False
        """Whether the callback replaced the latents of the last finished step."""
        self._denoiser = denoiser
        self._schedule = schedule.to(x_T.device)
        self._t = timesteps.to(x_T.device)[:, None].expand(-1, x_T.shape[0])  # (S, b)
        self._callback = callback
        self._inpaint = inpaint and Inpainting(inpaint.mask.to(x_T), inpaint.x_0.to(x_T), inpaint.noise.to(x_T))

    def show_known(self, i: int, x_t: Tensor) -> Tensor:
        """x_t with the known region of step i written into it; x_t itself without inpainting."""
        return x_t if self._inpaint is None else self._inpaint.apply(x_t, self._t[i], self._schedule)

    def predict(self, i: int, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """The network's estimates of x_0 (dynamic rescale undone) and of the noise in x_t, the latents at step i."""
        t = self._t[i]
        output = self._denoiser(x_t, t).to(x_t.dtype)
        x_0 = unscale_x0(predict_x0(output, x_t, t, self._schedule), t, self._schedule)
        return x_0, predict_eps(output, x_t, t, self._schedule)

    def finish(self, i: int, x_t: Tensor, pred_x0: Tensor) -> Tensor:
        """The latents after step i, once inpainting and the callback have had their say."""
        if self._inpaint is not None and i == len(self.steps) - 1:
            x_t = self._inpaint.finish(x_t)
        changed = None if self._callback is None else self._callback(i, self.steps[i], x_t, pred_x0)
        self.edited = changed is not None
        return x_t if changed is None else changed


def _check_timesteps(timesteps: Tensor, schedule: NoiseSchedule) -> None:
    steps = timesteps.tolist()
    last = schedule.num_train_timesteps - 1
    descending = all(before > after for before, after in pairwise(steps))
    if not steps or not descending or steps[0] > last or steps[-1] < 0:
        raise ValueError(f"timesteps must be strictly descending within [0, {last}], they are {steps}")
    if schedule.parameterization == "eps" and float(schedule.alphas_cumprod[steps[0]]) <= 0.0:
        raise ValueError(
            f"a noise-predicting model cannot start at t = {steps[0]}, where the SNR is zero; "
            "use the spacing 'uniform', or a model that predicts v"
        )
