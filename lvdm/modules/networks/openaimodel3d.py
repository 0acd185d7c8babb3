"""The video UNet: Stable Diffusion 2.1 blocks with temporal convolutions and temporal attention."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from lvdm.config import LegacyOption
from lvdm.declaration.ranges import Channels, Depth, Dropout, Frames, Levels, Side, Stride, Tokens, with_ranges
from lvdm.modules.attention import Context, CrossAttention, KeysValues, SpatialTransformer, TemporalTransformer
from lvdm.modules.hooks import replaceable
from lvdm.modules.layers import (
    Downsample,
    GroupNorm32,
    ResBlock,
    SecondStage,
    StagedTemporalConvBlock,
    TemporalConvBlock,
    TemporalResidual,
    Upsample,
    for_samples,
    timestep_embedding,
    zero_module,
)


@with_ranges
@dataclass(frozen=True)
class UNetConfig:
    """Keys of `unet_config.params`. The last group is ours; its defaults are what the original hard-codes.

    shared_context              every frame reads the whole context (VideoCrafter): all image tokens, or all of it where
                                there is no image attention. Otherwise see `UNetModel.split_context`
    temporal_conv_spans_pixels  the first two temporal convolutions of each block see 3x3 pixels as well
    staged_temporal_conv        Make-Your-Video's temporal convolutions, and what their second stage sees; None for
                                those of the other models. See `StagedTemporalConvBlock`
    attention_window            temporal attention sees frames that are less than this many away; None for all
    """

    in_channels: Channels
    model_channels: Channels
    out_channels: Channels
    num_res_blocks: Depth
    attention_resolutions: tuple[Side, ...]
    num_head_channels: Channels
    channel_mult: Levels = (1, 2, 4, 8)
    dropout: Dropout = 0.0
    context_dim: Channels | None = None
    transformer_depth: Depth = 1
    use_linear: bool = False
    use_checkpoint: bool = False
    temporal_conv: bool = False
    temporal_attention: bool = True
    use_relative_position: bool = True
    use_causal_attention: bool = False
    temporal_length: Frames | None = None
    addition_attention: bool = False
    image_cross_attention: bool = False
    image_cross_attention_scale_learnable: bool = False
    default_fs: Stride = 4
    fs_condition: bool = False

    norm_num_groups: Channels = 32
    text_length: Tokens = 77
    image_tokens_per_frame: Tokens = 16
    init_attn_heads: Channels = 8
    temporal_conv_dropout: Dropout = 0.1
    shared_context: bool = False
    temporal_conv_spans_pixels: bool = False
    staged_temporal_conv: SecondStage | None = None
    attention_window: Frames | None = None

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = types.MappingProxyType(
        {
            "temporal_selfatt_only": LegacyOption((True,), "the original overwrites it with true"),
            "conv_resample": LegacyOption((True,), "no released model resamples without convolutions"),
            "dims": LegacyOption((2,), "spatial convolutions are two-dimensional"),
            "num_heads": LegacyOption((-1,), "set num_head_channels instead"),
            "use_scale_shift_norm": LegacyOption((False,), "no released model uses it"),
            "resblock_updown": LegacyOption((False,), "no released model uses it"),
            "tempspatial_aware": LegacyOption((False,), "no released model uses it"),
            "use_fp16": LegacyOption((False,), "choose the precision when loading: dtype='fp16'"),
        }
    )

    def __post_init__(self) -> None:
        for factor in self.channel_mult:
            channels = factor * self.model_channels
            if channels % self.norm_num_groups or channels % self.num_head_channels:
                raise ValueError(
                    f"{channels} channels (model_channels x {factor}) cannot be divided into norm_num_groups="
                    f"{self.norm_num_groups} and num_head_channels={self.num_head_channels}"
                )
        if self.staged_temporal_conv is not None and (not self.temporal_conv or self.temporal_conv_spans_pixels):
            raise ValueError("staged_temporal_conv needs temporal_conv, and goes without temporal_conv_spans_pixels")
        if self.use_relative_position and self.temporal_length is None:
            raise ValueError("use_relative_position needs temporal_length")

    @property
    def size_multiple(self) -> int:
        """Latent height and width must be multiples of this: one halving per level after the first."""
        return 2 ** (len(self.channel_mult) - 1)


class TimestepEmbedSequential(nn.Sequential):
    """Runs its layers in order, giving each what it needs besides the activations (b t, c, h, w)."""

    def forward(self, x: Tensor, emb: Tensor, context: Context | None, num_frames: int) -> Tensor:  # type: ignore[override]
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, for_samples(emb, len(x) // num_frames))
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, num_frames)
            elif isinstance(layer, TemporalTransformer):
                x = layer(rearrange(x, "(b t) c h w -> b c t h w", t=num_frames))
                x = rearrange(x, "b c t h w -> (b t) c h w")
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    """Predicts noise or velocity from noisy latents; keys and registration order are the released ones."""

    Config = UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        emb_channels = 4 * config.model_channels
        self.time_embed = self._embedding()
        if config.fs_condition:
            self.fps_embedding = self._embedding()
            zero_module(self.fps_embedding[-1])

        channels = config.model_channels
        self.input_blocks = nn.ModuleList(
            [TimestepEmbedSequential(nn.Conv2d(config.in_channels, channels, 3, padding=1))]
        )
        if config.addition_attention:
            self.init_attn = TimestepEmbedSequential(self._init_attention())
        skips = [channels]
        resolution = 1
        for level, factor in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [self._res_block(channels, factor * config.model_channels, emb_channels)]
                channels = factor * config.model_channels
                if resolution in config.attention_resolutions:
                    layers += self._transformers(channels)
                self.input_blocks.append(TimestepEmbedSequential(*layers))
                skips.append(channels)
            if level + 1 < len(config.channel_mult):
                self.input_blocks.append(TimestepEmbedSequential(Downsample(channels)))
                skips.append(channels)
                resolution *= 2

        self.middle_block = TimestepEmbedSequential(
            self._res_block(channels, channels, emb_channels),
            *self._transformers(channels),
            self._res_block(channels, channels, emb_channels),
        )

        self.output_blocks = nn.ModuleList()
        for level, factor in reversed(list(enumerate(config.channel_mult))):
            for index in range(config.num_res_blocks + 1):
                out_channels = factor * config.model_channels
                layers = [self._res_block(channels + skips.pop(), out_channels, emb_channels)]
                channels = out_channels
                if resolution in config.attention_resolutions:
                    layers += self._transformers(channels)
                if level and index == config.num_res_blocks:
                    layers.append(Upsample(channels))
                    resolution //= 2
                self.output_blocks.append(TimestepEmbedSequential(*layers))

        self.out = nn.Sequential(
            GroupNorm32(config.norm_num_groups, channels),
            nn.SiLU(),
            zero_module(nn.Conv2d(channels, config.out_channels, 3, padding=1)),
        )

    def _embedding(self) -> nn.Sequential:
        width = self.config.model_channels
        return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))

    def _res_block(self, channels: int, out_channels: int, emb_channels: int) -> ResBlock:
        config = self.config
        return ResBlock(
            channels,
            emb_channels,
            out_channels,
            config.dropout,
            config.use_checkpoint,
            config.norm_num_groups,
            self._temporal_conv if config.temporal_conv else None,
        )

    def _temporal_conv(self, channels: int) -> TemporalResidual:
        config = self.config
        common = channels, config.temporal_conv_dropout, config.norm_num_groups
        if config.staged_temporal_conv is not None:
            return StagedTemporalConvBlock(*common, config.staged_temporal_conv)
        return TemporalConvBlock(*common, config.temporal_conv_spans_pixels)

    def _transformers(self, channels: int) -> list[nn.Module]:
        config = self.config
        heads = channels // config.num_head_channels
        spatial = SpatialTransformer(
            channels,
            heads,
            config.num_head_channels,
            config.transformer_depth,
            config.context_dim,
            config.use_checkpoint,
            config.use_linear,
            config.image_cross_attention,
            config.image_cross_attention_scale_learnable,
            config.norm_num_groups,
        )
        if not config.temporal_attention:
            return [spatial]
        temporal = TemporalTransformer(
            channels,
            heads,
            config.num_head_channels,
            config.transformer_depth,
            config.use_checkpoint,
            config.use_linear,
            config.use_causal_attention,
            config.use_relative_position,
            config.temporal_length,
            config.norm_num_groups,
            config.attention_window,
        )
        return [spatial, temporal]

    def _init_attention(self) -> TemporalTransformer:
        # The original passes neither use_linear nor its causal option here.
        config = self.config
        return TemporalTransformer(
            config.model_channels,
            config.init_attn_heads,
            config.num_head_channels,
            config.transformer_depth,
            config.use_checkpoint,
            relative_position=config.use_relative_position,
            temporal_length=config.temporal_length,
            norm_num_groups=config.norm_num_groups,
        )

    @replaceable
    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor | Context | None = None, fs: Tensor | None = None
    ) -> Tensor:
        """One denoising evaluation.

        x (b, in_channels, t, h, w): noisy latents with the concatenated ones; h and w multiples of `size_multiple`
        timesteps (b,), or (b, t) for a time of its own for each frame
        context (b, n, context_dim), see `split_context`, or what `project_context` made of it
        fs (b,): frame stride or frames per second; `default_fs` when None
        Returns (b, out_channels, t, h, w); b is that of `context` where this has more samples than x.
        """
        num_frames, height, width = x.shape[2:]
        multiple = self.config.size_multiple
        if height % multiple or width % multiple:
            raise ValueError(
                f"latent size {height}x{width} is not a multiple of {multiple}; pad it and crop the result"
            )
        if isinstance(context, Tensor):
            context = self.split_context(context, num_frames)
        emb = self.embed_time(timesteps, fs).to(x.dtype)

        h = self.from_block(0, rearrange(x, "b c t h w -> (b t) c h w"), emb, context, num_frames)
        return rearrange(self.out(h), "(b t) c h w -> b c t h w", t=num_frames)

    @replaceable
    def from_block(self, index: int, h: Tensor, emb: Tensor, context: Context | None, num_frames: int) -> Tensor:
        """The network between block `index` of the encoder and the block of the decoder beside it, both included.

        h (b t, c, h, w) is what enters the one, the result what leaves the other.
        """
        if index == len(self.input_blocks):
            return self.middle_block(h, emb, context, num_frames)
        h = self.input_blocks[index](h, emb, context, num_frames)
        if index == 0 and self.config.addition_attention:
            h = self.init_attn(h, emb, context, num_frames)
        inner = self.from_block(index + 1, h, emb, context, num_frames)
        h = torch.cat([inner, for_samples(h, len(inner))], dim=1)
        return self.output_blocks[-1 - index](h, emb, context, num_frames)

    def embed_time(self, timesteps: Tensor, fs: Tensor | None) -> Tensor:
        """Embedding of time and `fs`, (b, 1, emb_channels), or (b, t, emb_channels) for times per frame."""
        config = self.config
        weight = next(self.time_embed.parameters())
        if timesteps.ndim == 1:
            timesteps = timesteps[:, None]
        emb = self.time_embed(timestep_embedding(timesteps, config.model_channels).to(weight.dtype))
        if config.fs_condition:
            if fs is None:
                fs = torch.full((timesteps.shape[0],), config.default_fs, device=timesteps.device)
            fs_emb = timestep_embedding(fs[:, None], config.model_channels).to(weight.dtype)
            emb = emb + self.fps_embedding(fs_emb)
        return emb

    def split_context(self, context: Tensor, num_frames: int) -> Context:
        """Text and image tokens of `context` (b, n, c).

        With n == text_length + image_tokens_per_frame * t, the image tokens are frame-major and each frame gets its
        own. With any other n, every frame gets all of them: the original's silent behaviour, which its released
        weights have seen only as 16 tokens shared by one frame; choose a token policy in the pipeline instead. With
        `shared_context` that is the rule for every n, and a network without image attention reads all of `context`.
        """
        config = self.config
        if config.shared_context and not config.image_cross_attention:
            return Context(context, None)
        text, image = context[:, : config.text_length], context[:, config.text_length :]
        if image.shape[1] == 0:
            return Context(text, None)
        if image.shape[1] == config.image_tokens_per_frame * num_frames and not config.shared_context:
            image = rearrange(image, "b (t l) c -> (b t) l c", t=num_frames)
        return Context(text, image)

    @replaceable
    def project_context(self, context: Tensor, num_frames: int) -> Context:
        """`split_context`, with the keys and values of all layers computed once for all sampling steps."""
        tokens = self.split_context(context, num_frames)
        projected: dict[nn.Module, KeysValues] = {layer: layer.project(tokens) for layer in self._cross_attentions()}
        return Context(tokens.text, tokens.image, projected)

    def _cross_attentions(self) -> Iterator[CrossAttention]:
        for module in self.modules():
            if isinstance(module, SpatialTransformer):
                for block in module.transformer_blocks:
                    yield cast(CrossAttention, block.attn2)
