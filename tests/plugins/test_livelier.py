"""Plug-ins for motion: closed forms of what they do to noise and conditions, and nothing at their neutral settings."""

from __future__ import annotations

import math

import pytest
import torch
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.media.images import fit_image
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.camera import FrameInit, frames_of_camera, views
from lvdm.plugins.free_init import FreeInit
from lvdm.plugins.free_u import FreeU, damp_low_frequencies, decoder_levels, strengthen
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.latent_statistics import read_statistics, write_statistics
from lvdm.plugins.low_pass import without_details
from lvdm.plugins.methods.camera import DIRECTIONS, Camera, parse_camera
from lvdm.plugins.methods.free_init import FreeInitOptions
from lvdm.plugins.truncated_start import LatentStatistics, RunningStatistics, TruncatedStart, analytic_noise, start_step
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
ZERO_SNR = NoiseSchedule.from_config(
    ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.3)
)
SHAPE = (4, 16, 20, 20)


def noise(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def views_of(text: str, num_frames: int) -> list[tuple[float, float, float]]:
    """What the camera of a setting sees."""
    camera = parse_camera(text)
    return views(camera.name, camera.options, num_frames)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def plain(pipe):
    return pipe(picture(), PROMPT, num_inference_steps=3)


@pytest.mark.parametrize(
    "neutral",
    [
        {"low_pass": 0.0},
        {"low_pass": 0.5, "low_pass_until": 0.0},
        {"truncated_start": 1.0},
        {"camera": "hold:spatial=0"},
        {"free_init": "iterations=1"},
        {"free_u": "b1=1,b2=1,s1=1,s2=1"},
        {"anchor": "free", "color_lock": 0.0},
    ],
    ids=str,
)
def test_neutral_settings_change_no_bit(pipe, plain, neutral) -> None:
    assert torch.equal(pipe(picture(), PROMPT, num_inference_steps=3, **neutral).video, plain.video)


@pytest.mark.parametrize(
    "active",
    [
        {"low_pass": 0.5, "low_pass_until": 0.4},
        {"truncated_start": 0.9},
        {"camera": "pan_left"},
        {"camera": "path:points=0.1 0 1; 0.1 0.1 1.5,level=0.7"},
        {"free_init": "iterations=2"},
        {"free_u": "b1=1.2,b2=1.2,s1=0.9,s2=0.9"},
        {"camera": "zoom_in", "low_pass": 0.5, "low_pass_until": 0.4, "free_u": "b1=1.2", "anchor": "exact"},
        {"num_frames": 7, "camera": "pan_left", "anchor": "exact", "chunk_frames": 2},
        {"num_frames": 7, "height": 2 * SIDE, "width": 2 * SIDE, "truncated_start": 0.9, "free_u": "s1=0.9"},
        {"free_init": "iterations=2", "low_pass": 0.5, "color_lock": 0.5, "height": 2 * SIDE, "width": 2 * SIDE},
    ],
    ids=str,
)
def test_every_plug_in_acts_alone_and_with_others_and_leaves_no_trace(pipe, plain, active) -> None:
    changed = pipe(picture(), PROMPT, num_inference_steps=3, **active).video
    assert torch.isfinite(changed).all()
    assert changed.shape != plain.video.shape or not torch.equal(changed, plain.video), "nothing changed"
    assert torch.equal(pipe(picture(), PROMPT, num_inference_steps=3).video, plain.video), "it is still at work"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"camera": "pan_lft"}, "camera 'pan_lft' is not known; did you mean 'pan_left'"),
        ({"camera": "hold:amount=5"}, "amount 5 is not possible"),
        ({"camera": "path:points=0.6 0 1"}, "point '0.6 0 1' is outside the image"),
        ({"camera": "path:points=0.1 0 0"}, "zoom of point '0.1 0 0' 0 is not possible"),
        ({"camera": "path:points=0.1 0"}, "should be three numbers, x y zoom"),
        ({"camera": "path"}, "a path needs points"),
        ({"camera": "path:amount=1"}, "amount"),
        ({"camera": "hold:begin=yes", "truncated_start": 0.9}, "both say where sampling begins"),
        ({"camera": "hold", "mode": "loop"}, "leave out camera to loop"),
        ({"camera": "hold", "free_init": "iterations=2"}, "camera and free_init both make the noise"),
        ({"free_init": "level=1"}, "at the last time step nothing"),
        ({"free_init": "iterations=2", "truncated_start": 0.9}, "give only one of them"),
        ({"truncated_start": 0.0}, "leaves nothing to sample"),
        ({"start_statistics": "a.safetensors"}, "give truncated_start below 1"),
        ({"low_pass": 2.0}, "low_pass 2.0 is not possible"),
        ({"free_u": "b3=1"}, "unknown key 'b3'"),
        ({"anchor": "exactly"}, "anchor 'exactly' is not known"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_loaded(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**given)


def test_a_picture_without_details_keeps_its_tone() -> None:
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert without_details(image, 0.0) is image
    soft = without_details(image, 0.75)
    assert math.isclose(soft.mean().item(), image.mean().item(), abs_tol=0.01)
    assert soft.std() < 0.5 * image.std(), "details are still there"
    assert without_details(image, 1.0).std() < without_details(image, 0.75).std()


def test_statistics_are_those_of_all_clips_together(tmp_path) -> None:
    clips = 0.4 + 2 * noise(1, 5)
    running = RunningStatistics()
    for clip in clips:
        running.add(clip)
    found = running.result()
    torch.testing.assert_close(found.mean, clips.mean(0), rtol=0, atol=1e-5)
    assert math.isclose(found.variance, clips.var(0, correction=0).mean().item(), rel_tol=1e-5)
    write_statistics(tmp_path / "a.safetensors", found, 5, "noise")
    again = read_statistics(tmp_path / "a.safetensors")
    assert torch.equal(again.mean, found.mean)
    assert again.variance == found.variance
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    for name in ("b.safetensors", "c.safetensors"):
        with pytest.raises(ValueError, match=name):
            read_statistics(tmp_path / name)


def test_the_analytic_start_has_the_moments_of_noised_latents() -> None:
    """Latents of mean 2 and variance 0.5, noised with the dynamic rescale, against noise moved to their moments."""
    schedule, t = ZERO_SNR, start_step(0.6, ZERO_SNR)
    latents, fresh = 2 + math.sqrt(0.5) * noise(1, 20), noise(2, 20)
    abar, scale = schedule.alphas_cumprod[t], schedule.scale(torch.tensor(t))
    expected = abar.sqrt() * scale * latents + (1 - abar).sqrt() * fresh
    actual = analytic_noise(noise(3, 20), LatentStatistics(torch.full(SHAPE, 2.0), 0.5), t, schedule)
    assert math.isclose(actual.mean().item(), expected.mean().item(), abs_tol=0.01)
    assert math.isclose(actual.std().item(), expected.std().item(), rel_tol=0.01)


def test_at_the_last_step_under_zero_terminal_snr_the_analytic_start_is_noise() -> None:
    plain = noise(0)
    statistics = LatentStatistics(torch.full(SHAPE, 3.0), 7.0)
    assert torch.equal(analytic_noise(plain, statistics, start_step(1.0, ZERO_SNR), ZERO_SNR), plain)


def test_statistics_of_other_shapes_are_interpolated() -> None:
    mean = torch.linspace(0, 1, 8)[None, :, None, None].expand(4, 8, 10, 10)
    fitted = LatentStatistics(mean, 1.0).fitted(SHAPE)
    assert fitted.shape == SHAPE
    assert (fitted.diff(dim=1) >= 0).all()


def test_an_early_start_visits_the_time_steps_below_it(pipe) -> None:
    seen: list[int] = []
    pipe(
        picture(),
        PROMPT,
        num_inference_steps=4,
        truncated_start=0.94,
        callback_on_step_end=lambda i, t, *_: seen.append(t),
    )
    assert seen == [939, 704, 469, 234], "the trailing steps of 940"
    assert TruncatedStart(0.94).statistics is None


@pytest.mark.parametrize("move", list(DIRECTIONS))
def test_a_camera_begins_at_the_picture_and_goes_where_it_should(move: str) -> None:
    ramp = torch.linspace(-1, 1, 65)
    image = torch.stack([ramp.expand(65, 65), ramp[:, None].expand(65, 65), ramp.expand(65, 65)])[None]
    video = torch.cat(list(frames_of_camera(image, views(move, Camera(), 5))), dim=2)
    assert torch.equal(video[:, :, 0], image)
    x, y, nearer = DIRECTIONS[move]
    centre = video[0, :2, -1, 32, 32]  # what is seen in the middle: where the camera looks, from -1 to 1
    torch.testing.assert_close(centre, torch.tensor([0.5 * x, 0.5 * y]), rtol=0, atol=0.03)
    slope = (video[0, 0, -1, 32, 40] - video[0, 0, -1, 32, 24]) / (image[0, 0, 32, 40] - image[0, 0, 32, 24])
    assert math.isclose(slope.item(), 1.25**-nearer, abs_tol=0.03), "a camera that comes nearer sees less"


@pytest.mark.parametrize(
    ("path", "move"),
    [("0.25 0 1", "pan_right"), ("0 -0.25 1", "tilt_up"), ("0 0 1.25", "zoom_in"), ("0 0 1; 0 0 1", "hold")],
)
def test_a_straight_path_is_the_move_of_that_name(path: str, move: str) -> None:
    for ours, other in zip(views_of(f"path:points={path}", 7), views(move, Camera(), 7), strict=True):
        assert ours == pytest.approx(other)


def test_a_path_passes_its_points_in_equal_times() -> None:
    seen = views_of("path:points=0.2 0 1; 0.2 0.1 2", 5)
    assert seen == [
        pytest.approx(view) for view in [(0, 0, 1), (0.1, 0, 1), (0.2, 0, 1), (0.2, 0.05, 1 / 1.5), (0.2, 0.1, 0.5)]
    ]


def test_frequencies_add_up() -> None:
    first, second = noise(1), noise(2)
    weights = low_pass_filter(SHAPE[1:], 0.25, 0.25)
    assert weights[0, 0, 0] == 1, "the mean passes"
    assert torch.equal(mix_frequencies(first, second, low_pass_filter(SHAPE[1:], 0.0, 0.25)), second), "nothing passes"
    torch.testing.assert_close(mix_frequencies(first, first, weights), first, rtol=0, atol=1e-5)
    mixed = mix_frequencies(first, second, weights)
    for part in (first, second):
        share = (mixed.flatten() @ part.flatten() / part.square().sum()).item()
        assert 0 < share < 1
    torch.testing.assert_close(mixed.mean((-3, -2, -1)), first.mean((-3, -2, -1)), rtol=0, atol=1e-5)


def test_the_layout_enters_the_noise_with_the_dynamic_rescale() -> None:
    """A layout of one value changes the mean of the noise by sqrt(abar) s times it, and nothing else."""
    plain, t = noise(0), start_step(0.85, ZERO_SNR)
    shaped = FrameInit(torch.full((1, *SHAPE), 5.0), Camera()).shape_noise(plain, ZERO_SNR)
    empty = FrameInit(torch.zeros(1, *SHAPE), Camera()).shape_noise(plain, ZERO_SNR)
    expected = 5 * (ZERO_SNR.alphas_cumprod[t].sqrt() * ZERO_SNR.scale(torch.tensor(t))).item()
    difference = shaped - empty
    torch.testing.assert_close(difference, torch.full_like(difference, expected), rtol=0, atol=1e-4)
    none = FrameInit(torch.full((1, *SHAPE), 5.0), Camera(spatial=0.0)).shape_noise(plain, ZERO_SNR)
    assert torch.equal(none, plain), "a filter that passes nothing leaves the noise"


def test_free_init_begins_with_the_noised_latents_dynamic_rescale_included() -> None:
    latents, first = torch.full((1, *SHAPE), 3.0), start_step(0.9, ZERO_SNR)
    plain, fresh = noise(1), noise(2)
    method = FreeInit(FreeInitOptions(), 1, latents)
    mean = method.noise_again(plain, fresh, first, ZERO_SNR).mean((-3, -2, -1))
    abar, scale = ZERO_SNR.alphas_cumprod[first], ZERO_SNR.scale(torch.tensor(first))
    expected = abar.sqrt() * scale * 3.0 + (1 - abar).sqrt() * plain.mean((-3, -2, -1))
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-4)
    nothing = FreeInit(FreeInitOptions(spatial=0.0), 1, latents)
    assert torch.equal(nothing.noise_again(plain, fresh, first, ZERO_SNR), fresh)


