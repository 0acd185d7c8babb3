"""The depth of procedural clips: what is before what, in the place where the clip shows it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import pytest
import torch
from structure_edges import depth_edges, edge_agreement

from lvdm.data import procedural_images
from lvdm.data.procedural import (
    ProceduralClips,
    ProceduralClipsConfig,
    ProceduralConfig,
    Scene,
    render,
    render_depth,
    render_mask,
    sample_scene,
)
from lvdm.data.procedural_depth import NEAREST_LEAF, NEAREST_PLANE
from lvdm.data.procedural_scene import NO_SPRITE

CONFIG = ProceduralConfig(num_frames=4)


def scene(**changes: object) -> Scene:
    fixed = {"background": "plain", "motion": "pan right", "shape": "star", "frame_stride": 3, "speed": "quickly"}
    return dataclasses.replace(sample_scene(CONFIG, 3), **{**fixed, **changes})


def test_the_sprite_is_before_the_background() -> None:
    scenes = [scene()]
    depth, mask = render_depth(scenes, CONFIG)[0, 0], render_mask(scenes, CONFIG)[0]
    assert depth.shape == mask.shape == (4, 64, 64)
    assert torch.allclose(depth[mask == 1], torch.tensor(1.0))
    behind = depth[mask == 0]
    assert behind.min() >= 0
    assert behind.max() <= NEAREST_PLANE
    assert behind.max() - behind.min() > 0.1, "the background has a depth of its own"


@pytest.fixture
def small_collages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of the real size take seconds."""
    cached = procedural_images._leaves, procedural_images.leaf_depth, procedural_images.image_atlas
    for name, value in (("IMAGE_SIZE", 128), ("NUM_LEAVES", 300), ("MAX_LEAF", 20.0)):
        monkeypatch.setattr(procedural_images, name, value)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("small_collages")
def test_the_camera_moves_the_depth_and_a_leaf_covers_those_below_it() -> None:
    scenes = [scene(background="collage", shape=NO_SPRITE, background_contrast=1.2)]
    video, depth = render(scenes, CONFIG)[0], render_depth(scenes, CONFIG)[0, 0]
    assert 0 <= depth.min() < 0.2 * NEAREST_LEAF
    assert 0.7 * NEAREST_LEAF < depth.max() <= NEAREST_LEAF
    assert (depth[-1] - depth[0]).abs().mean() > 0.03
    assert edge_agreement(video, depth) > 0.8, "edges of the leaves are edges of their depth"
    assert edge_agreement(video[:, -1:], depth[:1]) < edge_agreement(video[:, -1:], depth[-1:]) - 0.1
    assert not depth_edges(render_depth([scene(shape=NO_SPRITE)], CONFIG)[0, 0]).any(), "a plane has no edges"


def test_edges_of_noise_are_at_chance() -> None:
    scenes = [scene()]
    depth = render_depth(scenes, CONFIG)[0, 0]
    noise = torch.randn(3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert edge_agreement(render(scenes, CONFIG)[0], depth) > 0.95
    assert abs(edge_agreement(noise, depth) - 0.5) < 0.05
    assert edge_agreement(torch.zeros(3, 4, 64, 64), depth) == 0.5


def test_clips_hold_the_depth_when_it_is_asked_for() -> None:
    config = ProceduralClipsConfig(height=16, width=24, num_frames=2, length=3, depth=True, backgrounds=("plain",))
    clips = ProceduralClips(config)
    together = clips.clips([0, 2], [random.Random(0)] * 2)
    assert together[1]["depth"].shape == (1, 2, 16, 24)
    assert torch.equal(together[1]["depth"], clips[2]["depth"])
    assert "depth" not in ProceduralClips(dataclasses.replace(config, depth=False))[0]
