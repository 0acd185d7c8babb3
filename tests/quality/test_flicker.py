"""Flicker of videos whose flicker is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvdm.quality.flicker import flicker, frame_difference, temporal_flickering


def test_a_fade_is_no_flicker_and_an_alternation_is() -> None:
    ramp = torch.linspace(-1, 1, 9)[None, :, None, None].expand(3, -1, 4, 4)
    assert flicker(ramp) == pytest.approx(0, abs=1e-4)
    assert frame_difference(ramp) == pytest.approx(255 / 8)
    assert temporal_flickering(ramp) == pytest.approx(7 / 8)
    alternating = torch.zeros(3, 6, 4, 4)
    alternating[:, 1::2] = 10 / 127.5
    assert flicker(alternating) == pytest.approx(10, rel=1e-4)
    assert temporal_flickering(alternating[:, :1]) == 1, "one frame does not flicker"


@pytest.mark.parametrize("video", [torch.zeros(1, 4, 64, 64), torch.zeros(4, 64, 64)])
def test_what_cannot_be_measured_is_refused(video: Tensor) -> None:
    with pytest.raises(ValueError, match="should be"):
        flicker(video)
