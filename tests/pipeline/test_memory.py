"""The memory plan against peaks measured on the original's networks, and against what low memory promises."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from allocator_peak import allocator_peak
from golden_vectors import GOLDEN
from safetensors.torch import save_file
from small_model import small_yaml
from tiny_models import released_tree

from lvdm.checkpoint import Part, read_shapes
from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_ENCODER, TEXT_ENCODER, UNET
from lvdm.config import load_yaml, parse_component
from lvdm.device import free_memory
from lvdm.model_outline import AutoencoderOutline, ModelOutline
from lvdm.pipeline.memory import (
    Workload,
    clip_decoder_activations,
    count_parameters,
    plan_memory,
    sampling_activations,
)
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.hooks import Samples, attached, plain_hooks
from lvdm.precision import PrecisionNames
from lvdm.training_memory.tracking import LiveMemory, module_tensors

MEASURED = json.loads((GOLDEN / "memory.json").read_text())
"""Live activations in bytes at the busiest moment, float16, 16 frames."""

MARGIN = 0.02
HALF = PrecisionNames("fp16", "fp16")
FULL = PrecisionNames("fp32", "fp32")
RELEASED = {UNET: 1_438_854_980, AUTOENCODER: 83_653_863, TEXT_ENCODER: 354_032_641, IMAGE_ENCODER: 683_800_065}
LARGEST = Workload(576, 1024, 16)


@pytest.fixture(scope="module")
def config() -> ModelOutline:
    return ModelOutline.of(parse_component(released_tree("configs/inference_1024_v1.0.yaml"), "1024").params)


def assert_near(actual: int, expected: int, what: str) -> None:
    error = actual / expected - 1
    assert abs(error) <= MARGIN, f"{what}: {actual} bytes, measured {expected} ({error:+.1%})"


@pytest.mark.parametrize(("height", "width"), [(256, 256), (320, 512), (576, 1024)])
def test_the_plan_is_what_was_measured(config: ModelOutline, height: int, width: int) -> None:
    for branches in (1, 2):
        plan = plan_memory(config, {}, Workload(height, width, 16, 1, branches), HALF)
        measured = MEASURED[f"unet {height}x{width} flash batch{branches}"]
        assert_near(plan.sampling, measured, f"sampling with {branches} branches at {height}x{width}")
    for frames in (1, 16):
        plan = plan_memory(config, {}, Workload(height, width, 16, decode_chunk=frames), HALF)
        measured = MEASURED[f"vae {height}x{width} {frames} frames"]
        assert_near(plan.decoding, measured["decode"], f"decoding {frames} frames at {height}x{width}")
        assert plan.decoding * (1 + MARGIN) > measured["encode"], "encoding, which is not planned, takes more"


def test_a_plan_grows_with_what_is_asked_for(config: ModelOutline) -> None:
    plan = plan_memory(config, RELEASED, LARGEST, FULL)
    assert plan.weights == 4 * sum(RELEASED.values())
    assert plan.total == plan.weights + max(plan.sampling, plan.decoding)
    for change in ({"batch": 2}, {"num_frames": 32}, {"branches": 3}):
        larger = plan_memory(config, RELEASED, dataclasses.replace(LARGEST, **change), FULL)
        assert larger.sampling > plan.sampling, f"{change} takes no more"
    tiled = plan_memory(config, RELEASED, dataclasses.replace(LARGEST, vae_tile=16), FULL)
    assert tiled.decoding < 0.4 * plan.decoding, "tiles save too little"
    assert plan_memory(config, RELEASED, dataclasses.replace(LARGEST, vae_tile=128), FULL).decoding == plan.decoding
    assert plan_memory(config, RELEASED, LARGEST, HALF).total * 2 == plan.total


def test_low_memory_holds_one_part_at_a_time(config: ModelOutline) -> None:
    plan = plan_memory(config, RELEASED, LARGEST, HALF, low_memory=True, moves_parts=True)
    one = plan_memory(config, {}, dataclasses.replace(LARGEST, branches=1, decode_chunk=1), HALF)
    assert plan.sampling == 2 * RELEASED[UNET] + one.sampling
    assert plan.decoding == 2 * RELEASED[AUTOENCODER] + one.decoding
    on_cpu = plan_memory(config, RELEASED, LARGEST, HALF, low_memory=True)
    assert on_cpu.total == 2 * sum(RELEASED.values()) + max(one.sampling, one.decoding)


def test_late_weights_are_a_second_network_unless_parts_are_moved(config: ModelOutline) -> None:
    late = dataclasses.replace(LARGEST, second_stage_unet=True)
    plans = [plan_memory(config, RELEASED, workload, HALF) for workload in (LARGEST, late)]
    assert plans[1].weights - plans[0].weights == 2 * RELEASED[UNET]
    assert plans[1].sampling == plans[0].sampling
    moved = [plan_memory(config, RELEASED, w, HALF, low_memory=True, moves_parts=True) for w in (LARGEST, late)]
    assert moved[0] == moved[1], "the one that is not at work waits elsewhere"


def test_weights_are_counted_without_building_the_model(tmp_path) -> None:
    model = parse_component(small_yaml()["model"], "small").build()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "a.safetensors")
    counts = count_parameters(read_shapes(tmp_path / "a.safetensors"))
    for part, module in {UNET: model.unet, AUTOENCODER: model.first_stage_model, IMAGE_ENCODER: model.embedder}.items():
        assert counts[part] == sum(p.numel() for p in module.parameters()), f"{part.name}: {counts[part]}"
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters()), "the schedule is not a weight"


def test_parts_that_a_file_lacks_come_from_the_other(tmp_path) -> None:
    unet, tower = "model.diffusion_model.a", "embedder.model.b"
    save_file({unet: torch.zeros(3, 2)}, tmp_path / "pruned.safetensors")
    save_file({unet: torch.zeros(9), tower: torch.zeros(5)}, tmp_path / "full.safetensors")
    files = [read_shapes(tmp_path / f"{name}.safetensors") for name in ("pruned", "full")]
    expected: dict[Part, int] = {UNET: 6, IMAGE_ENCODER: 5}
    assert count_parameters(*files) == expected


def test_free_memory_of_the_cpu_is_plausible() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or 2**24 < free < 2**50, f"{free} bytes"


@pytest.mark.parametrize(("frames", "side", "offload"), [(32, 16, "device"), (256, 8, "device"), (64, 16, "disk")])
def test_the_network_in_pieces_takes_what_the_plan_says(frames, side, offload) -> None:
    network = parse_component(small_yaml()["model"], "small").build().unet.eval()
    workload = Workload(4 * side, 4 * side, frames, branches=2, chunk_frames=16, skips_elsewhere=offload == "disk")
    planned = 4 * sampling_activations(network.config, workload, side * side)
    x, context = torch.randn(2, 8, frames, side, side), torch.randn(2, 16 + 2 * frames, 32)
    samples = Samples((1,), (0,))
    hooks = attached([Chunked(16, offload)], network, plain_hooks(samples, None), samples)
    with torch.inference_mode(), hooks.layers.active():
        measured = allocator_peak(lambda: network(x, torch.tensor([5, 5]), context))
    assert 0.7 * measured <= planned <= 1.4 * measured, f"planned {planned}, measured {measured}"


def test_a_decoder_of_whole_clips_takes_what_the_plan_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its operations counted on the meta device, whose attention is not fused as it is elsewhere."""
    fused = "lvdm.modules.networks.{}.F.scaled_dot_product_attention"
    for name in ("ae_modules", "dual_reference"):
        monkeypatch.setattr(fused.format(name), lambda q, k, v: torch.empty_like(q))
    tree = load_yaml("configs/inference_tooncrafter_512_v1.0.yaml")["model"]["params"]["first_stage_config"]
    networks = parse_component(tree, "toon")
    outline = AutoencoderOutline(8, networks.params.ddconfig.widths, whole_clips=True)
    for frames in (8, 16):
        planned = 4 * clip_decoder_activations(outline, Workload(320, 512, frames))
        with torch.device("meta"):
            decoder, latents, ends = networks.build(), torch.empty(1, 4, frames, 40, 64), torch.empty(1, 3, 2, 320, 512)
            with torch.no_grad(), LiveMemory(module_tensors(decoder)) as memory:
                decoder.decode_clips(latents, decoder.references(ends))
        assert_near(planned, memory.peak, f"decoding {frames} frames together")
