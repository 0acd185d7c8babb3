"""A region that stays as in the image, at the latents of every step: `lvdm.pipeline` shows it to the sampler."""

from __future__ import annotations

from lvdm.plugins.method import Hold, Method, Need, Place

METHOD = Method(
    name="keep_mask",
    label="keep_mask",
    place=Place.REGION,
    inputs="keep_mask",
    needs=(Need.IMAGE, Need.ONE_IMAGE, Need.WHOLE_CLIP),
    holds=(Hold.SAMPLER,),
)
