"""How much a video changes and flickers from frame to frame: pure functions of pixels.

A video that does not move keeps its first frame perfectly, so that fidelity says little without motion beside it.
"""

from __future__ import annotations

from torch import Tensor


def frame_difference(video: Tensor) -> float:
    """Mean absolute difference of neighbouring frames in grey levels (0 to 255); video (3, t, H, W) in [-1, 1]."""
    levels = _levels(video)
    if levels.shape[1] < 2:
        return 0.0
    return levels.diff(dim=1).abs().mean().item()


def temporal_flickering(video: Tensor) -> float:
    """VBench's temporal flickering (arXiv:2311.17982): (255 - mean |f_i - f_i+1|) / 255, 1 for a still video.

    It does not separate motion from flicker: read it together with `motion`, or see `flicker`.
    """
    return (255.0 - frame_difference(video)) / 255.0


def flicker(video: Tensor) -> float:
    """Mean absolute second difference in time, |f_i-1 - 2 f_i + f_i+1| / 2, in grey levels; video (3, t, H, W).

    0 for stills and for brightness that changes evenly; a for grey levels that alternate by a from frame to frame.
    """
    differences = second_differences(video)
    return differences.mean().item() if differences.numel() else 0.0


def second_differences(video: Tensor) -> Tensor:
    """|f_i-1 - 2 f_i + f_i+1| / 2 of all pixels, in grey levels: (3, t, H, W) -> (3, max(t - 2, 0), H, W)."""
    levels = _levels(video)
    return levels.diff(n=2, dim=1).abs() / 2 if levels.shape[1] > 2 else levels[:, :0]


def _levels(video: Tensor) -> Tensor:
    """(3, t, H, W) in [-1, 1] as grey levels from 0 to 255, in float32."""
    if video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"a video should be (3, t, H, W), it is {tuple(video.shape)}")
    return (video.float().clamp(-1, 1) + 1) * 127.5
