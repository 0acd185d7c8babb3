"""How long videos are worked on: the windows of attention, and where what waits lies."""

from __future__ import annotations

SKIPS_AT_HOME = 4
"""Times the frames at work: beside what these take, the skips of longer videos would show, and wait elsewhere."""


def choose_offload(num_frames: int, chunk_frames: int | None, low_memory: bool, on_cpu: bool) -> str:
    """Where skips wait (`lvdm.plugins.activation_offload`): those of short videos on the device."""
    if not low_memory and num_frames <= SKIPS_AT_HOME * (chunk_frames or num_frames):
        return "device"
    return "disk" if on_cpu else "host"


def trained_window(trained_frames: int) -> tuple[int, int]:
    """Frames of an attention window, as many as the clips of the training had, and frames from one to the next."""
    return trained_frames, max(1, trained_frames // 4)
