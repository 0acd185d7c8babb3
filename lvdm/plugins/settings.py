"""The settings of the plug-ins: what `GenerationSettings` holds of them, checked without a model."""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.plugins.scalecrafter import parse_scale


@dataclass(frozen=True)
class PluginSettings:
    """Plug-ins that are off, or neutral, change no bit.

    scale  what to do beyond the trained area: auto, off, or scalecrafter, alone or with `ScaleOptions` as in
           scalecrafter:factor=2,until=0.4
    """

    scale: str = "auto"

    def check_plugins(self) -> None:
        """Raise `ValueError` for options that are not possible, alone or together."""
        parse_scale(self.scale)
