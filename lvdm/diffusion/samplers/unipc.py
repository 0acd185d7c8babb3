"""UniPC (arXiv 2302.04867): the DPM-Solver++(2M) step as predictor, and a corrector that costs no further network call.

The network's estimate at the node just reached, needed for the next step anyway, also completes the interpolation of m
over the step that led there (UniC, algorithm 1). With B(h) = e^-h - 1 and data prediction the predictor is that of 2M.
"""

from __future__ import annotations

import math

from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.samplers.dpm_solver import (
    Node,
    constant_update,
    multistep_update,
    require_deterministic,
    solver_nodes,
)
from lvdm.diffusion.samplers.run import SamplingRun
from lvdm.diffusion.samplers.types import Inpainting, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule


def correct(x_s: Tensor, estimates: list[Tensor], nodes: list[Node], i: int) -> Tensor:
    """The latents at nodes[i], stepped anew from `x_s` at nodes[i - 1] with the estimate at nodes[i] known.

    `estimates` holds the x_0 estimates up to nodes[i], the newest last: two make m linear in lambda over the step,
    three make it quadratic. The weights are the exact integrals over the step, so they stay finite as h grows infinite.
    """
    start, end = nodes[i - 1], nodes[i]
    h = end.log_snr - start.log_snr
    # int_0^h e^(l - h) (l / h) dl and int_0^h e^(l - h) (l / h)^2 dl, the moments of the step's weight.
    first = 1.0 + math.expm1(-h) / h
    second = 1.0 - 2.0 * first / h
    m_s, m_t = estimates[-2], estimates[-1]
    correction = first * (m_t - m_s)
    h_before = start.log_snr - nodes[i - 2].log_snr if len(estimates) > 2 else math.inf
    if math.isfinite(h) and math.isfinite(h_before):
        # Newton's form: the quadratic term vanishes at both ends of the step.
        r = h_before / h
        slope_change = ((m_t - m_s) - (m_s - estimates[-3]) / r) / (1.0 + r)
        correction = correction + (second - first) * slope_change
    return constant_update(x_s, m_s, start, end) + end.alpha * correction


def sample_unipc(
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
    """Sample with UniPC of order 2; the arguments are those of `types.Sampler`.

    It always ends at x_0, so `fix_final_step` changes nothing, and it adds no noise: eta must be 0. Latents that the
    callback changed are not corrected, which would undo the change.
    """
    require_deterministic("unipc", eta)
    run = SamplingRun(denoiser, x_T, schedule, timesteps, inpaint, callback)
    nodes = solver_nodes(schedule, timesteps)
    x_t, estimates = x_T, list[Tensor]()
    x_before = x_T
    for i in range(len(run.steps)):
        x_t = run.show_known(i, x_t)
        x_0, _ = run.predict(i, x_t)
        estimates = [*estimates[-2:], x_0]
        if i > 0 and not run.edited:
            x_t = run.show_known(i, correct(x_before, estimates, nodes, i))
        x_before = x_t
        x_t = run.finish(i, multistep_update(x_t, estimates[-2:], nodes, i), x_0)
    return x_t


SAMPLER = "unipc", sample_unipc
"""Its name, as users give it; `SAMPLERS` finds it here."""
