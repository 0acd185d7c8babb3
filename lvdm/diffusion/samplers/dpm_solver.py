"""DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) for x_t = alpha_t x_0 + sigma_t eps with any alpha_t and sigma_t.

Here alpha_t = sqrt(abar_t) s_t and sigma_t = sqrt(1 - abar_t), so dynamic rescale is part of the solver. With
lambda = log(alpha / sigma) and m the network's estimate of x_0, a step from s to t with h = lambda_t - lambda_s solves

    x_t = sigma_t / sigma_s x_s + sigma_t * integral of exp(lambda) m(lambda) d lambda

exactly for m constant (order 1) or, up to O(h^3), linear in lambda (order 2). At zero terminal SNR lambda is -inf at
the first node, and at the end, where sigma = 0, it is +inf: both steps take order 1, whose limit is finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.samplers.run import SamplingRun
from lvdm.diffusion.samplers.types import Inpainting, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Node:
    """A point of the trajectory: x = alpha x_0 + sigma eps."""

    alpha: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """lambda = log(alpha / sigma), half the logarithm of the SNR; infinite at both ends."""
        if self.alpha == 0.0:
            return -math.inf
        return math.inf if self.sigma == 0.0 else math.log(self.alpha / self.sigma)


def solver_nodes(schedule: NoiseSchedule, timesteps: Tensor) -> list[Node]:
    """The nodes of descending `timesteps` (S,), and the end: x_0 itself. Length S + 1."""
    t = timesteps.cpu()
    abar = schedule.alphas_cumprod.cpu().double()[t]
    alpha = abar.sqrt() * schedule.scale(t).cpu().double()
    sigma = (1.0 - abar).sqrt()
    return [Node(*pair) for pair in zip(alpha.tolist(), sigma.tolist(), strict=True)] + [Node(1.0, 0.0)]


def constant_update(x_s: Tensor, m: Tensor, start: Node, end: Node) -> Tensor:
    """The step from `start` to `end` with the x_0 estimate `m` held constant (DDIM with eta = 0)."""
    # exp(-h), written without the logarithms so that both infinite ends are plain zeros.
    decay = (start.alpha * end.sigma) / (start.sigma * end.alpha)
    return end.sigma / start.sigma * x_s + end.alpha * (1.0 - decay) * m


def multistep_update(x_s: Tensor, estimates: list[Tensor], nodes: list[Node], i: int) -> Tensor:
    """The step from nodes[i] to nodes[i + 1], order 2 where two finite intervals are known, else order 1.

    `estimates` holds the x_0 estimates at nodes[i - 1] (if there is one) and nodes[i], the newest last.
    """
    m = estimates[-1]
    if len(estimates) > 1:
        h = nodes[i + 1].log_snr - nodes[i].log_snr
        h_before = nodes[i].log_snr - nodes[i - 1].log_snr
        if math.isfinite(h) and math.isfinite(h_before):
            m = m + (m - estimates[-2]) * (h / (2.0 * h_before))
    return constant_update(x_s, m, nodes[i], nodes[i + 1])


def sample_dpm_solver(
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
    """Sample with DPM-Solver++(2M); the arguments are those of `types.Sampler`.

    It always ends at x_0, so `fix_final_step` changes nothing, and it adds no noise: eta must be 0.
    """
    require_deterministic("dpm++", eta)
    run = SamplingRun(denoiser, x_T, schedule, timesteps, inpaint, callback)
    nodes = solver_nodes(schedule, timesteps)
    x_t, estimates = x_T, list[Tensor]()
    for i in range(len(run.steps)):
        x_t = run.show_known(i, x_t)
        x_0, _ = run.predict(i, x_t)
        estimates = [*estimates[-1:], x_0]
        x_t = run.finish(i, multistep_update(x_t, estimates, nodes, i), x_0)
    return x_t


def require_deterministic(sampler: str, eta: float) -> None:
    """Raise `ValueError` unless eta is 0, for samplers that solve the noise-free equation."""
    if eta != 0.0:
        raise ValueError(f"the sampler {sampler!r} adds no noise, so eta must be 0, it is {eta}; 'ddim' takes any eta")


SAMPLER = "dpm++", sample_dpm_solver
"""Its name, as users give it; `SAMPLERS` finds it here."""
