"""From files on the disk to videos: batches, seeds, sizes, lengths, guidance, cancelling."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import FRAMES, MULTIPLE, SIDE, picture, small_yaml, write_small_model

from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.models import ddpm3d
from lvdm.models.decoding import decode_in_tiles
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest

CPU = {"device": "cpu", "dtype": "fp32"}
PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture(scope="module")
def pipe(folder):
    return DynamiCrafterPipeline.from_pretrained(folder, **CPU)


def assert_same(actual: torch.Tensor, expected: torch.Tensor, what: str, atol: float = 1e-5) -> None:
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    difference = (actual - expected).abs().max().item()
    assert difference <= atol, f"{what}: differs by {difference:.3g}"


def test_one_image_and_a_sentence_make_a_video(pipe):
    result = pipe(picture(), PROMPT)
    assert result.video.shape == (1, 3, FRAMES, SIDE, SIDE)
    assert result.latents.shape == (1, 4, FRAMES, SIDE // 4, SIDE // 4)
    assert torch.isfinite(result.video).all(), "the video holds NaN or infinities"
    assert set(result.seconds) == {"encode", "sample", "decode"}
    assert result.fs == 10, "fs is not the card's default"


def test_what_has_no_effect_is_said_and_gives_the_plain_video(pipe, caplog):
    plain = pipe(picture(), PROMPT, guidance_scale=1.0)
    assert "has no effect" not in caplog.text, "nothing of the kind was given"
    given = {"guidance_rescale": 0.5, "low_pass_until": 0.4, "long_video": "freenoise", "scale": "scalecrafter"}
    result = pipe(picture(), PROMPT, "bad", guidance_scale=1.0, **given)
    for name in (*given, "negative_prompt"):
        said = [record.message for record in caplog.records if record.message.startswith(f"{name} (")]
        assert len(said) == 1, f"{name}: {said}"
        assert "has no effect: " in said[0]
    assert torch.equal(result.video, plain.video)
    assert replace(result.settings, scale=plain.settings.scale) == plain.settings, "its record would be another"


def test_two_runs_are_equal_to_the_bit(pipe):
    assert torch.equal(pipe(picture(), PROMPT).video, pipe(picture(), PROMPT).video)


def test_a_batch_equals_its_samples_alone(pipe):
    images, prompts = [picture(seed=i) for i in range(3)], ["left", "right", ""]
    together = pipe(images, prompts, eta=1.0)
    for i in range(3):
        alone = pipe(images[i], prompts[i], eta=1.0, sample_index=i)
        assert_same(together.video[i : i + 1], alone.video, f"sample {i} in a batch of three", 1e-4)
    assert not torch.equal(together.latents[0], together.latents[1])


def test_copies_have_their_own_noise_and_seeds_their_own_samples(pipe):
    copies = pipe(picture(), PROMPT, num_videos_per_prompt=2)
    assert copies.video.shape[0] == 2
    assert not torch.allclose(copies.video[0], copies.video[1]), "two copies got the same noise"
    seeded = pipe([picture()] * 2, PROMPT, seed=[5, 5])
    assert torch.equal(seeded.video[0], seeded.video[1]), "one seed for each: the same seed is the same video"


def test_each_distinct_image_meets_the_encoder_once(pipe, monkeypatch):
    autoencoder, seen = pipe.runtime.model.first_stage_model, []
    encode = autoencoder.encode
    monkeypatch.setattr(autoencoder, "encode", lambda x: seen.append(len(x)) or encode(x))
    pipe([picture(), picture(seed=1), picture()], PROMPT, num_videos_per_prompt=2)
    assert seen == [1, 1], f"images encoded: {seen}"


def test_null_conditions_are_computed_once(folder, monkeypatch):
    pipe = DynamiCrafterPipeline.from_pretrained(folder, **CPU)
    model, texts, images = pipe.runtime.model, [], []
    embed_text, embed_image = model.embed_text, model.embed_image
    monkeypatch.setattr(model, "embed_text", lambda prompts: texts.extend(prompts) or embed_text(prompts))
    monkeypatch.setattr(model, "embed_image", lambda image: images.append(bool(image.any())) or embed_image(image))
    for _ in range(2):
        pipe(picture(), PROMPT)
    assert texts == [PROMPT, "", PROMPT], "the empty prompt is a constant"
    assert images == [True, False, True], "the grey image is a constant"


@pytest.mark.parametrize("guidance", [{}, {"image_guidance_scale": 1.5}], ids=["text", "text and image"])
def test_low_memory_gives_the_same_video(folder, pipe, guidance):
    small = DynamiCrafterPipeline.from_pretrained(folder, **CPU, low_memory=True)
    assert_same(small(picture(), PROMPT, **guidance).latents, pipe(picture(), PROMPT, **guidance).latents, "low memory")


def test_decoding_in_chunks_changes_nothing(pipe):
    whole = pipe(picture(), PROMPT, decode_chunk_size=FRAMES)
    assert_same(pipe(picture(), PROMPT, decode_chunk_size=3).video, whole.video, "chunks of three frames")


def test_decoding_in_tiles_is_asked_for(pipe, monkeypatch):
    whole = pipe(picture(), PROMPT, height=64, width=48)
    assert torch.equal(pipe(picture(), PROMPT, height=64, width=48, vae_tile=16).video, whole.video), "one tile"
    monkeypatch.setattr(ddpm3d, "decode_in_tiles", lambda *given: sides.append(given[2]) or decode_in_tiles(*given))
    sides: list[int] = []
    tiled = pipe(picture(), PROMPT, height=64, width=48, vae_tile=8)
    assert torch.equal(tiled.latents, whole.latents)
    assert_same(tiled.video, whole.video, "tiles of 8", 1e-4)
    assert set(sides) == {8}, "vae_tile had no effect"


def count_branches(pipe, monkeypatch, **settings) -> int:
    model, counts = pipe.runtime.model, []
    branches = model.branches
    monkeypatch.setattr(model, "branches", lambda c, batched: counts.append(len(c)) or branches(c, batched=batched))
    assert torch.isfinite(pipe(picture(), PROMPT, **settings).video).all()
    return counts[0]


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [(1.0, None, 1), (2.0, None, 2), (1.0, 1.0, 1), (2.0, 2.0, 2), (2.0, 1.0, 3), (1.0, 2.0, 3), (2.0, 1.5, 3)],
)
def test_guidance_runs_the_branches_it_needs(pipe, monkeypatch, text, image, expected):
    """The original fails with cfg_img = 1 and with cfg = 1, and runs three branches for plain guidance."""
    assert count_branches(pipe, monkeypatch, guidance_scale=text, image_guidance_scale=image) == expected


def test_the_negative_prompt_matters_under_guidance_only(pipe):
    plain, negative = pipe(picture(), PROMPT), pipe(picture(), PROMPT, "blue")
    assert not torch.equal(plain.latents, negative.latents), "the negative prompt has no effect"
    off = pipe(picture(), PROMPT, "blue", guidance_scale=1.0)
    assert torch.equal(off.latents, pipe(picture(), PROMPT, guidance_scale=1.0).latents)


@pytest.mark.parametrize("num_frames", [2, 5, 7])
def test_interpolation_and_loops_of_any_length(pipe, num_frames):
    """The original fails on odd numbers of frames."""
    between = pipe(picture(), PROMPT, end_image=picture(seed=1), num_frames=num_frames)
    assert between.video.shape[2] == num_frames
    assert pipe(picture(), PROMPT, loop=True, num_frames=num_frames).video.shape[2] == num_frames
    other = pipe(picture(), PROMPT, end_image=picture(seed=2), num_frames=num_frames)
    assert not torch.equal(between.latents, other.latents), "the last image has no effect"


def guided(pipe: DynamiCrafterPipeline, guides: list[torch.Tensor | None]) -> torch.Tensor:
    """What the network is shown beside the noise, (b, 4, t, h, w), for such guide videos."""
    requests = [GenerationRequest(picture(), PROMPT, seed=5, index=i, guide_video=g) for i, g in enumerate(guides)]
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        conditions = type(pipe.runtime).conditions
        patch.setattr(type(pipe.runtime), "conditions", lambda *given: seen.append(conditions(*given)) or seen[-1])
        pipe.generate(requests, pipe.settings(num_inference_steps=1))
    return seen[0][0].concat


def test_a_guide_video_is_shown_in_the_place_of_the_still_image(pipe):
    guide = (torch.rand(FRAMES, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1)) * 255).byte()
    plain, shown = guided(pipe, [None]), guided(pipe, [guide])
    assert torch.equal(shown[:, :, 0], plain[:, :, 0]), "frame 0 is not the image's"
    frames = guide.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert_same(shown[:, :, 1:], pipe.runtime.encode_video(frames)[:, :, 1:], "latents of the guide", 1e-4)
    with pytest.raises(ValueError, match="some requests have a guide_video and others none"):
        guided(pipe, [None, guide])


def test_token_policies_differ_only_at_other_lengths(pipe):
    policies = ("nearest", "linear", "broadcast")
    trained = [pipe(picture(), PROMPT, image_token_policy=p).latents for p in (*policies, "exact16")]
    assert all(torch.equal(latents, trained[0]) for latents in trained), "a policy acts at the trained length"
    longer = [pipe(picture(), PROMPT, num_frames=7, image_token_policy=p).latents for p in policies]
    assert all(torch.isfinite(latents).all() for latents in longer)
    assert not torch.equal(longer[0], longer[2]), "broadcast equals nearest"
    with pytest.raises(ValueError, match="exactly 4 frames"):
        pipe(picture(), PROMPT, num_frames=7, image_token_policy="exact16")


@pytest.mark.parametrize(
    ("image", "given", "video", "network"),
    [
        ((SIDE, SIDE), {}, (32, 32), (32, 32)),
        ((40, 44), {}, (32, 32), (32, 32)),
        ((64, 32), {}, (48, 24), (48, 24)),
        ((32, 64), {}, (24, 48), (24, 48)),
        ((64, 32), {"height": 48, "width": 24}, (48, 24), (48, 24)),
        ((64, 32), {"height": 48}, (48, 24), (48, 24)),
        ((32, 32), {"height": 30, "width": 35}, (30, 35), (32, 40)),
        ((200, 20), {}, (104, 8), (104, 8)),
    ],
)
def test_sizes(pipe, image, given, video, network):
    result = pipe(picture(*image), PROMPT, **given)
    assert tuple(result.video.shape[-2:]) == video
    assert (result.size.height, result.size.width) == network
    assert network[0] % MULTIPLE == network[1] % MULTIPLE == 0


def test_padding_and_distance_from_the_trained_size_are_logged(pipe, caplog):
    with caplog.at_level(logging.INFO, logger="lvdm"):
        pipe(picture(), PROMPT, height=30, width=35)
        pipe(picture(), PROMPT, height=64, width=64)
    assert "the network runs at 40x32" in caplog.text
    assert "4 times the area" in caplog.text


def test_a_batch_of_several_sizes_asks_for_one(pipe):
    with pytest.raises(ValueError, match="different sizes; give height and width"):
        pipe([picture(), picture(64, 32)], PROMPT)


def test_steps_are_reported_and_can_be_cancelled(pipe):
    seen, stages = [], []

    def stop_after_two(step, t, x_t, pred_x0):
        seen.append((step, t, x_t.shape == pred_x0.shape))
        if step == 1:
            raise SamplingCancelled

    with pytest.raises(SamplingCancelled):
        pipe(
            picture(),
            PROMPT,
            num_inference_steps=5,
            callback_on_step_end=stop_after_two,
            on_progress=lambda p: stages.append((p.stage, p.done, p.total)),
        )
    assert [(step, t) for step, t, _ in seen] == [(0, 999), (1, 799)]
    assert all(same for *_, same in seen)
    assert stages == [("encode", 0, 1), ("encode", 1, 1), ("sample", 0, 5), ("sample", 1, 5)]


def test_a_callback_can_change_the_latents(pipe):
    changed = pipe(picture(), PROMPT, callback_on_step_end=lambda step, t, x_t, pred_x0: torch.zeros_like(x_t))
    assert not changed.latents.any(), "what the callback returned was not used"


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "unipc"])
def test_every_sampler_works_with_the_defaults_of_the_card(pipe, sampler):
    assert torch.isfinite(pipe(picture(), PROMPT, sampler=sampler).video).all()


def test_output_types(pipe):
    frames = {kind: pipe(picture(), PROMPT, output_type=kind).frames for kind in ("pt", "np", "uint8", "pil")}
    assert frames["np"].shape == frames["uint8"].shape == (1, FRAMES, SIDE, SIDE, 3)
    assert frames["np"].min() >= 0
    assert frames["np"].max() <= 1
    assert frames["uint8"].dtype == torch.uint8
    assert frames["pil"][0][FRAMES - 1].size == (SIDE, SIDE)


def test_one_checkpoint_for_one_image_refuses_two(folder, pipe):
    only_i2v = DynamiCrafterPipeline(pipe.runtime, replace(pipe.card, capabilities=("i2v",)), pipe.files)
    with pytest.raises(ValueError, match=r"cannot interpolate.*preset interp"):
        only_i2v(picture(), PROMPT, end_image=picture())
    only_two = DynamiCrafterPipeline(pipe.runtime, replace(pipe.card, capabilities=("interpolation",)), pipe.files)
    with pytest.raises(ValueError, match="needs a first and a last image"):
        only_two(picture(), PROMPT)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": ["a", "b"]}, "1 image and 2 of prompt"),
        ({"loop": True, "end_image": picture()}, "a loop ends with its first image"),
        ({"output_type": "mp4"}, "output_type 'mp4' is not known"),
        ({"stepz": 3}, "setting 'stepz' is not known"),
        ({"prompt": "x" * 10_000}, "10000 characters"),
        ({"prompt": b"a"}, "prompt"),
        ({"prompt": [5]}, "the prompt should be text, it is 5"),
        ({"negative_prompt": [None]}, "the negative prompt should be text, it is null"),
        ({"seed": "5"}, "seed '5' is not possible; use a whole number from 0"),
        ({"seed": [1.5]}, "seed 1.5 is not possible"),
        ({"seed": 10**5000}, "seed a whole number of more than 60 digits is not possible"),
        ({"seed": -1}, "seed -1 is not possible"),
    ],
)
def test_wrong_calls_say_what_is_wrong(pipe, given, message):
    with pytest.raises(ValueError, match=message):
        pipe(picture(), **{"prompt": PROMPT, **given})


@pytest.mark.parametrize(("device", "dtype", "message"), [("cudaa", "fp32", "cudaa"), ("cpu", "fp8", "fp8")])
def test_unknown_devices_and_precisions_are_refused(folder, device, dtype, message):
    with pytest.raises(ValueError, match=message):
        DynamiCrafterPipeline.from_pretrained(folder, device=device, dtype=dtype)


def test_half_precision_keeps_the_autoencoder_out_of_fp16(folder):
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp16")
    assert pipe.runtime.model.first_stage_model.decoder.conv_in.weight.dtype == torch.float32
    assert pipe.runtime.model.model.diffusion_model.out[2].weight.dtype == torch.float16
    assert torch.isfinite(pipe(picture(), PROMPT).video).all()


def test_the_schedule_of_the_file_is_taken_on_request(folder, tmp_path, caplog):
    tensors = load_file(folder / "model.safetensors")
    own = tensors["alphas_cumprod"].clone()
    tensors["alphas_cumprod"][500] += 0.01
    save_file(tensors, tmp_path / "other.safetensors")
    pipes = {
        schedule: DynamiCrafterPipeline.from_pretrained(
            folder, tmp_path / "other.safetensors", **CPU, schedule=schedule
        )
        for schedule in ("config", "file")
    }
    assert caplog.text.count("is not that of the configuration") == 2, "a disagreement is always said"
    assert torch.equal(pipes["config"].runtime.model.alphas_cumprod, own)
    assert torch.equal(pipes["file"].runtime.model.alphas_cumprod, tensors["alphas_cumprod"])
    with pytest.raises(ValueError, match="schedule 'yaml' is not known; use one of config, file"):
        DynamiCrafterPipeline.from_pretrained(folder, **CPU, schedule="yaml")


def test_the_card_of_the_fixture_is_the_one_of_its_yaml(pipe):
    assert pipe.card.name == small_yaml()["sampling"]["name"]


def test_a_video_that_will_lose_contrast_says_so(pipe, caplog):
    with caplog.at_level(logging.WARNING, logger="lvdm"):
        pipe(picture(), PROMPT, num_inference_steps=2, timestep_spacing="uniform_trailing", fix_final_step=True)
        assert "contrast" not in caplog.text
        pipe(picture(), PROMPT, num_inference_steps=2, timestep_spacing="uniform_trailing")
    assert "70 % of its contrast" in caplog.text, "two steps end at t = 499, where the rescale is 0.7"
