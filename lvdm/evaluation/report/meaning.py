"""What the measures mean: which of them a chart needs, and a sentence for the reader about each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lvdm.evaluation.results import Results

_FIDELITY = ("PIC", "image similarity", "i2v similarity", "first frame PSNR")
_MOTION = ("motion", "flow magnitude")
_PROMPT = ("CLIPSIM",)

_SENTENCES: Mapping[str, str] = {
    "FVD": "Fréchet distance of I3D logits: how far the set of clips is from real ones. Small sets give large values.",
    "FD": "Fréchet distance of features: how far the set of clips is from real ones. Small sets give large values.",
    "KVD": "Kernel distance of I3D logits, without bias: about 0, and below it at times, for clips as real ones.",
    "KD": "Kernel distance of features, without bias: about 0, and below it at times, for clips as real ones.",
    "CLIPSIM": "Cosine of frames and prompt, the mean over frames.",
    "PIC": "Perceptual input conformity: how near all frames stay to the input image. A still image has 1.",
    "image similarity": "Cosine of frames and input image, the mean over frames. A still image has 1.",
    "i2v similarity": "VBench-I2V's formula of nearness to the input and of neighbours. A still image has 1.",
    "frame consistency": "Cosine of neighbouring frames. A still image has 1.",
    "consistency": "VBench's formula of nearness to the first frame and of neighbours. A still image has 1.",
    "motion": "Mean length of the optical flow, in frame diagonals per second. More is neither better nor worse.",
    "dynamic degree": "Share of clips that move clearly, by VBench's rule.",
    "temporal flickering": "VBench's temporal flickering: 1 for a still image; motion lowers it as flicker does.",
    "flicker": "Second difference in time, in grey levels: brightness that jumps from frame to frame.",
    "motion smoothness": "How well frames can be told from their neighbours. A still image has the best value.",
    "warping error": "Change that motion does not explain: frames moved along the flow against the next frames.",
    "seam ratio": "Distance from the last frame to the first over that of neighbours: about 1 for a seamless loop.",
    "flow continuity": "Whether motion goes on across the seam of a loop.",
    "first frame PSNR": "The first frame against the input image, in decibels; equal pictures count as 100.",
    "first frame SSIM": "Structural similarity of the first frame with the input image, at most 1.",
    "last frame PSNR": "The last frame against the image that the clip should end at, in decibels.",
    "PSNR": "Against the real frames between the given ones, in decibels.",
    "SSIM": "Structural similarity with the real frames between the given ones, at most 1.",
    "LPIPS": "Perceptual distance from the real frames between the given ones, 0 for equal frames.",
}


def stem(name: str) -> str:
    """A measure's name without extractor and unit: PIC of PIC[tiny-clip cosine]."""
    return name.partition("[")[0].strip()


def sentence(name: str) -> str:
    """What a measure is; "" for one that we do not know."""
    own = stem(name)
    known = [start for start in _SENTENCES if own == start or own.startswith(f"{start} ")]
    return _SENTENCES[max(known, key=len)] if known else ""


def fidelity_measure(names: Iterable[str]) -> str | None:
    """The measure that tells best how a video keeps to its image; None if none of them does."""
    return _first(names, _FIDELITY)


def motion_measure(names: Iterable[str]) -> str | None:
    """The measure of how much a video moves."""
    return _first(names, _MOTION)


def prompt_measure(names: Iterable[str]) -> str | None:
    """The measure of how a video fits its prompt."""
    return _first(names, _PROMPT)


def clip_measures(results: Results) -> list[str]:
    """The names of the measures of single clips."""
    return list(dict.fromkeys(name for video in results.videos for name in video.values))


def _first(names: Iterable[str], stems: Sequence[str]) -> str | None:
    found = list(names)
    return next((name for wanted in stems for name in found if stem(name) == wanted), None)
