"""Guidance: several denoisers, or several conditions of one, made into one denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvdm.deprecation import renamed_names

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t (b, c, t, h, w), t (b,)) -> model output, shaped like x_t. All that a sampler knows of a model."""

Branches = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Like `Denoiser`, with one output per condition: (cond,), (cond, uncond), or (cond, uncond, image only)."""

Guidance = Callable[[Branches], Denoiser]
"""What makes one denoiser out of branches."""


def sequential(*denoisers: Denoiser) -> Branches:
    """Branches that run one after the other: the least memory. A model's batched branches are faster."""

    def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        return tuple(denoiser(x_t, t) for denoiser in denoisers)

    return branches


def classifier_free_guidance(branches: Branches, guidance_scale: float, guidance_rescale: float = 0.0) -> Denoiser:
    """u + s (c - u), with c the conditional and u the unconditional output (arXiv 2207.12598).

    At scale 1 the result is the conditional output itself, to the bit, and `branches` may leave the unconditional one
    out. `guidance_rescale` in [0, 1] is phi of `rescale_guidance`. Outputs are combined in the precision of x_t.
    """

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        outputs = branches(x_t, t)
        cond = outputs[0].to(x_t.dtype)
        if guidance_scale == 1.0:
            return cond
        _check_count(outputs, 2, "a guidance scale other than 1", "(cond, uncond)")
        uncond = outputs[1].to(x_t.dtype)
        guided = uncond + guidance_scale * (cond - uncond)
        return rescale_guidance(guided, cond, guidance_rescale)

    return denoiser


def text_image_guidance(
    branches: Branches, guidance_scale: float, image_guidance_scale: float, guidance_rescale: float = 0.0
) -> Denoiser:
    """u + s_img (i - u) + s_txt (c - i), with i the output under the image and the empty prompt.

    `guidance_scale` is s_txt and `image_guidance_scale` s_img (InstructPix2Pix, arXiv 2211.09800, eq. 3). Equal scales
    are plain classifier-free guidance, for which `classifier_free_guidance` needs one branch less. With both scales 1
    the result is the conditional output itself, and `branches` may leave the others out.
    """

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        outputs = branches(x_t, t)
        cond = outputs[0].to(x_t.dtype)
        if guidance_scale == 1.0 and image_guidance_scale == 1.0:
            return cond
        _check_count(outputs, 3, "text and image guidance", "(cond, uncond, image only)")
        uncond, image = outputs[1].to(x_t.dtype), outputs[2].to(x_t.dtype)
        guided = uncond + image_guidance_scale * (image - uncond) + guidance_scale * (cond - image)
        return rescale_guidance(guided, cond, guidance_rescale)

    return denoiser


def noise_damped(branches: Branches, base: Denoiser) -> Branches:
    """Branches shifted so that the unconditional output is that of `base`; the differences between them stay.

    Under any guidance of this file that is b + s (c - u), with b the output of `base`: noise-damped classifier-free
    guidance (ScaleCrafter, arXiv 2310.07702, section 3.4). Where `base` and u are equal, nothing changes to the bit,
    nor where u is c itself: there is no guidance in this step.
    """

    def shifted(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        outputs = branches(x_t, t)
        _check_count(outputs, 2, "noise-damped guidance", "(cond, uncond)")
        if outputs[1] is outputs[0]:
            return outputs
        shift = base(x_t, t).to(x_t.dtype) - outputs[1].to(x_t.dtype)
        return tuple(output.to(x_t.dtype) + shift for output in outputs)

    return shifted


def perturbed_guidance(guidance: Guidance, branches: Branches, scale: float, rescale: float = 0.0) -> Denoiser:
    """g + s (c - w): g is what `guidance` makes of all branches but the last, c the conditional output, w the last one.

    w is the output of a weaker model under the full condition (arXiv 2403.17377; 2411.18664). `rescale` in
    [0, 1] is phi of `rescale_guidance`, of the whole sum; a rescale of `guidance` itself comes before, and acts on g.
    """

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        *outputs, perturbed = branches(x_t, t)
        _check_count((*outputs, perturbed), 2, "perturbed guidance", "(cond, ..., perturbed)")
        cond = outputs[0].to(x_t.dtype)
        guided = guidance(lambda *_: tuple(outputs))(x_t, t)
        return rescale_guidance(guided + scale * (cond - perturbed.to(x_t.dtype)), cond, rescale)

    return denoiser


def rescale_guidance(guided: Tensor, cond: Tensor, guidance_rescale: float) -> Tensor:
    """Pull the deviation of each guided sample towards that of the conditional output (arXiv 2305.08891, eq. 15-16).

    It is the unbiased standard deviation over all dimensions but the batch. At `guidance_rescale` 0 nothing changes.
    """
    if guidance_rescale == 0.0:
        return guided
    dims = tuple(range(1, guided.ndim))
    std_cond = cond.std(dim=dims, keepdim=True)
    # A constant output has no deviation to correct; the floor keeps 0 / 0 out of it.
    std_guided = guided.std(dim=dims, keepdim=True).clamp(min=torch.finfo(guided.dtype).tiny)
    return guidance_rescale * (guided * (std_cond / std_guided)) + (1.0 - guidance_rescale) * guided


def _check_count(outputs: tuple[Tensor, ...], needed: int, what: str, names: str) -> None:
    if len(outputs) < needed:
        raise ValueError(f"{what} needs {needed} branches, {names}; there are {len(outputs)}")


__getattr__ = renamed_names(__name__, {"weak_model_guidance": "perturbed_guidance"})
