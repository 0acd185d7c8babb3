"""Image and prompt in, video out: `DynamiCrafterPipeline`, and the stages of a generation in the order of its story."""

from lvdm.pipeline.pipeline import DynamiCrafterPipeline, ImageSource

__all__ = ["DynamiCrafterPipeline", "ImageSource"]
