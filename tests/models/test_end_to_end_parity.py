"""From images and prompts to frames against the original, with its random numbers."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import assert_close, case, image_tensor, rand
from tiny_models import shared_reference_model

from lvdm.conditioning import Conditioning, interpolation, loop, repeat_frame
from lvdm.diffusion.guidance import classifier_free_guidance, text_image_guidance
from lvdm.diffusion.samplers import SAMPLERS
from lvdm.diffusion.timesteps import make_timesteps

CASES = ["e2e_256_i2v", "e2e_512_i2v", "e2e_512_interp", "e2e_512_loop", "e2e_512_multicond"]
ONE_BY_ONE = {"e2e_256_i2v", "e2e_512_multicond"}  # two branches and three


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_end_to_end(name: str) -> None:
    """Branches of guidance in one batch, in `ONE_BY_ONE` also alone; what is decoded are the latents of one batch."""
    reference = case(name)
    meta, frames = reference.meta, reference.meta["T"]
    model = shared_reference_model(meta["style"])
    height, width = meta["hw"]
    noise_name = f"golden/{name}/noise/"
    images = [image_tensor(f"golden/{name}/img{k + 1}", height, width) for k in range(len(meta["images"]))]
    latent_shape = (1, 4, height // 8, width // 8)

    def encode(image: torch.Tensor, draw: int) -> torch.Tensor:
        if meta["perframe_ae"]:
            noise = rand(f"{noise_name}vae/{draw}", latent_shape)
        else:
            noise = rand(f"{noise_name}vae/0", (frames, *latent_shape[1:]))[draw : draw + 1]
        return model.encode_first_stage(image[:, :, None], noise[:, :, None])[:, :, 0]

    if meta["mode"] == "i2v":
        # The original encodes the repeated image once for every frame, each with its own noise, and keeps the first.
        concat = repeat_frame(encode(images[0], 0), frames)
    elif meta["mode"] == "interp":
        concat = interpolation(encode(images[0], 0), encode(images[1], frames - 1), frames)
    else:
        concat = interpolation(encode(images[0], 0), encode(images[0], frames - 1), frames)
    assert_close(reference, "c_concat", concat)

    null = model.embed_image(torch.zeros_like(images[0]))
    cond = Conditioning(
        model.embed_text(meta["prompts"]), model.embed_image(images[0]), concat, torch.tensor([meta["fs"]])
    )
    null_text = model.embed_text([""])
    uncond = cond.with_text(null_text).with_image(null)
    assert_close(reference, "c_crossattn", cond.context)
    assert_close(reference, "uc_crossattn", uncond.context)

    for batched in (False, True) if name in ONE_BY_ONE else (True,):
        if meta["multi"]:
            branches = model.branches([cond, uncond, cond.with_text(null_text)], batched)
            guided = text_image_guidance(branches, meta["cfg"], meta["cfg_img"], meta["guidance_rescale"])
        else:
            branches = model.branches([cond, uncond], batched)
            guided = classifier_free_guidance(branches, meta["cfg"], meta["guidance_rescale"])
        latents = SAMPLERS["ddim"](
            guided,
            reference.inputs["x_T"],
            model.schedule,
            make_timesteps(meta["spacing"], meta["steps"]),
            eta=meta["eta"],
            step_noise=lambda i, shape: rand(f"{noise_name}ddim/{i}", tuple(shape)),
        )
        assert_close(reference, "latents", latents)
    assert_close(reference, "frames", model.decode_first_stage(latents)[:, None])


@torch.no_grad()
def test_a_loop_gives_the_same_latent_twice() -> None:
    latent = rand("loop", (1, 4, 8, 8))
    concat = loop(latent, 4)
    assert torch.equal(concat[:, :, 0], concat[:, :, -1])
    assert concat[:, :, 1:-1].abs().max() == 0


@pytest.mark.parametrize("chunk", [1, 2, 3])
@torch.no_grad()
def test_decoding_in_chunks_is_equal_to_the_bit(chunk: int) -> None:
    model = shared_reference_model("512")
    latents = rand("chunks", (1, 4, 4, 6, 5))
    assert torch.equal(model.decode_first_stage(latents, chunk), model.decode_first_stage(latents))
