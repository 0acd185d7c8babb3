"""diffusers loads the folder, moves and casts its components and takes its own schedulers; the videos stay the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_model import picture, small_yaml, write_model

from lvdm.checkpoint.converting import convert_to_diffusers
from lvdm.pipeline import DynamiCrafterPipeline

diffusers = pytest.importorskip("diffusers")
ROUNDING = 1e-4
"""Largest difference of pixels in [-1, 1]: another order of the same sums."""
STEPS = 2


def make(pipe: Any, **given: Any) -> Any:
    arguments = {"output_type": "pt", "seed": 5, "num_inference_steps": STEPS, **given}
    return pipe(picture(), "a red ball", **arguments)


def write(folder: Path, **params: Any) -> Path:
    """A small model and the folder of it."""
    tree = small_yaml()
    tree["model"]["params"] |= params
    source = write_model(folder / "model", tree)
    convert_to_diffusers(source / "model.safetensors", folder / "folder", source / "config.yaml")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rescaled"))


@pytest.fixture(scope="module")
def plain_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dynamic rescale, which diffusers does not know."""
    return write(tmp_path_factory.mktemp("plain"), use_dynamic_rescale=False)


@pytest.fixture(scope="module")
def ours(place: Path) -> torch.Tensor:
    return make(DynamiCrafterPipeline.from_pretrained(place / "model", device="cpu")).video


def load(place: Path) -> Any:
    from lvdm.diffusers_pipeline.pipeline import DynamiCrafterDiffusionPipeline

    pipe = DynamiCrafterDiffusionPipeline.from_pretrained(place / "folder")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def rescaled(place: Path) -> Any:
    return load(place)


@pytest.fixture(scope="module")
def plain(plain_place: Path) -> Any:
    return load(plain_place)


