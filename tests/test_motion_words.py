"""The motion network of a carrier learns the motion law from captions alone."""

from __future__ import annotations

import argparse

import pytest
import torch

from lvdm.data.procedural import ProceduralConfig
from lvdm.data.procedural_scene import GROWTH, PROGRESS_PER_FRAME, TRAVEL, TURN
from lvdm.modules.carrier import PROGRESS, FrameCarrierConfig, MotionNet
from scripts.fit_motion_words import _targets, errors, fit, scenes_of

MOTIONS = ("right", "clockwise", "zoom out")
SPACE = ProceduralConfig(num_frames=4, motions=MOTIONS, speeds=("normal",))
UNIT = PROGRESS_PER_FRAME / PROGRESS
"""Progress of the motion law in one unit of the carrier's."""


def test_targets_are_the_motion_law_in_the_carriers_unit() -> None:
    scenes = scenes_of(SPACE, 30, "targets")
    targets, strides = _targets(scenes, SPACE)
    assert targets.shape == (2, 30, 4, 2, 3)
    for scene, (camera, thing), stride in zip(scenes, targets.transpose(0, 1), strides, strict=True):
        assert stride == scene.frame_stride
        camera_law, thing_law = torch.zeros(2, 3), torch.zeros(2, 3)
        if scene.motion == "right":
            thing_law[0, 2] = -TRAVEL * UNIT
        elif scene.motion == "clockwise":
            thing_law[0, 1], thing_law[1, 0] = TURN * UNIT, -TURN * UNIT
        else:
            camera_law[0, 0] = camera_law[1, 1] = GROWTH * UNIT
        torch.testing.assert_close(camera, camera_law.expand(4, 2, 3))
        torch.testing.assert_close(thing, thing_law.expand(4, 2, 3))


def test_a_motion_that_returns_has_a_target_for_every_frame() -> None:
    scenes = scenes_of(ProceduralConfig(num_frames=5, motions=("right",), return_probability=1.0), 4, "returns")
    targets, _ = _targets(scenes, ProceduralConfig(num_frames=5))
    shift = targets[1, 0, :, 0, 2]
    assert shift[4].item() == pytest.approx(0.0, abs=1e-6), "the last frame is the first"
    assert (shift[1:4] < 0).all()


def test_fitting_brings_the_errors_down() -> None:
    torch.manual_seed(0)
    motion = MotionNet(FrameCarrierConfig(text_dim=16, hidden=32))
    words = torch.randn(len(MOTIONS), 6, 16)
    train, test = scenes_of(SPACE, 200, "train"), scenes_of(SPACE, 40, "test")
    text, other = (torch.stack([words[MOTIONS.index(s.motion)] for s in some]) for some in (train, test))
    before = errors(motion, other, test, SPACE)
    fit(motion, text, train, SPACE, argparse.Namespace(learning_rate=3e-3, steps=150, batch_size=16, seed=0))
    after = errors(motion, other, test, SPACE)
    assert list(after) == sorted(MOTIONS)
    assert all(after[name] < 0.2 * before[name] for name in MOTIONS), f"{before} to {after}"
    assert not any(parameter.requires_grad for parameter in motion.parameters())
