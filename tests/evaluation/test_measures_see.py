"""What each measure of single clips claims to see, it sees: worse, in pairs of the same clips, by more than chance."""

from __future__ import annotations

import pytest
import torch
from distortions import DISTORTIONS

from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.metrics.metric import MeasuredClip
from lvdm.evaluation.metrics.registry import FRAME_METRICS, higher_is_better, measure_names
from lvdm.evaluation.resampling import paired_difference
from lvdm.quality.flow import ClassicalFlow

CLIPS = 6
SPOILT = ("noise", "blur", "flicker", "jitter", "shuffle", "freeze", "temporal-blur")
CHANGES, PICTURES = ("noise", "flicker", "jitter", "shuffle"), ("noise", "blur", "flicker", "jitter", "temporal-blur")

CLAIMS = {
    "flicker[grey levels]": CHANGES,
    "temporal flickering[0..1]": CHANGES,
    "motion smoothness[flow-v1]": CHANGES,
    "warping error[flow-v1]": ("noise", "flicker"),  # of jitter and shuffling, more than these few clips tell
    "first frame PSNR[dB]": PICTURES,
    "first frame SSIM[0..1]": PICTURES,
    "motion[flow-v1, diagonals/s]": ("freeze",),
}
"""The table of docs/evaluation.md; that of `FD[stpyr-v1]` is asked for in features/test_stpyr.py."""

Numbers = dict[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    """By distortion, the numbers of the same clips that are claimed to see it; of the clips themselves under ""."""
    clips = ProceduralClips(ProceduralClipsConfig(length=CLIPS, seed=1)).__getitems__(list(range(CLIPS)))
    flow, found = ClassicalFlow(), {}
    measures = dict(zip(measure_names(flow), FRAME_METRICS, strict=True))
    for name in ("", *SPOILT):
        found[name] = []
        asked = [measured for measured, names in CLAIMS.items() if not name or name in names]
        for seed, clip in enumerate(clips):
            frames = ((clip["video"].permute(1, 2, 3, 0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            shown = DISTORTIONS[name](frames, seed=seed) if name else frames
            measured = MeasuredClip(LoadedClip(shown, fps=8.0, image=frames[0]), flow)
            found[name].append({title: measures[title].measure(measured) for title in asked})
    return found


@pytest.mark.parametrize(("measured", "distortion"), [(own, name) for own, names in CLAIMS.items() for name in names])
def test_a_measure_gets_worse_under_what_it_claims_to_see(measured: str, distortion: str, numbers: Numbers) -> None:
    spoilt, clean = ([one[measured] for one in numbers[name]] for name in (distortion, ""))
    interval = paired_difference(spoilt, clean, seed=0)
    if higher_is_better(measured) is not False:  # motion too: a frozen clip has less
        assert interval.high < 0, f"{measured} does not fall under {distortion}: {interval}"
    else:
        assert interval.low > 0, f"{measured} does not rise under {distortion}: {interval}"
