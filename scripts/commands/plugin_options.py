"""The options of the plug-ins, shared by all generating commands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Option

PLUGINS = "Plug-ins"


@dataclass(frozen=True)
class PluginOptions:
    """Each is the field of `lvdm.plugins.settings.PluginSettings` with the same name. None: as it is there."""

    scale: Annotated[
        str | None,
        Option(
            help="Beyond the trained size: auto, off, scalecrafter or freescale, or freescale:level=0.7 and so on.",
            rich_help_panel=PLUGINS,
        ),
    ] = None
    anchor: Annotated[
        str | None,
        Option(help="Is frame 0 the image? free, soft (its latents) or exact (its pixels).", rich_help_panel=PLUGINS),
    ] = None
    color_lock: Annotated[
        float | None, Option(help="0 to 1: hold all frames to the colours of the image.", rich_help_panel=PLUGINS)
    ] = None
    keep_feather: Annotated[
        int | None,
        Option(
            help="What --keep-mask keeps is the image pixel by pixel, from this many pixels to its edge on.",
            rich_help_panel=PLUGINS,
        ),
    ] = None
    camera: Annotated[
        str | None,
        Option(
            help="hold, pan_left, pan_right, tilt_up, tilt_down, zoom_in or zoom_out, as in zoom_in:amount=0.5; or a "
            "path, as in 'path:points=0.2 0 1; 0.2 0.1 1.5'.",
            rich_help_panel=PLUGINS,
        ),
    ] = None
    low_pass: Annotated[
        float | None,
        Option(help="0 to 1: blur the picture in the first steps, for more motion.", rich_help_panel=PLUGINS),
    ] = None
    low_pass_until: Annotated[
        float | None, Option(help="The share of the steps that see it blurred.", rich_help_panel=PLUGINS)
    ] = None
    start_time: Annotated[
        float | None,
        Option(help="Begin below the last time step, such as 0.94, for more motion.", rich_help_panel=PLUGINS),
    ] = None
    start_statistics: Annotated[
        str | None, Option(help="A file of `stats analytic-init`, for that beginning.", rich_help_panel=PLUGINS)
    ] = None
    free_init: Annotated[
        str | None,
        Option(help="Sample again from the low frequencies: iterations=2,level=0.9.", rich_help_panel=PLUGINS),
    ] = None
    free_u: Annotated[
        str | None, Option(help="Weigh features against skips: b1=1.1,b2=1.2,s1=0.9,s2=0.9.", rich_help_panel=PLUGINS)
    ] = None
    late_weights: Annotated[
        str | None,
        Option(
            help="A checkpoint of the same architecture whose network takes the late steps.", rich_help_panel=PLUGINS
        ),
    ] = None
    late_below: Annotated[
        float | None,
        Option(help="0 to 1: from which time step on it does, as a share of all; 0.5.", rich_help_panel=PLUGINS),
    ] = None
    weak: Annotated[
        str | None,
        Option(
            help="Guide away from the network with layers switched off: stg or pag, as in "
            "stg:scale=1,blocks=middle+output.3.",
            rich_help_panel=PLUGINS,
        ),
    ] = None

    between: Annotated[
        str | None,
        Option(help="From picture to picture with a model for one: vibid or trf.", rich_help_panel=PLUGINS),
    ] = None
    between_prompt: Annotated[
        str | None,
        Option(help="The sentence for --between on its way back, seen in reverse.", rich_help_panel=PLUGINS),
    ] = None

    def plugin_settings(self) -> dict[str, Any]:
        """The options by the names of the settings."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(PluginOptions)}
        for name in ("start_statistics", "late_weights"):
            if given[name] is not None:
                given[name] = str(Path(given[name]).resolve())
        return given