def test_free_u_weighs_the_two_deepest_levels(pipe) -> None:
    unet = pipe.runtime.model.unet
    levels = decoder_levels(unet)
    assert [len(level) for level in levels if level] == [2, 2]
    assert [width for level in levels for _, width in level] == [32, 32, 32, 16]
    features = torch.rand(2, 4, 6, 6)
    assert strengthen(features, 1.0) is features
    assert damp_low_frequencies(features, 1.0) is features
    stronger = strengthen(features, 1.5)
    assert torch.equal(stronger[:, 2:], features[:, 2:])
    ratio = stronger[:, :2] / features[:, :2]
    assert ratio.min() >= 1
    assert math.isclose(ratio.max().item(), 1.5, rel_tol=1e-4)
    damped = damp_low_frequencies(features, 0.2)
    torch.testing.assert_close(damped.mean((-2, -1)), 0.2 * features.mean((-2, -1)), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        damped - damped.mean((-2, -1), keepdim=True), features - features.mean((-2, -1), keepdim=True)
    )
    assert FreeU() != FreeU(1, 1, 1, 1)


def test_the_picture_without_details_is_what_the_first_steps_see(pipe, monkeypatch) -> None:
    """Told from the concatenated latents that the network is given at each step."""
    model, seen = pipe.runtime.model, []
    apply = model.apply_model
    monkeypatch.setattr(
        model, "apply_model", lambda x, t, c, concat, fs: seen.append(concat) or apply(x, t, c, concat, fs)
    )
    pipe(picture(), PROMPT, num_inference_steps=4, low_pass=0.8, low_pass_until=0.5)
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])
    assert fit_image(picture(), SIDE, SIDE).shape == (3, SIDE, SIDE)
    assert seen[0].shape[2] == FRAMES


def test_a_camera_may_begin_where_its_layout_is_as_strong_as_it_should_be(pipe) -> None:
    seen: list[int] = []

    def watch(step: int, t: int, *_: object) -> None:
        seen.append(t)

    pipe(picture(), PROMPT, num_inference_steps=2, camera="pan_left:begin=yes,level=0.7", callback_on_step_end=watch)
    assert seen == [699, 349]


@pytest.mark.parametrize(
    "given", [{"anchor": "exact"}, {"color_lock": 0.5}, {"camera": "pan_left"}, {"low_pass": 0.5}], ids=str
)
def test_what_needs_an_image_is_refused_without_one(given) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} need an image"):
        GenerationSettings(mode="text-to-video", **given)
    assert GenerationSettings(mode="text-to-video", free_u="b1=1.1", truncated_start=0.9).mode == "text-to-video"
