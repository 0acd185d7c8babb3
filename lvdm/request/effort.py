"""How much work goes into a video, by one word: named bundles of the parameters that are declared.

A bundle lies over the card of the model and under everything that is given, so that a single value of it can still be
chosen otherwise.
"""

from __future__ import annotations

import types
from collections.abc import Container, Mapping
from typing import Any

from lvdm.declaration.values import Effort
from lvdm.request.layers import all_parameters

EFFORTS: Mapping[Effort, Mapping[str, Any]] = types.MappingProxyType(
    {
        "draft": {"num_inference_steps": 10, "fix_final_step": True},
        "normal": {},
        "best": {"num_inference_steps": 50, "fix_final_step": True, "num_videos_per_prompt": 4, "keep": "best"},
    }
)
"""draft: few steps, which also end at the clean latents. normal: as the checkpoint's card says. best: of four."""


def effort_values(effort: Effort | None, mode: str, chosen: Container[str] = ()) -> dict[str, Any]:
    """The values that `effort` stands for in `mode`, which need not read all of them; none for None.

    given: names of what goes before them. Who says how many videos there are also says which are kept.
    """
    declared = all_parameters()
    bundle = dict(EFFORTS["normal" if effort is None else effort])
    if "num_videos_per_prompt" in chosen:
        bundle.pop("keep", None)
    return {name: value for name, value in bundle.items() if mode in declared[name].parameter.modes}
