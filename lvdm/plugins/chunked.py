"""The video UNet in pieces, so that memory hardly grows with the length of the video.

Layers over pixels see a few frames at a time, layers over frames see a few rows of pixels. What they share, the
statistics of group normalisation over the whole clip, is computed beforehand, so that the result is that of the network
in one piece up to rounding. Samples of a batch, and branches of guidance, run one after the other.

What still grows are the activations that wait for the decoder half (the skips), and those at work; with a `offload` the
skips, and what temporal convolutions make, wait elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from lvdm.modules.attention import Context, SpatialTransformer, TemporalTransformer
from lvdm.modules.layers import GroupNorm32, ResBlock, TemporalResidual, for_samples
from lvdm.modules.networks.openaimodel3d import TimestepEmbedSequential, UNetModel
from lvdm.plugins.activation_offload import OFFLOADS, Fetch, Keep, Offload
from lvdm.plugins.hooks import Hooks, Samples

TINY = 1e-12
"""Keeps the inverse of a frame's deviation finite."""
Piece = Tensor
"""Activations of a few frames, (n, c, h, w)."""


@dataclass(frozen=True)
class Chunked:
    """The method as a plug-in.

    frames  how many frames layers over pixels see at once; layers over frames see as many activations
    offload   where skips wait, see `lvdm.plugins.activation_offload`: device, host or disk
    """

    frames: int = 4
    offload: str = "device"

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"chunks of {self.frames} frames are not possible; use 1 or more")
        if self.offload not in OFFLOADS:
            raise ValueError(f"offload {self.offload!r} is not known; use one of {', '.join(OFFLOADS)}")

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Run `unet` in pieces; see `Plugin`."""

        def forward(network: UNetModel, inner: object, *args: Any, **others: Any) -> Tensor:
            return ChunkedUNet(network, self.frames, OFFLOADS[self.offload]).forward(*args, **others)

        def project(network: UNetModel, inner: object, context: Tensor, num_frames: int) -> Context:
            # keys and values of all frames' tokens, computed once for all steps, would grow with the length
            return network.split_context(context, num_frames)

        return hooks.with_functions("forward", {unet: forward}).with_functions("project_context", {unet: project})


@dataclass(frozen=True, eq=False)
class Step:
    """What the layers read besides activations: one sample's time embedding (1, 1 or t, c), tokens, and length."""

    emb: Tensor
    context: Context | None
    num_frames: int


