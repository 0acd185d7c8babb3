"""FreeScale: closed forms of its fusion, what it begins on, and a network that is as it was afterwards."""

from __future__ import annotations

import math

import pytest
import torch
from small_model import SIDE, picture, write_small_model

from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.modules.attention_processors import AttentionMeta, attend
from lvdm.modules.hooks import NO_HOOKS, active_hooks
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.extension import Extension
from lvdm.plugins.freescale import Cascade, FreeScale, blur, enlarge, grid_of, window_places
from lvdm.plugins.hooks import Samples, plain_hooks
from lvdm.plugins.methods.scale import parse_scale
from lvdm.plugins.scalecrafter import layers_of
from lvdm.plugins.scaling import FreeScalePlan, plan_scale
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
LARGE = {"height": 2 * SIDE, "width": 2 * SIDE}
META = AttentionMeta("self", 1)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_at_the_trained_size_nothing_changes(pipe) -> None:
    plain = pipe(picture(), PROMPT, num_inference_steps=2).video
    assert torch.equal(pipe(picture(), PROMPT, num_inference_steps=2, scale="freescale").video, plain)


def test_the_larger_video_begins_on_the_smaller_one_and_leaves_no_trace(pipe) -> None:
    given = {"num_inference_steps": 4, **LARGE}
    plain = pipe(picture(), PROMPT, scale="off", **given).video
    small = pipe(picture(), PROMPT, num_inference_steps=4).video
    distances = []
    for level in (0.1, 0.6):
        made = pipe(picture(), PROMPT, scale=f"freescale:level={level}", **given)
        assert made.video.shape == plain.shape
        distances.append((made.video - enlarge(small, (2 * SIDE, 2 * SIDE))).abs().mean().item())
    assert distances[0] < distances[1], "a later start is no nearer to the enlarged video"
    assert distances[0] < (plain - enlarge(small, (2 * SIDE, 2 * SIDE))).abs().mean().item()
    assert made.scale == "freescale:factor=2.0,level=0.6,until=0.5,fuse=yes"
    again = pipe(picture(), PROMPT, scale=made.scale, **given).video
    assert torch.equal(again, made.video), "the recorded setting gives another video"
    assert torch.equal(pipe(picture(), PROMPT, scale="off", **given).video, plain), "it is still at work"


def test_at_the_last_time_step_nothing_of_the_smaller_video_is_left() -> None:
    schedule = NoiseSchedule.from_config(
        ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.3)
    )
    samples, shape = Samples((1,), (0,)), (4, 3, 8, 8)
    hooks = plain_hooks(samples, lambda conditions: None)
    noise = hooks.initial_noise(shape, samples, None, schedule).latents
    for level, signal in ((1.0, 0.0), (0.5, None)):
        latents = values(1, *shape)
        start = Cascade(latents, level).attach(None, hooks, samples).initial_noise(shape, samples, None, schedule)
        t = round(level * 1000) - 1
        assert start.timestep == t
        assert torch.equal(start.noise, noise), "known regions would be shown under more than noise"
        if signal is None:
            abar, scale = float(schedule.alphas_cumprod[t]), float(schedule.scale(torch.tensor([t])))
            wanted = math.sqrt(abar) * scale * latents + math.sqrt(1 - abar) * noise
            torch.testing.assert_close(start.latents, wanted, rtol=0, atol=1e-5)
        else:
            torch.testing.assert_close(start.latents, noise, rtol=0, atol=1e-5)


def test_fusion_takes_low_frequencies_of_windows_and_high_ones_of_the_whole() -> None:
    plan, size = FreeScalePlan(2.0, 1.0, 0.0, True), (8, 12)
    q, k, v = values(3, 2, 2, 96, 4)
    method = FreeScale(plan, size)
    whole = attend(q, k, v, META)
    local, count = torch.zeros_like(whole), torch.zeros(96)
    for top in (0, 2, 4):
        for left in (0, 3, 6):
            rows = [(top + y) * 12 + left + x for y in range(4) for x in range(6)]
            local[:, :, rows] += attend(q[:, :, rows], k[:, :, rows], v[:, :, rows], META)
            count[rows] += 1
    local /= count[:, None]
    wanted = blur(local, size, 2.0) + whole - blur(whole, size, 2.0)
    torch.testing.assert_close(method.attend(attend, q, k, v, META), wanted, rtol=0, atol=1e-5)


