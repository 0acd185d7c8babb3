"""The model in the box: it is whole, small, and moves things as its prompts say.

`benchmarks/embedded_quality.py` measures the same on many scenes; here a few are enough to notice that it is broken.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from embedded_generation import Settings, animate
from motion_classes import HELD_OUT, held_out_scenes, opposite
from motion_measures import direction_error
from structure_edges import HELD_OUT as STRUCTURE
from structure_edges import edge_agreement, held_out_clips
from torch import Tensor

from lvdm.checkpoint import describe
from lvdm.config import load_yaml
from lvdm.data.procedural import caption, render, render_depth
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.model_card import ModelCard
from lvdm.model_files import find_preset
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest
from lvdm.psnr import psnr
from scripts.publish_embedded import write_configurations

FOLDER = Path(__file__).parents[1] / "checkpoints" / "tiny"
SCENES = held_out_scenes(tuple(DIRECTIONS)[::2], 4, seed=1)
SETTINGS = Settings(steps=2)


@pytest.fixture(scope="module")
def pipe() -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(FOLDER, device="cpu")


def test_it_comes_with_its_configuration_its_card_and_its_training_log() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {"config.yaml", "model.safetensors", "README.md", "training.csv"} <= set(sizes)
    assert sum(sizes.values()) <= 40e6, f"{sum(sizes.values()) / 1e6:.0f} MB"


def test_small_is_the_same_weights_at_twice_the_size(tmp_path: Path) -> None:
    tiny, small = find_preset("tiny"), find_preset("small")
    assert tiny.checkpoint == small.checkpoint
    trees = [load_yaml(files.config) for files in (tiny, small)]
    assert trees[0]["model"] == trees[1]["model"]
    cards = [tree["sampling"] for tree in trees]
    assert {name for name in cards[0] if cards[0][name] != cards[1][name]} == {"name", "height", "width", "notes"}
    assert cards[1]["height"] == cards[1]["width"] == 2 * cards[0]["height"]
    write_configurations(trees[0], tmp_path)
    assert [load_yaml(tmp_path / files.config.name) for files in (tiny, small)] == trees, "publish the files again"


def test_the_card_in_its_weights_is_that_of_its_configuration() -> None:
    files = find_preset("tiny")
    stored = describe(files.checkpoint).card
    assert stored == ModelCard.from_tree(load_yaml(files.config), "tiny"), "publish the weights again"


def test_info_knows_it() -> None:
    small = describe(FOLDER / "model.safetensors", FOLDER / "small.yaml").card
    assert small is not None
    assert (small.name, small.height) == ("small", 128), "the card that the file holds goes before what is sampled by"
    info = describe(FOLDER / "model.safetensors", FOLDER / "config.yaml")
    assert info.card is not None
    assert (info.card.height, info.card.width, info.card.num_frames) == (64, 64, 16)
    assert info.card.fs_meaning == "stride"
    assert not info.missing, f"parts are missing: {info.missing}"


@pytest.fixture(scope="module")
def truth() -> list[Tensor]:
    return list(render(SCENES, HELD_OUT))


@pytest.fixture(scope="module")
def videos(pipe: DynamiCrafterPipeline, truth: list[Tensor]) -> list[Tensor]:
    return animate(pipe, truth, SCENES, [caption(scene) for scene in SCENES], SETTINGS)


def test_it_keeps_the_image_and_obeys_the_sentence(videos: list[Tensor], truth: list[Tensor]) -> None:
    first = fmean(psnr(video[:, 0], own[:, 0]) for video, own in zip(videos, truth, strict=True))
    assert first >= 23, f"frame 0 has {first:.1f} dB against the input image"
    errors = [direction_error(video, scene, HELD_OUT)[0] for video, scene in zip(videos, SCENES, strict=True)]
    right = fmean(error <= 45 for error in errors)
    assert right >= 0.75, f"only {right:.0%} of 4 sprites move within 45 degrees of the prompt"


def test_the_sentence_decides(pipe: DynamiCrafterPipeline, videos: list[Tensor], truth: list[Tensor]) -> None:
    """The same image and the same noise under the opposite sentence."""
    (other,) = animate(pipe, truth[:1], SCENES[:1], [caption(opposite(SCENES[0]))], SETTINGS)
    first, last = ((videos[0][:, i] - other[:, i]).abs().mean().item() for i in (0, -1))
    assert last > 2 * first, f"two opposite prompts end alike: they differ by {last:.3f}, at the start by {first:.3f}"


def test_the_structure_model_has_edges_where_its_depth_has_them() -> None:
    pipe = DynamiCrafterPipeline.from_pretrained("tiny-structure", device="cpu")
    scenes = held_out_clips(2, seed=1)
    depths = [depth[0, ::2] for depth in render_depth(scenes, STRUCTURE)]
    settings = pipe.settings(mode="structure", num_inference_steps=3, num_frames=8, guidance_scale=1.0)
    requests = [
        GenerationRequest(None, caption(scene), depth=depth) for scene, depth in zip(scenes, depths, strict=True)
    ]
    videos = list(pipe.generate(requests, settings).video)
    own = fmean(edge_agreement(video, depth) for video, depth in zip(videos, depths, strict=True))
    other = fmean(edge_agreement(video, depth) for video, depth in zip(videos, depths[::-1], strict=True))
    assert own > 0.75, f"edges of the depth are found with probability {own:.2f}, 0.5 is chance"
    assert own > other + 0.1, f"the depth of another clip fits as well: {other:.2f} against {own:.2f}"
