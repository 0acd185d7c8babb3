"""Image and prompt in, video out: `DynamiCrafterPipeline`, and the stages of a generation in the order of its story.

The pipeline is imported when it is first asked for: what can be refused without a model is refused without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvdm.pipeline.pipeline import DynamiCrafterPipeline, ImageSource

__all__ = ["DynamiCrafterPipeline", "ImageSource"]


def __getattr__(name: str) -> Any:
    if name not in (*__all__, "OutOfMemoryError"):  # the error's old place
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lvdm.pipeline import pipeline

    return getattr(pipeline, name)
