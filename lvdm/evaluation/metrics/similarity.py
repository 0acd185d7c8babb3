"""How well one video keeps to its prompt, to its image and to itself: functions of unit features of its frames.

`frames` is (t, d), `image` and `text` are (d,), of one encoder, each of unit length; everything is float64. The name of
a result says which encoder made the features, as numbers of different encoders do not compare. A still video scores the
highest value of all but the first of these: never show them without a measure of motion.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvdm.evaluation.metrics.metric import FeatureMetric

Array = NDArray[np.float64]

_UNIT = 1e-2
"""Lengths may differ from 1 by this much, as those of features in half precision do; they are then made exactly 1."""


def text_similarity(frames: ArrayLike, text: ArrayLike) -> float:
    """CLIPSIM: the mean over frames of cos(frame, prompt), from -1 to 1 (GODIVA, arXiv:2104.14806).

    About 0.26 to 0.31 for videos that fit their prompt under CLIP ViT-B/32. torchmetrics' CLIPScore is 100 times this
    where it is not negative. Raises `ValueError` for features that are not of unit length or of one encoder.
    """
    return float((_frames(frames) @ _vector(text, frames, "text")).mean())


def frame_consistency(frames: ArrayLike) -> float:
    """The mean of cos(frame, next frame), from -1 to 1, 1 for stills (Gen-1, arXiv:2302.03011; Tune-A-Video).

    Raises `ValueError` for fewer than two frames.
    """
    return float(_neighbours(_frames(frames, minimum=2)).mean())


def image_similarities(frames: ArrayLike, image: ArrayLike) -> Array:
    """(t,): cos(frame, input image) of every frame, from -1 to 1: how a video drifts from what it was made of."""
    return np.asarray((_frames(frames) @ _vector(image, frames, "image")).clip(-1, 1))


def image_similarity(frames: ArrayLike, image: ArrayLike) -> float:
    """The mean of `image_similarities`, from -1 to 1, 1 for the image repeated."""
    return float(image_similarities(frames, image).mean())


def cosine_distances(frames: ArrayLike, image: ArrayLike) -> Array:
    """(t,): 1 - cos(frame, input image), from 0 to 2. On DreamSim's embedding this is DreamSim (arXiv:2306.09344)."""
    return 1 - image_similarities(frames, image)


def perceptual_input_conformity(distances: ArrayLike) -> float:
    """PIC: the mean over frames of 1 - D(input image, frame), 1 for the image repeated (arXiv:2310.12190).

    `distances` (t,) are those of any perceptual distance, 0 or more: DreamSim in the paper, else LPIPS or
    `cosine_distances`; the name of the result says which. Raises `ValueError` for no frames and for other values.
    """
    array = np.asarray(distances, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"there should be one distance for each frame, they are of shape {array.shape}")
    if not (np.isfinite(array).all() and (array > -1e-6).all()):
        raise ValueError(f"distances of frames should be 0 or more, they are {array.tolist()}")
    return float(1 - array.mean())


def i2v_similarity(frames: ArrayLike, image: ArrayLike) -> float:
    """VBench-I2V's i2v_subject (on DINO) and i2v_background (on DreamSim), from 0 to 1, 1 for the image repeated.

    0.4 max_i cos(image, f_i) + 0.3 mean_i cos(f_i, f_i+1) + 0.3 min_i cos(f_i, f_i+1), where negative cosines count as
    0 (arXiv:2411.13503 and the suite's code of 2024). Raises `ValueError` for fewer than two frames.
    """
    to_image = image_similarities(frames, image).clip(min=0)
    to_next = _neighbours(_frames(frames, minimum=2)).clip(min=0)
    return float(0.4 * to_image.max() + 0.3 * to_next.mean() + 0.3 * to_next.min())


def consistency(frames: ArrayLike) -> float:
    """VBench's subject_consistency (on DINO) and background_consistency (on CLIP ViT-B/32), from 0 to 1, 1 for stills.

    The mean over all frames but the first of (cos to the previous frame + cos to the first frame) / 2, where negative
    cosines count as 0 (arXiv:2311.17982). Raises `ValueError` for fewer than two frames.
    """
    unit = _frames(frames, minimum=2)
    to_first = (unit[1:] @ unit[0]).clip(0, 1)
    return float((_neighbours(unit).clip(min=0) + to_first).mean() / 2)


def _neighbours(unit: Array) -> Array:
    """(t, d) -> (t - 1,): the cosines of each frame and the next."""
    return np.asarray((unit[:-1] * unit[1:]).sum(axis=1).clip(-1, 1))


def _frames(frames: ArrayLike, minimum: int = 1) -> Array:
    array = np.asarray(frames, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"features of frames should be (frames, dimensions), they are {array.shape}")
    if len(array) < minimum:
        raise ValueError(f"this is measured in videos of {minimum} frames or more, not of {len(array)}")
    return _unit(array, "frames")


def _vector(vector: ArrayLike, frames: ArrayLike, name: str) -> Array:
    array = np.asarray(vector, dtype=np.float64)
    dimensions = np.shape(frames)[-1]
    if array.shape != (dimensions,):
        raise ValueError(f"{name}: features of shape {array.shape} do not go with frames of {dimensions} dimensions")
    return _unit(array, name)


def _unit(vectors: Array, name: str) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.abs(lengths - 1) < _UNIT).all():  # NaN fails this too
        raise ValueError(f"{name}: features should be of unit length, their lengths are {lengths.ravel()[:5].tolist()}")
    return np.asarray(vectors / lengths)


CLIPSIM = FeatureMetric(
    name="CLIPSIM",
    better="higher",
    meaning="Cosine of frames and prompt, the mean over frames.",
    needs=("frames", "text"),
    measure=lambda values: text_similarity(values["frames"], values["text"]),
)
FRAME_CONSISTENCY = FeatureMetric(
    name="frame consistency",
    better="higher",
    meaning="Cosine of neighbouring frames. A still image has 1.",
    min_frames=2,
    measure=lambda values: frame_consistency(values["frames"]),
)
CONSISTENCY = FeatureMetric(
    name="consistency",
    better="higher",
    meaning="VBench's formula of nearness to the first frame and of neighbours. A still image has 1.",
    min_frames=2,
    measure=lambda values: consistency(values["frames"]),
)
IMAGE_SIMILARITY = FeatureMetric(
    name="image similarity",
    better="higher",
    meaning="Cosine of frames and input image, the mean over frames. A still image has 1.",
    needs=("frames", "image"),
    measure=lambda values: image_similarity(values["frames"], values["image"]),
)
PIC = FeatureMetric(
    name="PIC",
    better="higher",
    meaning="Perceptual input conformity: how near all frames stay to the input image. A still image has 1.",
    needs=("distances",),
    measure=lambda values: perceptual_input_conformity(values["distances"]),
)
PIC_BY_COSINE = replace(
    PIC,
    needs=("frames", "image"),
    detail="cosine",
    measure=lambda values: perceptual_input_conformity(cosine_distances(values["frames"], values["image"])),
)
I2V_SIMILARITY = FeatureMetric(
    name="i2v similarity",
    better="higher",
    meaning="VBench-I2V's formula of nearness to the input and of neighbours. A still image has 1.",
    needs=("frames", "image"),
    min_frames=2,
    measure=lambda values: i2v_similarity(values["frames"], values["image"]),
)
