"""Videos larger than those of the training (ScaleCrafter, FreeScale): see `lvdm.plugins.scaling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_spec
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Circumstances, Hold, Idle, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

MAX_FACTOR = 8.0
"""No published setting goes beyond 4; taps that are farther apart than this leave the image (trained sides)."""


@dataclass(frozen=True)
class Off:
    """No options: the network runs as it was trained."""


@dataclass(frozen=True)
class Auto:
    """No options: ScaleCrafter with the settings recommended for the size."""


@dataclass(frozen=True)
class ScaleOptions:
    """What a user says of ScaleCrafter; None follows the size of the video.

    factor       how much longer the sides are than in training, 1 to `MAX_FACTOR`; 1 changes nothing
    until        share of the steps that are re-dilated, 0 to 1
    progressive  the factor falls to 2 over these steps; fractional factors become whole
    damped       noise-damped guidance: the unconditional part comes from a network that is re-dilated less
    dispersed    5x5 kernels made from the 3x3 ones, at half the factor
    attention    sharpen the attention between pixels by the logarithm of their number
    """

    factor: float | None = None
    until: float | None = None
    progressive: bool | None = None
    damped: bool | None = None
    dispersed: bool | None = None
    attention: bool | None = None

    def __post_init__(self) -> None:
        _check_factor(self.factor)
        if self.until is not None:
            _check_share("until", self.until)


@dataclass(frozen=True)
class FreeScaleOptions:
    """What a user says of FreeScale; None follows the size of the video.

    factor  how much longer the sides are than in training, 1 to `MAX_FACTOR`; 1 changes nothing
    level   where sampling begins on the enlarged video, as a share of the time steps; 1 begins with noise, no cascade
    until   share of the steps that are re-dilated, 0 to 1
    fuse    fuse attention over two scales
    """

    factor: float | None = None
    level: float = 0.7
    until: float = 0.5
    fuse: bool = True

    def __post_init__(self) -> None:
        _check_factor(self.factor)
        if not 0 < self.level <= 1:
            raise ValueError(f"level {self.level:g} is not possible; use a share of the time steps above 0, up to 1")
        _check_share("until", self.until)


def _check_factor(factor: float | None) -> None:
    if factor is not None and not 1 <= factor <= MAX_FACTOR:
        raise ValueError(f"factor {factor:g} is not possible; use a number from 1 to {MAX_FACTOR:g}")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} {value:g} is not possible; use a share of the steps from 0 to 1")


Options = ScaleOptions | FreeScaleOptions | Off | Auto
KINDS: Mapping[str, type] = MappingProxyType(
    {"auto": Auto, "off": Off, "scalecrafter": ScaleOptions, "freescale": FreeScaleOptions}
)


def parse_scale(text: str) -> Spec[Options]:
    """The parameter `scale`: auto, off, or a method, alone or with options as in scalecrafter:factor=2,until=0.4.

    Raises `ValueError`.
    """
    return parse_spec(text, KINDS, "scale")


@declared
class ScaleParameters:
    """What is done beyond the trained size."""

    scale: Annotated[
        Annotated[Spec[Options], FromText(parse_scale, "scalecrafter:factor=2")],
        Parameter(
            "Beyond the trained size: auto, off, scalecrafter or freescale, or freescale:level=0.7 and so on.", GROUP
        ),
    ] = Spec("auto", Auto(), "auto")


def _chosen(settings: MethodSettings) -> bool:
    return settings.scale.name not in ("auto", "off")


def _cascades(settings: MethodSettings) -> bool:
    options = settings.scale.options
    return isinstance(options, FreeScaleOptions) and options.level < 1


def _enlarges_nothing(settings: MethodSettings, around: Circumstances) -> bool:
    from lvdm.plugins.scaling import plan_scale

    return _chosen(settings) and plan_scale(settings.scale, around.size, around.trained_size) is None


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.scaling import scale_plugins

    return scale_plugins(context.scale, context.latent_size)


METHOD = Method(
    name="scale",
    label="scale",
    place=Place.SIZE,
    parameters=ScaleParameters,
    active=lambda settings: settings.scale.name != "off",
    needs=(When(Need.WHOLE_CLIP, _chosen, "scale"),),
    holds=(
        Hold.CONVOLUTIONS,
        Hold.SPATIAL_ATTENTION,
        When(Hold.INITIAL_NOISE, _cascades, "scale freescale"),
        When(Hold.START, _cascades, "level below 1 of scale freescale"),
    ),
    make=_make,
    idle=(
        Idle(
            "scale",
            Spec("off", Off(), "off"),
            _enlarges_nothing,
            "the video is not larger than those of the training",
        ),
    ),
)
