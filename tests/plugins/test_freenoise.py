"""FreeNoise against the original's outputs where its frame counts are regular, and its invariants for all others."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from golden_vectors import assert_close, case, fill_module
from tiny_freenoise import videocrafter_unet
from torch import Tensor

from lvdm.diffusion.guidance import classifier_free_guidance, sequential
from lvdm.diffusion.noise import initial_noise, make_step_noise, sample_generator
from lvdm.diffusion.samplers.ddim import sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.modules.attention import CrossAttention, TemporalTransformer
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor, attend
from lvdm.modules.hooks import NO_HOOKS, attention_of
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.freenoise import FreeNoise, noise_sources, shuffled_blocks
from lvdm.plugins.hooks import Hooks, Samples, attached, attention_layers, plain_hooks, plain_start
from lvdm.plugins.windows import triangle, window_starts

SAMPLES = Samples((5, 6), (0, 1))
LENGTHS = [(24, 16, 4), (26, 16, 4), (17, 16, 4), (64, 16, 4), (41, 16, 8), (23, 5, 2), (31, 16, 16), (257, 16, 4)]
SHAPE = (4, 8, 8)


@cache
def unet() -> UNetModel:
    return videocrafter_unet()


def no_branches(conditions: object) -> object:
    raise AssertionError("not used")


def hooks_of(samples: Samples) -> Hooks:
    return plain_hooks(samples, no_branches)  # type: ignore[arg-type]


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("tag", ["64_16_4", "24_16_4", "32_16_8", "20_8_2", "16_16_4"])
def test_noise_follows_the_originals_permutations(tag: str) -> None:
    reference = case("fn/noise_reschedule")
    num_frames, window, _ = (int(part) for part in tag.split("_"))
    sources = noise_sources(reference.meta[f"lists_{tag}"], window)
    assert sources == reference.meta[f"perm_{tag}"]
    x, y = reference.inputs[f"x_{tag}"], reference.outputs[f"y_{tag}"]
    assert torch.equal(x[:, :, :, sources], y), "frames of noise land where the original puts them"
    assert len(sources) == num_frames


@pytest.mark.parametrize(("num_frames", "window", "stride"), LENGTHS)
def test_every_window_holds_the_same_noise(num_frames: int, window: int, stride: int) -> None:
    blocks = shuffled_blocks(num_frames, window, stride, sample_generator(1, 2, "frame order"))
    sources = noise_sources(blocks, window)
    assert len(sources) == num_frames
    for start in window_starts(num_frames, window, stride):
        assert sorted(sources[start : start + window]) == list(range(window)), f"the window at {start} differs"


def test_noise_belongs_to_the_sample_and_begins_like_that_of_a_short_video() -> None:
    long, short = (4, 41, 8, 8), (4, 16, 8, 8)
    hooks = FreeNoise().attach(unet(), hooks_of(SAMPLES), SAMPLES)
    x_T = hooks.initial_noise(long, SAMPLES, None, None).latents  # type: ignore[arg-type]
    step = hooks.step_noise(3, (2, *long))
    assert torch.equal(x_T[:, :, :16], initial_noise(short, (5, 6), (0, 1)))
    alone = Samples((6,), (1,))
    hooks = FreeNoise().attach(unet(), hooks_of(alone), alone)
    assert torch.equal(hooks.initial_noise(long, alone, None, None).latents, x_T[1:])  # type: ignore[arg-type]
    fresh = make_step_noise((5, 6), (0, 1))(3, (2, *short))
    order = [
        [
            int(torch.stack([(frame - own).abs().sum() for own in clip.unbind(1)]).argmin())
            for frame in long_clip.unbind(1)
        ]
        for long_clip, clip in zip(x_T, initial_noise(short, (5, 6), (0, 1)), strict=True)
    ]
    for number in range(2):
        assert torch.equal(step[number], fresh[number][:, order[number]]), "step noise follows the same map"


@pytest.mark.parametrize("num_frames", [1, 7, 16])
def test_short_videos_have_the_plain_noise(num_frames: int) -> None:
    shape = (4, num_frames, 2, 2)
    hooks = FreeNoise().attach(unet(), hooks_of(SAMPLES), SAMPLES)
    x_T = hooks.initial_noise(shape, SAMPLES, None, None).latents  # type: ignore[arg-type]
    step = hooks.step_noise(0, (2, *shape))
    plain = plain_start(shape, SAMPLES, None, None).latents  # type: ignore[arg-type]
    assert torch.equal(x_T, plain)
    assert torch.equal(step, make_step_noise((5, 6), (0, 1))(0, (2, *shape)))


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("kind", ["plain", "relpos"])
@pytest.mark.parametrize("tag", ["16", "16_nowindow", "24", "24_nowindow", "24_w8s8"])
@torch.no_grad()
def test_windowed_attention(kind: str, tag: str) -> None:
    reference = case("fn/window_attention")
    layer = CrossAttention(32, None, 2, 16, kind == "relpos", 16, temporal=True)
    fill_module(layer, f"fn.{kind}.", "vc/")
    x = reference.inputs[f"x_{tag[:2]}"]
    method = FreeNoise(8, 8) if tag.endswith("w8s8") else FreeNoise()
    if tag.endswith("nowindow"):
        assert_close(reference, f"{kind}_{tag}", layer(x))
        return
    with NO_HOOKS.with_attention(attention_layers(layer), "temporal", method.windowed).active():
        assert_close(reference, f"{kind}_{tag}", layer(x))


@pytest.mark.parametrize(("tag", "relative"), [("v2", False), ("k1024", True)])
@torch.no_grad()
def test_temporal_transformer(tag: str, relative: bool) -> None:
    reference = case("fn/temporal_transformer")
    layer = TemporalTransformer(32, 2, 16, use_linear=True, relative_position=relative, temporal_length=16)
    fill_module(layer, f"fn.tt_{tag}.", "vc/")
    with NO_HOOKS.with_attention(attention_layers(layer), "temporal", FreeNoise().windowed).active():
        assert_close(reference, f"{tag}_24", layer(reference.inputs["x_24"]))


@torch.no_grad()
def test_network_with_and_without_windows() -> None:
    reference = case("fn/unet_v2_F24")
    x = reference.inputs
    with FreeNoise().attach(unet(), hooks_of(SAMPLES), SAMPLES).layers.active():
        assert_close(reference, "y", unet()(x["x"], x["timesteps"], x["context"], x["fps"]))
    plain = case("fn/unet_v2_F24_nowindow")
    assert_close(plain, "y", unet()(x["x"], x["timesteps"], x["context"], x["fps"]))


@torch.no_grad()
def test_sampling() -> None:
    reference = case("fn/ddim_freenoise_F24")
    x, fps = reference.inputs, torch.tensor([reference.meta["fps"]])
    schedule = NoiseSchedule.from_config(ScheduleConfig(use_dynamic_rescale=True, base_scale=0.7))
    x_T = x["noise"][:, :, noise_sources(case("fn/noise_reschedule").meta["lists_24_16_4"], 16)]
    assert_close(reference, "x_T", x_T)
    timesteps = make_timesteps("uniform", reference.meta["S"])

    def after_step(i: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor | None:
        if i == 0:
            assert_close(reference, "x_after_step0", x_t)
        if i < len(timesteps) - 1:
            return None
        # VideoCrafter ends at a scale of 1, DynamiCrafter at that of the last step.
        return x_t + schedule.alphas_cumprod[0].sqrt() * (1 - schedule.scale(timesteps[-1])) * pred_x0

    def branch(context: Tensor) -> object:
        return lambda x_t, t: unet()(x_t, t, context, fps)

    denoiser = classifier_free_guidance(sequential(branch(x["c"]), branch(x["uc"])), reference.meta["cfg"])  # type: ignore[arg-type]
    with FreeNoise().attach(unet(), hooks_of(SAMPLES), SAMPLES).layers.active():
        y = sample_ddim(denoiser, x_T, schedule, timesteps, callback=after_step)
    assert_close(reference, "y", y)


@pytest.mark.parametrize("relative", [False, True])
@torch.no_grad()
def test_a_ragged_tail_is_attended_to_and_slices_equal_the_loop_over_windows(relative: bool) -> None:
    layer = fill_module(CrossAttention(32, None, 2, 16, relative, 16, temporal=True), "tail.")
    x = torch.randn(3, 26, 32, generator=torch.Generator().manual_seed(0))
    with NO_HOOKS.with_attention(attention_layers(layer), "temporal", FreeNoise().windowed).active():
        got = layer(x)
    seen: list[tuple[Tensor, Tensor, Tensor, AttentionMeta]] = []

    def watch(inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        seen.append((q, k, v, meta))
        return inner(q, k, v, meta)

    with NO_HOOKS.with_attention([layer], "temporal", watch).active():
        layer(x)
    q, k, v, meta = seen[0]
    value, count = torch.zeros_like(q), torch.zeros(26)
    for begin in (0, 4, 8, 10):
        part = slice(begin, begin + 16)
        value[:, :, part] += attend(q[:, :, part], k[:, :, part], v[:, :, part], meta) * triangle(16)[:, None]
        count[part] += triangle(16)
    expected = layer.to_out((value / count[:, None]).transpose(1, 2).flatten(2))
    assert (got - expected).abs().max() <= 4e-6
    assert (got[:, 24:] - layer.to_out[0].bias).abs().max() > 0.01, "the tail has temporal attention"


@torch.no_grad()
def test_half_precision_keeps_its_type() -> None:
    q = torch.randn(2, 1, 20, 8, dtype=torch.bfloat16)
    out = FreeNoise().windowed(attend, q, q, q, AttentionMeta("temporal", 20))
    assert out.dtype == torch.bfloat16
    exact = FreeNoise().windowed(attend, q.float(), q.float(), q.float(), AttentionMeta("temporal", 20))
    assert (out - exact).abs().max() < 0.03


# ---------------------------------------------------------------- on and off


@torch.no_grad()
def test_a_window_as_long_as_the_video_changes_no_bit() -> None:
    x = case("fn/unet_v2_F24").inputs
    plain = unet()(x["x"], x["timesteps"], x["context"], x["fps"])
    with FreeNoise(24, 4).attach(unet(), hooks_of(SAMPLES), SAMPLES).layers.active():
        assert torch.equal(unet()(x["x"], x["timesteps"], x["context"], x["fps"]), plain)
    short = x["x"][:, :, :16]
    plain = unet()(short, x["timesteps"], x["context"], x["fps"])
    with FreeNoise().attach(unet(), hooks_of(SAMPLES), SAMPLES).layers.active():
        assert torch.equal(unet()(short, x["timesteps"], x["context"], x["fps"]), plain)


def test_taken_off_again_even_after_an_error() -> None:
    layers = [module for module in unet().modules() if isinstance(module, CrossAttention)]
    weights = {name: value.clone() for name, value in unet().state_dict().items()}

    def fail() -> None:
        with attached([FreeNoise(), FreeNoise(8, 8)], unet(), hooks_of(SAMPLES), SAMPLES).layers.active():
            assert all(attention_of(layer, "temporal") is not attend for layer in layers)
            assert all(attention_of(layer, "self") is attend for layer in layers)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert all(attention_of(layer, "temporal") is attend for layer in layers)
    assert all(torch.equal(value, weights[name]) for name, value in unet().state_dict().items())


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="stride 17 is not possible; use 1 to window"):
        FreeNoise(16, 17)