def test_where_both_scales_agree_fusion_changes_nothing() -> None:
    q, k = values(2, 1, 1, 64, 4)
    even = torch.ones(1, 1, 64, 4)  # any average of equal values is that value
    out = FreeScale(FreeScalePlan(2.0, 1.0, 0.0, True), (8, 8)).attend(attend, q, k, even, META)
    torch.testing.assert_close(out, even, rtol=0, atol=1e-6)


def test_the_blur_keeps_means_and_takes_details() -> None:
    x = values(1, 1, 64, 3)
    assert blur(x, (8, 8), 1.0) is x, "one place is no blur"
    soft = blur(x, (8, 8), 2.0)
    assert soft.var() < 0.5 * x.var()
    even = torch.full_like(x, 3.0)
    torch.testing.assert_close(blur(even, (8, 8), 4.0), even)
    impulse = torch.zeros(1, 1, 64, 1)
    impulse[0, 0, 3 * 8 + 3] = 1
    weights = torch.tensor([math.exp(-0.5), 1, math.exp(-0.5)])
    weights /= weights.sum()
    found = blur(impulse, (8, 8), 2.0)[0, 0, :, 0].view(8, 8)[2:5, 2:5]
    torch.testing.assert_close(found, weights[:, None] * weights)


def test_grids_and_windows_cover_every_place() -> None:
    assert [grid_of(n, (20, 36)) for n in (720, 180, 45, 15)] == [(20, 36), (10, 18), (5, 9), (3, 5)]
    with pytest.raises(ValueError, match="no halving"):
        grid_of(50, (20, 36))
    for grid, window in (((8, 8), (4, 4)), ((5, 9), (3, 6)), ((10, 18), (4, 18)), ((1, 1), (1, 1))):
        places = window_places(grid, window)
        assert set(places.flatten().tolist()) == set(range(grid[0] * grid[1])), f"{grid} {window}: a place is left out"
        assert places.shape[1] == window[0] * window[1]


@pytest.mark.parametrize(
    ("text", "size", "grid", "window"),
    [
        ("freescale", (640, 1024), (80, 128), (40, 64)),
        ("freescale", (576, 1024), (36, 64), (20, 32)),  # 1.9 times the side is not twice
        ("freescale", (320, 1024), (40, 128), (40, 64)),  # only wider
        ("freescale", (1024, 640), (128, 80), (40, 64)),  # upright, from a training that was not
        ("freescale:factor=4", (640, 1024), (80, 128), (20, 32)),
    ],
)
def test_windows_are_what_the_network_was_trained_on(text: str, size, grid, window) -> None:
    plan = plan_scale(text, size, (320, 512))
    assert FreeScale(plan, grid).window(grid) == window
    assert plan_scale(plan.text, size, (320, 512)) == plan, "the text of a plan does not give it again"


def test_one_window_is_the_whole_picture() -> None:
    q, k, v = values(3, 1, 2, 64, 4)
    method = FreeScale(FreeScalePlan(2.0, 1.0, 0.0, True, (1.0, 1.0)), (8, 8))
    assert torch.equal(method.attend(attend, q, k, v, META), attend(q, k, v, META)), "local and global are the same"