def assert_same(video: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert (video - expected).abs().max() < ROUNDING, f"{what} makes another video"


def test_diffusers_finds_the_pipeline_by_itself(
    place: Path, ours: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the file of the folder that names our class; its code is only run where that is allowed."""
    for name in [name for name in sys.modules if name.startswith("lvdm.diffusers_pipeline")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DiffusionPipeline.from_pretrained(place / "folder")
    pipe = diffusers.DiffusionPipeline.from_pretrained(place / "folder", trust_remote_code=True)
    assert_same(make(pipe).frames, ours, "the pipeline of diffusers")
    assert type(pipe.vae) is diffusers.AutoencoderKL
    pipe.save_pretrained(tmp_path / "saved")
    again = DynamiCrafterPipeline.from_pretrained(tmp_path / "saved", device="cpu")
    assert torch.equal(make(again).video, ours), "what diffusers saved is another model"
    assert (tmp_path / "saved" / "pipeline.py").read_text() == (place / "folder" / "pipeline.py").read_text()


@pytest.mark.slow
def test_a_process_that_imported_nothing_of_ours(place: Path) -> None:
    program = (
        "import sys, diffusers; assert not any(name.startswith('lvdm') for name in sys.modules); "
        f"pipe = diffusers.DiffusionPipeline.from_pretrained({str(place / 'folder')!r}, trust_remote_code=True); "
        "print(type(pipe).__module__)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == "lvdm.diffusers_pipeline.pipeline"


def test_the_autoencoder_of_diffusers_gives_the_same_frames(place: Path) -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(place / "folder", subfolder="vae")
    own = DynamiCrafterPipeline.from_pretrained(place / "model", device="cpu").runtime.model.first_stage_model
    generator = torch.Generator().manual_seed(0)
    image, latents = torch.randn(2, 3, 24, 32, generator=generator), torch.randn(2, 4, 6, 8, generator=generator)
    with torch.no_grad():
        assert_same(vae.decode(latents).sample, own.decode(latents), "its decoder")
        assert_same(vae.encode(image).latent_dist.mean, own.encode(image).mean, "its encoder")


def test_components_are_moved_and_cast(place: Path, ours: torch.Tensor, tmp_path: Path) -> None:
    """On a CPU what moves is there all along, except from disk and meta: a weight that no hook fetched is garbage."""
    from accelerate import cpu_offload

    from lvdm.errors import UserError

    whole, groups, layers, cast = (load(place) for _ in range(4))
    whole.enable_model_cpu_offload(device="cpu")
    assert_same(make(whole).frames, ours, "model offload")
    groups.enable_group_offload("cpu", offload_to_disk_path=str(tmp_path))
    assert_same(make(groups).frames, ours, "group offload")
    assert_same(make(groups).frames, ours, "group offload, the second time")
    with pytest.raises(UserError, match="offload_type should be leaf_level"):
        groups.enable_group_offload("cpu", offload_type="block_level", num_blocks_per_group=1)
    for component in (layers.unet, layers.vae):
        cpu_offload(component, torch.device("cpu"))
    assert layers.unet.device.type == "meta", "nothing is offloaded"
    assert_same(make(layers).frames, ours, "sequential offload")
    cast.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    cast.vae.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    distance = (make(cast).frames - ours).abs().mean()
    assert 0 < distance < 0.2, f"weights of 8 bits are {distance} away"
    with pytest.raises(UserError, match="cannot be cast layer by layer; cast the unet"):
        cast.text_encoder.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)


def test_callbacks_are_those_of_diffusers(rescaled: Any) -> None:
    pipe, seen = rescaled, []

    def callback(pipeline: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((pipeline is pipe, step, sorted(tensors)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    result = make(pipe, callback_on_step_end=callback, output_type="pil")
    assert seen == [(True, step, ["latents"]) for step in range(STEPS)]
    assert result.latents.abs().max() == 0, "what the callback gave is not taken"
    assert len(result.frames[0]) == 4
    assert result.frames[0][0].size == (32, 32)


@pytest.mark.parametrize(
    ("theirs", "given", "tolerance"),
    [
        ("DDIMScheduler", {"eta": 0.0}, 1e-4),
        ("DDIMScheduler", {"eta": 0.5}, 1e-4),
        ("DPMSolverMultistepScheduler", {"sampler": "dpm++"}, 0.05),
        ("UniPCMultistepScheduler", {"sampler": "unipc"}, 0.05),
    ],
)
def test_schedulers_of_diffusers_take_the_place_of_ours(
    plain: Any, monkeypatch: pytest.MonkeyPatch, theirs: str, given: dict[str, Any], tolerance: float
) -> None:
    """DDIM is the same formula; the solvers treat both ends in ways of their own, and come near."""
    options = {"num_inference_steps": 10, "fix_final_step": False, "guidance_scale": 1.0}
    expected = make(plain, **options, **given).latents
    monkeypatch.setattr(plain, "scheduler", getattr(diffusers, theirs).from_config(plain.scheduler.config))
    given = {name: value for name, value in given.items() if name == "eta"}
    distance = ((make(plain, **options, **given).latents - expected).norm() / expected.norm()).item()
    assert distance < tolerance, f"{theirs} is {distance} away"


def test_schedulers_that_do_not_fit_are_refused(rescaled: Any, plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lvdm.errors import UserError

    monkeypatch.setattr(rescaled, "scheduler", diffusers.DDIMScheduler.from_config(rescaled.scheduler.config))
    with pytest.raises(UserError, match="DDIMScheduler knows no dynamic rescale"):
        make(rescaled)
    config = plain.scheduler.config
    for scheduler, said in (
        (diffusers.DDIMScheduler(), "is for epsilon and the model predicts v_prediction"),
        (diffusers.DDIMScheduler(prediction_type="v_prediction"), "another noise schedule than the model"),
        (diffusers.EulerDiscreteScheduler.from_config(config), "scales its latents in another way"),
    ):
        monkeypatch.setattr(plain, "scheduler", scheduler)
        with pytest.raises(UserError, match=said):
            make(plain)
    monkeypatch.setattr(plain, "scheduler", diffusers.UniPCMultistepScheduler.from_config(config))
    with pytest.raises(UserError, match="takes no eta"):
        make(plain, eta=0.5)
    with pytest.raises(UserError, match="keeps no region as it is"):
        make(plain, anchor="soft")
    with pytest.raises(UserError, match="begins or samples in a way of its own"):
        make(plain, num_frames=8, long_video="freenoise")
