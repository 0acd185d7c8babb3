"""Arguments and callbacks that code for diffusers brings along."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from small_model import picture, write_small_model

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.keywords import GenerationKeywords

SHARED = (
    *("prompt", "image", "negative_prompt", "height", "width", "num_frames", "num_inference_steps", "guidance_scale"),
    *("guidance_rescale", "eta", "num_videos_per_prompt", "decode_chunk_size", "generator", "output_type"),
    *("callback_on_step_end", "callback_on_step_end_tensor_inputs"),
)
"""Names of diffusers' pipelines from an image to a video that mean the same here."""
FEW = {"num_inference_steps": 2, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(
        write_small_model(tmp_path_factory.mktemp("small") / "m"), device="cpu"
    )


def make(pipe: DynamiCrafterPipeline, **given: Any) -> torch.Tensor:
    return pipe(picture(), "a red ball", **{**FEW, **given}).latents


def test_the_names_are_there() -> None:
    known = {*inspect.signature(DynamiCrafterPipeline.__call__).parameters, *GenerationKeywords.__annotations__}
    assert set(SHARED) <= known


def test_a_generator_decides_on_the_noise_and_moves_on(pipe: DynamiCrafterPipeline) -> None:
    generator = torch.Generator().manual_seed(5)
    result = pipe(picture(), "a red ball", generator=generator, **FEW)
    again = make(pipe, generator=torch.Generator().manual_seed(5))
    assert torch.equal(result.latents, again), "the same generator gives another video"
    assert torch.equal(again, make(pipe, seed=result.requests[0].seed)), "the seed in the result is another one"
    assert not torch.equal(again, make(pipe, generator=generator)), "a second call gives the same video"


def test_one_generator_for_each_image(pipe: DynamiCrafterPipeline) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    both = pipe([picture(), picture()], "a red ball", generator=generators, **FEW)
    alone = make(pipe, generator=torch.Generator().manual_seed(6))
    assert (both.latents[1:] - alone).abs().max() < 1e-4


def test_a_callback_of_diffusers_sees_and_changes_latents(pipe: DynamiCrafterPipeline) -> None:
    seen = []

    def callback(pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((pipeline is pipe, step, int(timestep), sorted(tensors)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    names = ["latents", "pred_original_sample"]
    changed = make(pipe, callback_on_step_end=callback, callback_on_step_end_tensor_inputs=names)
    assert [step for _, step, _, _ in seen] == [0, 1]
    assert all(own and given == names for own, _, _, given in seen)
    assert seen[0][2] > seen[1][2], "time steps do not fall"
    assert changed.abs().max() == 0, "what the callback gave is not taken"


def test_a_callback_that_gives_nothing_changes_nothing(pipe: DynamiCrafterPipeline) -> None:
    watched = make(pipe, callback_on_step_end=lambda *_: {}, callback_on_step_end_tensor_inputs=["latents"])
    assert torch.equal(watched, make(pipe))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator decide on the same noise"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, "give that too"),
        (
            {"callback_on_step_end": print, "callback_on_step_end_tensor_inputs": ["latent"]},
            "tensor 'latent' is not known; did you mean 'latents'?",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str, pipe: DynamiCrafterPipeline) -> None:
    with pytest.raises(ValueError, match=said):
        make(pipe, **given)
