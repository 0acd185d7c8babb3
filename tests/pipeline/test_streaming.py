"""A video whose frames are handed on as they are decoded is the video."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_model import FRAMES, picture, write_small_model
from torch import Tensor

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.choosing import choose_offload
from lvdm.quality.generated import StreamAssessment, assess_videos

LONG = 2 * FRAMES + 1
PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


class Taken:
    """What a consumer of frames was given, and how many frames were decoded by then."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def __call__(self, parts: Iterator[Tensor]) -> None:
        self.parts += [part.clone() for part in parts]

    @property
    def video(self) -> Tensor:
        return torch.cat(self.parts, dim=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"vae_tile": 8, "height": 64, "width": 64, "decode_chunk_size": 1},
        {"num_frames": LONG, "anchor": "exact", "color_lock": 0.5, "decode_chunk_size": 2},
        {"anchor": "exact", "loop": True},
        {"height": 30, "width": 44, "decode_chunk_size": 3},
    ],
    ids=str,
)
def test_frames_handed_on_are_those_of_the_whole_video(pipe, settings) -> None:
    taken = Taken()
    streamed = pipe(picture(), PROMPT, frames_to=taken, **settings)
    whole = pipe(picture(), PROMPT, **settings)
    assert torch.equal(taken.video, whole.video[0]), "streaming changed the frames"
    assert streamed.first_frame_psnr == whole.first_frame_psnr
    assert streamed.video.shape[2] == 0, "the result still holds the video"
    both_ends = settings.get("loop") and settings["anchor"] == "exact"
    chunk = settings.get("decode_chunk_size", 4)
    assert max(part.shape[1] for part in taken.parts) <= (FRAMES if both_ends else chunk)


def test_no_frame_is_decoded_before_it_is_asked_for(pipe) -> None:
    decoded: list[int] = []

    def look(parts: Iterator[Tensor]) -> None:
        for number, _ in enumerate(parts):
            assert decoded[-1] <= number + 1, "frames are decoded ahead"

    def note(progress) -> None:
        if progress.stage == "decode":
            decoded.append(progress.done)

    pipe(picture(), PROMPT, num_frames=LONG, decode_chunk_size=1, frames_to=look, on_progress=note)
    assert decoded[-1] == LONG


def test_one_video_at_a_time(pipe) -> None:
    with pytest.raises(ValueError, match="frames_to takes the frames of one video; 2 were asked for"):
        pipe([picture()] * 2, PROMPT, frames_to=Taken())


def test_measures_of_a_stream_are_those_of_the_video(pipe) -> None:
    result = pipe(picture(), PROMPT, num_frames=LONG)
    assessment = StreamAssessment(pipe, result.requests[0], LONG, 8)
    parts = list(assessment.watch(result.video[0].split(2, dim=1)))
    assert torch.equal(torch.cat(parts, dim=1), result.video[0])
    (whole,) = assess_videos(pipe, result, 8)
    streamed = assessment.report(result.first_frame_psnr[0])
    assert whole.prompt_agreement is not None
    for name, value in whole.as_dict().items():
        expected = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
        assert streamed.as_dict()[name] == expected, name


def test_skips_of_long_videos_wait_elsewhere_and_change_no_bit(pipe, monkeypatch) -> None:
    assert choose_offload(16, None, False, True) == "device", "a short video takes no detour"
    assert choose_offload(64, 16, False, True) == "device"
    assert (choose_offload(65, 16, False, True), choose_offload(65, 16, False, False)) == ("disk", "host")
    assert choose_offload(17, 16, True, False) == "host", "low memory always moves them"
    at_home = pipe(picture(), PROMPT, num_frames=LONG).latents
    monkeypatch.setattr("lvdm.plugins.choosing.SKIPS_AT_HOME", 1)
    assert torch.equal(pipe(picture(), PROMPT, num_frames=LONG).latents, at_home)
