"""DPM-Solver++(2M) and UniPC on problems with known solutions."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import SCHEDULES, gaussian, gaussian_flow, normal, oracle
from torch import Tensor

from lvdm.diffusion.samplers import SAMPLERS
from lvdm.diffusion.samplers.dpm_solver import Node, constant_update, multistep_update, solver_nodes
from lvdm.diffusion.samplers.unipc import correct
from lvdm.diffusion.timesteps import make_timesteps

SOLVERS = ["dpm++", "unipc"]
MEAN, STD = 0.4, 0.3


@pytest.mark.parametrize("sampler", SOLVERS)
@pytest.mark.parametrize("model", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 15])
def test_an_oracle_returns_x_0(sampler: str, model: str, num_steps: int) -> None:
    schedule, x_0 = SCHEDULES[model], normal(1).double()
    spacing = "uniform" if model == "256" else "uniform_trailing"
    y = SAMPLERS[sampler](oracle(x_0, schedule), normal(2).double(), schedule, make_timesteps(spacing, num_steps))
    torch.testing.assert_close(y, x_0, rtol=0, atol=1e-9, msg="the oracle's x_0 is not returned")


def error_at_last_node(sampler: str, model: str, timesteps: Tensor) -> float:
    """Distance from the exact trajectory on arriving at timesteps[-1], over a stretch of the path."""
    schedule, start, end = SCHEDULES[model], int(timesteps[0]), int(timesteps[-1])
    x_s = normal(3, (1, 1, 1, 8, 8)).double()
    arrived: list[Tensor] = []

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        return gaussian(MEAN, STD, schedule)(x_t, t)

    SAMPLERS[sampler](denoiser, x_s, schedule, timesteps, callback=lambda i, t, x_t, x_0: arrived.append(x_t))
    exact = gaussian_flow(x_s, start, end, MEAN, STD, schedule)
    return (arrived[-2] - exact).abs().max().item()


@pytest.mark.parametrize("model", SCHEDULES)
def test_order_of_convergence(model: str) -> None:
    """Halving the step halves DDIM's error and at least quarters that of a method of order 2."""
    halvings = [torch.arange(960, 479, -480 // n) for n in (12, 24, 48)]
    orders, finest = {}, {}
    for sampler in SAMPLERS:
        errors = [error_at_last_node(sampler, model, timesteps) for timesteps in halvings]
        orders[sampler] = math.log2(errors[0] / errors[2]) / 2.0
        finest[sampler] = errors[2]
    assert 0.8 < orders["ddim"] < 1.2, f"DDIM is of order 1, measured {orders}"
    assert orders["dpm++"] > 1.7, f"DPM-Solver++(2M) is of order 2, measured {orders}"
    assert orders["unipc"] > 1.7, f"UniPC is of order 2 at least, measured {orders}"
    assert max(finest["dpm++"], finest["unipc"]) < finest["ddim"] / 5.0, f"no better than DDIM: {finest}"
    assert finest["unipc"] < finest["dpm++"], f"the corrector does not help: {finest}"


@pytest.mark.parametrize("model", ["512", "1024"])
def test_whole_path_from_zero_snr_to_x_0(model: str) -> None:
    """At the same number of steps both solvers end nearer to the exact solution than DDIM."""
    schedule, x_T = SCHEDULES[model], normal(3).double()
    exact = MEAN + STD * x_T  # the signal is 0 at the start, so x_T is the standard score of the sample
    errors = {}
    for sampler, sample in SAMPLERS.items():
        y = sample(
            gaussian(MEAN, STD, schedule), x_T, schedule, make_timesteps("uniform_trailing", 20), fix_final_step=True
        )
        errors[sampler] = (y - exact).abs().mean().item()
    assert errors["dpm++"] < errors["ddim"], f"2M is no better than DDIM: {errors}"
    assert errors["unipc"] < errors["ddim"], f"UniPC is no better than DDIM: {errors}"


def test_nodes_end_at_x_0() -> None:
    nodes = solver_nodes(SCHEDULES["1024"], make_timesteps("uniform_trailing", 10))
    assert len(nodes) == 11
    assert nodes[0] == Node(0.0, 1.0), "zero terminal SNR starts without signal"
    assert nodes[-1] == Node(1.0, 0.0), "the end is x_0"
    log_snr = [node.log_snr for node in nodes]
    assert log_snr == sorted(log_snr), "lambda must rise along the path"
    assert (log_snr[0], log_snr[-1]) == (-math.inf, math.inf)


def test_first_step_from_zero_snr_is_the_limit_of_small_snr() -> None:
    x, m, end = normal(1).double(), normal(2).double(), Node(0.2, 0.9)
    limit = constant_update(x, m, Node(0.0, 1.0), end)
    near = constant_update(x, m, Node(1e-9, 1.0), end)
    torch.testing.assert_close(limit, near, rtol=0, atol=1e-7)
    torch.testing.assert_close(limit, 0.9 * x + 0.2 * m)


def node_at(log_snr: float) -> Node:
    """The variance-preserving node of this lambda."""
    sigma = 1.0 / math.hypot(1.0, math.exp(log_snr))
    return Node(sigma * math.exp(log_snr), sigma)


def test_extrapolation_over_uneven_steps() -> None:
    """For m linear in lambda the 2M step is right up to O(h^3), also where the step before was of another size."""
    before, h = 0.03, 0.01
    nodes = [node_at(-before), node_at(0.0), node_at(h)]
    estimates = [torch.tensor([-before], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]  # m = lambda
    stepped = multistep_update(torch.zeros(1, dtype=torch.float64), estimates, nodes, 1)
    expected = nodes[2].alpha * (h - 1.0 + math.exp(-h))  # integral of l e^(l - h) over [0, h]
    assert abs(stepped.item() - expected) < h**3, "the extrapolation mistakes one step's size for the other's"


def test_unipc_does_not_correct_away_what_the_callback_changed() -> None:
    schedule, timesteps = SCHEDULES["512"], make_timesteps("uniform_trailing", 6)
    x_0, replacement, arrived = normal(1), normal(4), []

    def change_step_2(i: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor | None:
        arrived.append(x_t)
        return replacement if i == 2 else None

    SAMPLERS["unipc"](oracle(x_0, schedule), normal(2), schedule, timesteps, callback=change_step_2)
    nodes = solver_nodes(schedule, timesteps)
    expected = constant_update(replacement, x_0, nodes[3], nodes[4])
    torch.testing.assert_close(arrived[3], expected, rtol=0, atol=1e-5, msg="the callback's change was undone")


@pytest.mark.parametrize("degree", [1, 2])
def test_corrector_is_exact_for_polynomials(degree: int) -> None:
    """If m is a polynomial in lambda of the interpolation's degree, the corrected step is the exact integral."""
    nodes = [node_at(-1.0), node_at(-0.4), node_at(0.5)]
    coefficients = (0.7, -1.3, 0.9)[: degree + 1]

    def m(log_snr: Tensor) -> Tensor:
        return sum((c * log_snr**power for power, c in enumerate(coefficients)), torch.zeros_like(log_snr))

    values = [m(torch.tensor(node.log_snr, dtype=torch.float64)) for node in nodes]
    corrected = correct(torch.tensor(0.3, dtype=torch.float64), values[-(degree + 1) :], nodes, 2)
    grid = torch.linspace(nodes[1].log_snr, nodes[2].log_snr, 20001, dtype=torch.float64)
    integral = torch.trapezoid(grid.exp() * m(grid), grid)
    expected = nodes[2].sigma / nodes[1].sigma * 0.3 + nodes[2].sigma * integral
    torch.testing.assert_close(corrected, expected, rtol=0, atol=1e-8, msg="the corrector's weights are wrong")
