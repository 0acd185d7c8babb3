"""Frames of HDR video (PQ, HLG) as a player shows them on an ordinary screen.

Their values stand for light of up to 10,000 cd/m2 in the colours of BT.2020. Taken for ordinary ones, as FFmpeg does,
they look grey and flat. Here reference white (203 cd/m2, BT.2408) becomes white; what is brighter is compressed in the
upper part of the scale (BT.2390), so that lights keep their shape; colours are those of BT.709.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Transfer = Literal["PQ", "HLG"]
Floats = NDArray[np.float32]

TRANSFERS: dict[int, Transfer] = {16: "PQ", 18: "HLG"}
"""By the code of transfer characteristics (ITU-T H.273, table 3)."""

WHITE = 203.0
"""cd/m2 of reference white (BT.2408-7, 2.1)."""
PEAK = 1000.0
"""cd/m2 of the brightest light: HLG's nominal peak (BT.2100-2, table 5), and that of most PQ material."""

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""Of PQ (BT.2100-2, table 4)."""
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
"""Of HLG (BT.2100-2, table 5)."""
_HLG_GAMMA = 1.2
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
"""Of BT.2020's primaries (BT.2020-2, table 4)."""
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
"""Linear BT.2020 to linear BT.709 (BT.2087-0, 2.2)."""


def on_ordinary_screen(pixels: np.ndarray, transfer: Transfer) -> NDArray[np.uint8]:
    """uint8 sRGB (H, W, 3) of full-range uint16 RGB (H, W, 3) in BT.2020 with the transfer function `transfer`."""
    light = _light_of(transfer)[pixels]  # (H, W, 3), cd/m2; of HLG in the scene, 0 to 1
    if transfer == "HLG":
        light = PEAK * light * np.maximum(light @ _LUMINANCE, 1e-6)[..., None] ** (_HLG_GAMMA - 1)
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    shown = light * (_compressed(brightest) / brightest) / WHITE  # 0 to 1
    return np.rint(255 * _srgb(np.clip(shown @ _TO_BT709.T, 0, 1))).astype(np.uint8)


def pq_of(light: Floats | float) -> Floats:
    """The value of PQ, 0 to 1, that stands for light in cd/m2."""
    power = np.power(np.asarray(light, np.float32) / 10_000, _M1)
    return np.asarray(np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2), np.float32)


def light_of_pq(value: Floats | float) -> Floats:
    """The light in cd/m2 that a value of PQ, 0 to 1, stands for."""
    power = np.power(np.asarray(value, np.float32), 1 / _M2)
    return np.asarray(10_000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1), np.float32)


@functools.cache
def _light_of(transfer: Transfer) -> Floats:
    """The light of each of the 65,536 values; of PQ in cd/m2, of HLG in the scene, 0 to 1."""
    values = np.linspace(0, 1, 1 << 16, dtype=np.float32)
    if transfer == "PQ":
        return light_of_pq(values)
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - _C) / _A) + _B) / 12).astype(np.float32)


def _compressed(light: Floats) -> Floats:
    """Light of up to `PEAK` as light of up to `WHITE`: the lower part as it is, the rest on a spline (BT.2390-11, 5.4).

    `PEAK` and what is brighter become `WHITE`.
    """
    most = pq_of(PEAK)
    value, highest = np.minimum(pq_of(light) / most, 1), pq_of(WHITE) / most
    knee = 1.5 * highest - 0.5
    t = np.maximum(value - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * highest
    return light_of_pq(most * np.where(value < knee, value, spline))


def _srgb(linear: Floats) -> Floats:
    """Values of sRGB, 0 to 1, of linear ones (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
