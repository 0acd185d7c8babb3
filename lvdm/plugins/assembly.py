"""The methods around a sampling: what is sampled again, and what becomes of decoded frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lvdm.plugins.context import Finishing
from lvdm.plugins.registry import active_methods

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


def sample_repeatedly(
    settings: MethodSettings, plugins: Sequence[Plugin], sample: Callable[[Sequence[Plugin]], Any]
) -> Any:
    """The latents of `sample`, called again with those of the call before as often as a method wants it."""
    latents = sample(plugins)
    for method in active_methods(settings):
        for further in method.repeat(settings) if method.repeat else ():
            latents = sample([*plugins, further(latents)])
    return latents


def finish_parts(
    settings: MethodSettings, parts: Iterator[Tensor], images: Mapping[int, Tensor], kept: Tensor | None = None
) -> Iterator[Tensor]:
    """Decoded videos in parts (b, 3, k, H, W), with what methods do to decoded frames.

    images, kept  see `lvdm.plugins.context.Finishing`
    """
    context = Finishing(settings, images, kept)
    for method in active_methods(settings):
        if method.finish:
            parts = method.finish(context, parts)
    return parts