def test_the_first_pass_is_the_plain_video_to_the_bit(pipe, monkeypatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr("lvdm.pipeline.stages.enlarge", lambda video, size: seen.append(video) or enlarge(video, size))
    given = {"num_inference_steps": 3, "fix_final_step": False}
    pipe(picture(), PROMPT, scale="freescale", **given, **LARGE)
    plain = pipe(picture(), PROMPT, **{**given, "fix_final_step": True}).video
    assert len(seen) == 1, "there should be one pass before"
    assert torch.equal(seen[0], plain), "it is not the plain video, or not one that ends at the clean latents"


@pytest.mark.parametrize(("height", "width"), [(2 * SIDE - 4, 2 * SIDE - 4), (48, 70)])
def test_sizes_that_are_padded_inside_begin_on_the_smaller_video_too(pipe, height: int, width: int) -> None:
    given = {"height": height, "width": width, "num_inference_steps": 2}
    made = pipe(picture(), PROMPT, scale="freescale:level=0.1", **given).video
    small = pipe(picture(), PROMPT, height=height // 2, width=width // 2, num_inference_steps=2, fix_final_step=True)
    assert made.shape[-2:] == (height, width)
    near = (made - enlarge(small.video, (height, width))).abs().mean()
    far = (made - enlarge(small.video, (height, width)).roll(8, -1)).abs().mean()
    assert near < far, "the smaller video is not where it should be"


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
def test_every_pass_begins_where_its_latents_are_and_tells_its_steps(pipe, spacing: str) -> None:
    seen: list[tuple[int, int]] = []

    def watch(step: int, t: int, x_t: torch.Tensor, pred_x0: torch.Tensor) -> None:
        if step == 0:
            seen.append((t, x_t.shape[-1]))

    pipe(
        *(picture(), PROMPT),
        **{"num_inference_steps": 2, "timestep_spacing": spacing, "callback_on_step_end": watch},
        **{"scale": "freescale:level=0.6", **LARGE},
    )
    assert [side for _, side in seen] == [SIDE // 4, SIDE // 2], "a pass tells nothing of its steps"
    assert seen[1][0] == 599, "it begins at another time step than its latents were noised to"


def test_the_network_is_as_it_was_after_a_run_that_breaks(pipe) -> None:
    unet = pipe.runtime.model.unet

    weights = {key: value.clone() for key, value in unet.state_dict().items()}

    def stop(step: int, t: int, x_t: torch.Tensor, pred_x0: torch.Tensor) -> None:
        if x_t.shape[-1] > SIDE // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(picture(), PROMPT, scale="freescale:until=1", callback_on_step_end=stop, **LARGE)
    assert active_hooks() is NO_HOOKS, "a layer or an attention is still exchanged"
    assert all(torch.equal(value, weights[key]) for key, value in unet.state_dict().items())


def test_a_video_that_goes_on_shows_its_frames_at_one_size_only() -> None:
    with pytest.raises(ValueError, match="leave out level below 1 of scale freescale"):
        Extension(4, 1).check(GenerationSettings(scale="freescale"))
    Extension(4, 1).check(GenerationSettings(scale="freescale:level=1"))


def test_only_encoder_and_middle_reach_farther(pipe) -> None:
    unet = pipe.runtime.model.unet
    found = FreeScale(FreeScalePlan(3.0, 0.7, 0.5, True), (8, 8)).factors(list(layers_of(unet)))
    decoder = {module for block in unet.output_blocks for module in block.modules()}
    assert found
    assert set(found.values()) == {3.0}
    assert not decoder & found.keys(), "the decoder is dilated"


def test_sides_grow_to_twice_in_one_go_and_sizes_choose_the_factor() -> None:
    plan = plan_scale("freescale", (256, 256), (64, 64))
    assert plan.factor == 4
    assert plan.before((256, 256)) == ((128, 128), parse_scale("freescale:level=0.7,until=0.5,fuse=yes"))
    last = plan_scale(plan.before((256, 256))[1], (128, 128), (64, 64))
    assert last.before((128, 128))[0] == (64, 64)
    half = plan_scale("freescale", (160, 160), (64, 64)).before((160, 160))  # 2.5 times the side
    assert half[0] == (80, 80)
    assert plan_scale(half[1], half[0], (64, 64)).before(half[0])[0] == (64, 64), "the first pass is below the training"
    assert plan_scale("freescale", (64, 64), (64, 64)) is None
    assert not plan_scale("freescale:level=1", (128, 128), (64, 64)).cascades


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": "freescale:level=0"}, "level 0 is not possible"),
        ({"scale": "freescale:until=2"}, "until 2 is not possible"),
        ({"scale": "freescale:factor=20"}, "factor 20 is not possible"),
        ({"scale": "freescale:damped=yes"}, "unknown key 'damped'"),
        ({"scale": "freescale", "truncated_start": 0.9}, "both say where sampling begins"),
        ({"scale": "freescale", "free_init": "iterations=2"}, "both make the noise"),
        ({"scale": "freescale", "camera": "hold"}, "both make the noise"),
        ({"scale": "freescale", "long_video": "fifo", "eta": 0.0}, "work on a whole clip"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_loaded(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**given)