class ChunkedUNet:
    """Evaluates `unet` on pieces of at most `frames` frames."""

    def __init__(self, unet: UNetModel, frames: int, offload: Offload) -> None:
        self._unet, self._frames, self._offload = unet, frames, offload

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor | Context | None = None, fs: Tensor | None = None
    ) -> Tensor:
        """The arguments and result of `UNetModel.forward`."""
        unet, num_frames = self._unet, x.shape[2]
        if isinstance(context, Tensor):
            context = unet.split_context(context, num_frames)
        batch = len(x) if context is None else context.samples or len(x)
        x, timesteps = for_samples(x, batch), for_samples(timesteps, batch)
        fs = None if fs is None else for_samples(fs, batch)
        emb = unet.embed_time(timesteps, fs).to(x.dtype)
        outputs = []
        for number in range(batch):
            own = context and context_of(context, number, batch, range(num_frames), num_frames)
            outputs.append(self._denoise(x[number], Step(emb[number : number + 1], own, num_frames)))
        return torch.stack(outputs)

    def _denoise(self, x: Tensor, step: Step) -> Tensor:
        """x (c, t, h, w) -> (out_channels, t, h, w)."""
        unet = self._unet
        h: list[Piece] = list(rearrange(x, "c t h w -> t c h w").split(self._frames))
        skips: list[list[Fetch]] = []
        with self._offload() as keep:
            for index, block in enumerate(unet.input_blocks):
                self._run([block], h, step, keep)
                if index == 0 and unet.config.addition_attention:
                    self._run([unet.init_attn], h, step, keep)
                skips.append([keep(piece) for piece in h])
            # what enlarges a block's result and what reads it follow each other piece by piece
            self._run([unet.middle_block, *unet.output_blocks], h, step, keep, skips)
        return rearrange(torch.cat([unet.out(piece) for piece in h]), "t c h w -> c t h w")

    def _run(
        self,
        blocks: Sequence[nn.Module],
        h: list[Piece],
        step: Step,
        keep: Keep,
        skips: list[list[Fetch]] | None = None,
    ) -> None:
        """Put `h` through the blocks in place; each but the first also reads a skip, those of `skips` from the end."""
        waiting: list[Callable[[Piece, int], Piece]] = []

        def catch_up() -> None:
            """Put each piece through the layers over pixels that wait for it."""
            for index in range(len(h)):
                piece = h[index]
                for layer in waiting:
                    piece = layer(piece, index)
                h[index] = piece
            waiting.clear()

        for number, block in enumerate(blocks):
            if skips is not None and number:
                waiting.append(partial(_append, skips.pop()))
            for layer in cast(TimestepEmbedSequential, block):
                if isinstance(layer, TemporalTransformer):
                    catch_up()
                    add_temporal_attention(layer, h, self._rows(h))
                    continue
                waiting.append(partial(self._spatial, layer, step))
                if isinstance(layer, ResBlock) and layer.temopral_conv is not None:
                    catch_up()
                    add_temporal_convolution(layer.temopral_conv, h, self._rows(h), keep)
        catch_up()

    def _spatial(self, layer: nn.Module, step: Step, piece: Piece, index: int) -> Piece:
        """One layer over pixels, of the piece with a number."""
        begin, count = index * self._frames, piece.shape[0]
        if isinstance(layer, ResBlock):
            shared = step.emb.shape[1] == 1
            return layer(piece, step.emb if shared else step.emb[:, begin : begin + count], temporal=False)
        if isinstance(layer, SpatialTransformer):
            context = step.context and context_of(step.context, 0, 1, range(begin, begin + count), step.num_frames)
            return layer(piece, context, count)
        return layer(piece)

    def _rows(self, h: Sequence[Piece]) -> int:
        """Rows of pixels that, over all frames, hold as many activations as `frames` frames."""
        num_frames = sum(piece.shape[0] for piece in h)
        return max(1, h[0].shape[2] * self._frames // num_frames)


def context_of(context: Context, number: int, batch: int, frames: range, num_frames: int) -> Context:
    """The tokens that `frames` of sample `number` read, of a context for `batch` samples of `num_frames`."""

    def tokens_of(tokens: Tensor) -> Tensor:
        if tokens.shape[0] != batch * num_frames:  # (b, n, c), shared by the frames of a sample
            return tokens[number : number + 1]
        return tokens[number * num_frames + frames.start : number * num_frames + frames.stop]

    cut = {id(other): context_of(other, number, batch, frames, num_frames) for other in set(context.elsewhere.values())}
    return Context(
        tokens_of(context.text),
        None if context.image is None else tokens_of(context.image),
        elsewhere={layer: cut[id(other)] for layer, other in context.elsewhere.items()},
    )


def add_temporal_attention(layer: TemporalTransformer, h: Sequence[Piece], rows: int) -> None:
    """`layer` on whole clips in pieces, in place."""
    affine = clip_normalization(layer.norm, h)
    for begin in range(0, h[0].shape[2], rows):
        x = gather_rows(h, begin, rows)  # t c r w
        out = layer.transform(rearrange(affine(x), "t c r w -> (r w) t c"))
        scatter_rows(h, begin, x + rearrange(out, "(r w) t c -> t c r w", w=x.shape[3]))


def add_temporal_convolution(block: TemporalResidual, h: Sequence[Piece], rows: int, keep: Keep) -> None:
    """`block` on whole clips in pieces, in place. Each of its convolutions needs the statistics of the one before.

    What they make waits on the offload `keep`, in rows of pixels.
    """
    stages = block.stages
    if any(max(cast(nn.Conv3d, stage[-1]).kernel_size[1:]) > 1 for stage in stages):
        rows = h[0].shape[2]  # those that see neighbouring pixels need all rows
    begins = range(0, h[0].shape[2], rows)
    affine = clip_normalization(stages[0][0], h)
    made: list[Fetch] = []
    for number, stage in enumerate(stages):
        moments = ClipMoments(_group_norm(stages[number + 1][0])) if number + 1 < len(stages) else None
        for index, begin in enumerate(begins):
            x = made[index]() if number else gather_rows(h, begin, rows)  # t c r w
            x = rearrange(stage[1:](rearrange(affine(x), "t c r w -> 1 c t r w")), "1 c t r w -> t c r w")
            if moments is None:
                scatter_rows(h, begin, gather_rows(h, begin, rows) + x)
                continue
            moments.add(x)
            if number:
                made[index] = keep(x)
            else:
                made.append(keep(x))
        if moments is not None:
            affine = moments.affine()


def _append(skips: list[Fetch], piece: Piece, index: int) -> Piece:
    """The piece with the channels of its skip, which are fetched once."""
    return torch.cat([piece, skips.pop(0)()], dim=1)


def gather_rows(h: Sequence[Piece], begin: int, rows: int) -> Tensor:
    """Rows from `begin` of all frames, (t, c, rows, w)."""
    return torch.cat([piece[:, :, begin : begin + rows] for piece in h])


def scatter_rows(h: Sequence[Piece], begin: int, values: Tensor) -> None:
    """Write (t, c, rows, w) into the rows from `begin` of all frames."""
    for piece, part in zip(h, values.split([piece.shape[0] for piece in h]), strict=True):
        piece[:, :, begin : begin + part.shape[2]] = part


class ClipMoments:
    """Mean and variance of groups of channels over whole clips, from parts (t, c, r, w) of them, in float64."""

    def __init__(self, norm: GroupNorm32) -> None:
        self._norm = norm
        self._moments: list[tuple[Tensor, Tensor]] = []
        self._pixels: list[int] = []

    def add(self, part: Tensor) -> None:
        """Take in frames, or rows of all frames."""
        self._moments.append(frame_moments(part.float(), self._norm.num_groups))
        self._pixels += [part.shape[2] * part.shape[3]] * part.shape[0]

    def affine(self) -> Callable[[Tensor], Tensor]:
        """The normalisation, for parts (t, c, r, w)."""
        norm, per_channel = self._norm, self._norm.num_channels // self._norm.num_groups
        means, inverses = (torch.cat(some).double() for some in zip(*self._moments, strict=True))  # (parts t) g
        weights = torch.tensor(self._pixels, dtype=torch.float64, device=means.device)[:, None] / sum(self._pixels)
        mean = (weights * means).sum(0)
        variance = (weights * (inverses.pow(-2) - TINY + means**2)).sum(0) - mean**2
        deviation = (variance + norm.eps).clamp(min=norm.eps).sqrt()
        scale = norm.weight.double() / deviation.repeat_interleave(per_channel)
        shift = norm.bias.double() - mean.repeat_interleave(per_channel) * scale
        scale, shift = (value.float()[:, None, None] for value in (scale, shift))  # c 1 1

        def affine(x: Tensor) -> Tensor:
            return torch.addcmul(shift, x.float(), scale).to(x.dtype)

        return affine


def clip_normalization(norm: nn.Module, h: Sequence[Piece]) -> Callable[[Tensor], Tensor]:
    """`norm` with the statistics of all frames together, for parts (t, c, rows, w) of them."""
    moments = ClipMoments(_group_norm(norm))
    for piece in h:
        moments.add(piece)
    return moments.affine()


def _group_norm(norm: nn.Module) -> GroupNorm32:
    assert isinstance(norm, GroupNorm32)
    return norm


def frame_moments(piece: Piece, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and inverse deviation of the groups of channels of each frame, (n, groups) each.

    They are a by-product of torch's normalisation, which is three times faster on CPUs than asking for them.
    """
    count, channels, height, width = piece.shape
    return torch.native_group_norm(piece, None, None, count, channels, height * width, groups, TINY)[1:]
