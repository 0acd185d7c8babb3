"""The early warning sees whether a model listens, and the classes that it compares are what they claim to be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from motion_classes import FAMILY_OF, HELD_OUT, SPREAD, candidates, held_out_scenes, opposite
from motion_gap import load_weights, measure_gaps, scene_space

from lvdm.data.procedural import render
from lvdm.data.procedural_scene import MOTIONS, NO_SPRITE

TINY = Path(__file__).parents[1] / "checkpoints" / "tiny"
SMALL = dataclasses.replace(HELD_OUT, height=32, width=32)


def test_a_model_that_listens_has_a_gap_and_a_deaf_one_has_none() -> None:
    model = load_weights(TINY / "config.yaml", TINY / "model.safetensors")
    short = dataclasses.replace(HELD_OUT, num_frames=8)
    scenes = held_out_scenes(("left", "up"), 3, seed=0, space=short)
    gaps = measure_gaps(model, scenes, short, seed=0)
    assert [(gap.motion, gap.count) for gap in gaps] == [("left", 2), ("up", 1)]
    for gap in gaps:
        assert gap.gap > 0.1, f"the wrong caption should cost much for {gap.motion}, it costs {gap.gap:.3f}"
    for weight in model.cond_stage_model.parameters():
        weight.zero_()
    for gap in measure_gaps(model, scenes[:1], short, seed=0):
        assert gap.right == gap.wrong, "a text encoder of zeros cannot tell the captions apart"


def test_opposites_come_in_pairs_and_families_cover_all() -> None:
    assert set(FAMILY_OF) == set(SPREAD) == set(MOTIONS)
    assert len(SPREAD) == len(MOTIONS)
    assert len({FAMILY_OF[motion] for motion in SPREAD[:6]}) == 6
    for scene in held_out_scenes(MOTIONS, len(MOTIONS), seed=1):
        if scene.motion != "still":
            assert opposite(opposite(scene)) == scene
            assert FAMILY_OF[opposite(scene).motion] == FAMILY_OF[scene.motion]


def test_candidates_share_frame_0_and_nothing_later() -> None:
    for scene in held_out_scenes(("zoom in",), 3, seed=2):
        videos = render(candidates(scene), SMALL)
        assert (videos[:, :, 0] - videos[:1, :, 0]).abs().max() == 0
        kinds = {candidate.motion for candidate in candidates(scene)}
        assert ("grow" in kinds) == (scene.shape != NO_SPRITE), "a sprite grows only where there is one"


@pytest.mark.parametrize(("colors", "split"), [(["red", "blue", "pink"], "test"), (["blue"], "all")])
def test_scenes_are_those_of_the_training_but_held_out(tmp_path: Path, colors: list[str], split: str) -> None:
    params = {"height": 32, "width": 32, "motions": ["left", "up"], "colors": colors, "split": "train", "seed": 3}
    if split == "all":  # no combination of these is held out
        params |= {"shapes": ["circle"], "backgrounds": ["plain"]}
    train = {"target": "lvdm.data.procedural.ProceduralClips", "params": params}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"params": {"train": train}}}))
    space = scene_space(path, everything=False)
    assert (space.height, space.motions, space.split) == (32, ("left", "up"), split)
    assert scene_space(path, everything=True) == HELD_OUT
    assert torch.is_tensor(render(held_out_scenes(space.motions, 1, 0, space), space))
