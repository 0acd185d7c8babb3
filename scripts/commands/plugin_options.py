"""The options of the plug-ins, shared by all generating commands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from typer import Option

PLUGINS = "Plug-ins"


@dataclass(frozen=True)
class PluginOptions:
    """Each is the field of `lvdm.plugins.settings.PluginSettings` with the same name. None: as it is there."""

    scale: Annotated[
        str | None,
        Option(
            help="Beyond the trained size: auto, off or scalecrafter, or scalecrafter:factor=2,until=0.4 and so on.",
            rich_help_panel=PLUGINS,
        ),
    ] = None

    def plugin_settings(self) -> dict[str, Any]:
        """The options by the names of the settings."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(PluginOptions)}
