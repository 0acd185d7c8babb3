"""Pictures at any frames of a video."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.media.images import fit_image
from lvdm.pipeline import DynamiCrafterPipeline

PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def test_a_picture_at_the_last_frame_is_interpolation(pipe) -> None:
    between = pipe(picture(), PROMPT, end_image=picture(seed=1))
    keyed = pipe(picture(), PROMPT, keyframes={FRAMES - 1: picture(seed=1)})
    assert torch.equal(keyed.video, between.video), "the same two pictures should give the same video to the bit"


def test_the_network_is_shown_each_picture_at_its_frame_and_nothing_between(pipe, monkeypatch) -> None:
    seen = []
    conditions = type(pipe.runtime).conditions

    def record(runtime, *args):
        seen.append(conditions(runtime, *args)[0].concat)
        return conditions(runtime, *args)

    monkeypatch.setattr(type(pipe.runtime), "conditions", record)
    pipe(picture(), PROMPT, keyframes={7: picture(seed=2), 3: picture(seed=1)}, num_frames=9)
    pipe(picture(), PROMPT, keyframes={7: picture(seed=3), 3: picture(seed=1)}, num_frames=9)
    first, second = seen
    shown = first.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert shown.nonzero().flatten().tolist() == [0, 3, 7]
    changed = (first - second).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert changed.nonzero().flatten().tolist() == [7], "another picture of frame 7 should change frame 7 alone"


def test_every_key_frame_is_exact_if_asked(pipe) -> None:
    pictures = {2: picture(seed=1), 5: picture(seed=2)}
    video = pipe(picture(), PROMPT, keyframes=pictures, num_frames=7, anchor="exact").video[0]
    for frame, source in {0: picture(), **pictures}.items():
        assert torch.equal(video[:, frame], fit_image(source, SIDE, SIDE)), f"frame {frame} is not its picture"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keyframes": {0: picture()}}, "key frame 0 is not among frames 1 to"),
        ({"keyframes": {FRAMES: picture()}}, f"key frame {FRAMES} is not among frames 1 to {FRAMES - 1}"),
        ({"keyframes": {1: picture()}, "loop": True}, "give these alone"),
        ({"keyframes": {1: picture()}, "end_image": picture()}, "give these alone"),
        ({"keyframes": {1: picture()}, "camera": "hold"}, "leave out camera"),
        (
            {"keyframes": {1: picture()}, "keep_mask": torch.ones(SIDE, SIDE)},
            "leave out keep_mask, or the other",
        ),
    ],
)
def test_key_frames_that_make_no_sense_are_refused(pipe, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(picture(), PROMPT, **given)


def test_a_checkpoint_for_one_image_shows_no_others(pipe) -> None:
    only_i2v = DynamiCrafterPipeline(pipe.runtime, replace(pipe.card, capabilities=("i2v",)), pipe.files)
    with pytest.raises(ValueError, match="animates one image and cannot show key frames"):
        only_i2v(picture(), PROMPT, keyframes={1: picture()})
