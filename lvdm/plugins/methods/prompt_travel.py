"""Several prompts over time: see `lvdm.plugins.prompt_travel`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


def check_starts(starts: Sequence[int], num_frames: int) -> None:
    """Raise `ValueError` unless prompts start at 0 and then one after the other within the video."""
    ascending = all(before < after for before, after in pairwise(starts))
    if not starts or starts[0] != 0 or not ascending or starts[-1] >= num_frames:
        raise ValueError(
            f"prompts should take over at ascending frames from 1 to {num_frames - 1}, these do at {list(starts[1:])}"
        )


def _make(context: MethodContext) -> Sequence[Plugin]:
    import torch

    from lvdm.plugins.prompt_travel import PromptTravel, travel_tokens

    tokens = []
    for request in context.requests:
        frames, prompts = zip((0, request.prompt), *request.prompts_at, strict=True)
        tokens.append(travel_tokens(context.embed_texts(prompts), frames, context.settings.num_frames))
    mixed, target = (torch.stack(tensors) for tensors in zip(*tokens, strict=True))
    return [PromptTravel(context.model.schedule, mixed, target)]


METHOD = Method(
    name="prompt_travel",
    label="prompts_at",
    place=Place.TEXT,
    inputs="prompts_at",
    needs=(Need.WHOLE_CLIP,),
    holds=(Hold.PROMPT, Hold.BRANCHES),
    make=_make,
)
