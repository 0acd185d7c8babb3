"""How much memory a generation takes: arithmetic on the outline of the networks, without them and without torch.

Peaks are those of an ideal allocator with fused attention, which holds no score matrix; what the driver and the
allocator keep for themselves comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lvdm.checkpoint.parts import AUTOENCODER, CLIP_ENCODERS, SCHEDULE, UNET, Part, part_of
from lvdm.declaration.values import Storage
from lvdm.model_outline import AutoencoderOutline, ModelOutline, UNetOutline
from lvdm.precision import PrecisionNames

if TYPE_CHECKING:
    from lvdm.modules.networks.ae_modules import AutoencoderNetworkConfig
    from lvdm.modules.networks.openaimodel3d import UNetConfig


LAYERS_AT_WORK = 0.05
"""Share of the released UNet's weights in its two largest layers: the one at work, and the one that is fetched."""


@dataclass(frozen=True)
class Workload:
    """What is to run: `height` and `width` are those of the network, in pixels; `branches` are those of guidance.

    `decode_chunk` frames are decoded at once, in tiles of `vae_tile` latent pixels a side if that is not None; the
    network works on `chunk_frames` at once if that is not None, with skips on the device unless `skips_elsewhere`. With
    `second_stage_unet` there is a second network for the late steps.
    """

    height: int
    width: int
    num_frames: int
    batch: int = 1
    branches: int = 2
    decode_chunk: int = 4
    vae_tile: int | None = None
    chunk_frames: int | None = None
    skips_elsewhere: bool = False
    second_stage_unet: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the device: `weights` that lie there all the time, and what each of the two long stages adds.

    When parts that are not at work are moved away, the weights of a stage are counted with the stage. On a CPU the
    whole process counts: `process` is what the interpreter and the libraries take, `loading` the pages of the files
    that lie beside the weights while these are read, and `encoding` what that stage adds.
    """

    weights: int
    sampling: int
    decoding: int
    process: int = 0
    loading: int = 0
    encoding: int = 0

    @property
    def stages(self) -> dict[str, int]:
        """What each stage adds to process and weights."""
        return {name: getattr(self, name) for name in ("loading", "encoding", "sampling", "decoding")}

    @property
    def total(self) -> int:
        """Bytes at the busiest moment."""
        return self.process + self.weights + max(self.stages.values())


def plan_memory(
    outline: ModelOutline,
    parameters: Mapping[Part, int],
    workload: Workload,
    precision: PrecisionNames,
    low_memory: bool = False,
    moves_parts: bool = False,
    storage: Storage = "full",
    by_layer: bool = False,
) -> MemoryPlan:
    """The plan for a model of `outline` with `parameters` (number of weights by part) in `precision`.

    storage, by_layer  how the network's weights are kept, see `lvdm.pipeline.placement`

    `low_memory` runs branches and frames one by one; on accelerators it also `moves_parts` that are not at work away.
    """
    networks = outline.autoencoder
    if low_memory:
        workload = replace(workload, branches=1, decode_chunk=1)
    area = workload.height * workload.width // networks.downsample_factor**2
    sampling = precision.weights_bytes * sampling_activations(outline.unet, workload, area)
    if networks.whole_clips:
        decoding = precision.vae_bytes * clip_decoder_activations(networks, workload)
    else:
        frames = workload.batch * min(workload.decode_chunk, workload.num_frames)
        decoding = frames * precision.vae_bytes * decoder_activations(networks, workload)
    size = {
        part: count * (precision.vae_bytes if part == AUTOENCODER else precision.weights_bytes)
        for part, count in parameters.items()
    }
    if storage == "fp8":
        size[UNET] = parameters.get(UNET, 0)
    if by_layer:
        size[UNET] = round(LAYERS_AT_WORK * size.get(UNET, 0))
    if not moves_parts:
        size[UNET] = size.get(UNET, 0) * (2 if workload.second_stage_unet else 1)
        return MemoryPlan(sum(size.values()), sampling, decoding)
    encoders = max((size.get(part, 0) for part in CLIP_ENCODERS), default=0)
    return MemoryPlan(0, max(size.get(UNET, 0) + sampling, encoders), size.get(AUTOENCODER, 0) + decoding)


def sampling_activations(config: UNetOutline | UNetConfig, workload: Workload, area: int) -> int:
    """Most values alive while the UNet is evaluated at `area` latent pixels for each frame.

    In pieces, samples and branches run one after the other; beside the piece at work there are, at full resolution,
    what the layer at work has made and what it has not yet read, and the skips of all frames if they wait there.
    """
    positions = workload.num_frames * area
    if workload.chunk_frames is None or workload.chunk_frames >= workload.num_frames:
        return workload.batch * workload.branches * unet_activations(config, positions)
    waiting, channels = 2 * config.model_channels, config.model_channels
    if workload.skips_elsewhere:
        return unet_activations(config, workload.chunk_frames * area) + positions * waiting
    waiting += config.model_channels
    for level, factor in enumerate(config.channel_mult):
        if level:
            waiting += channels // 4**level  # the resampled copy
        channels = factor * config.model_channels
        waiting += config.num_res_blocks * channels // 4**level
    return unet_activations(config, workload.chunk_frames * area) + positions * waiting


def unet_activations(config: UNetOutline | UNetConfig, positions: int) -> int:
    """Most values alive in one evaluation of the UNet on `positions` = frames x latent pixels.

    The peak is where a GEGLU holds both halves of its projection (8 d), the gate's GELU (4 d) and their product (4 d),
    beside the block's input, residual and normalised input (3 d), the skip and the network's input.
    """
    base = config.model_channels
    inner = config.init_attn_heads * config.num_head_channels if config.addition_attention else base
    peak = (16 + 3) * inner + base + config.in_channels
    for level, factor in enumerate(config.channel_mult):
        skips = (1 + config.num_res_blocks) * base + config.in_channels
        if 2**level in config.attention_resolutions:
            peak = max(peak, (16 + 3 + 2) * factor * base // 4**level + skips)
    return positions * peak


def clip_decoder_activations(networks: AutoencoderOutline, workload: Workload) -> int:
    """Most values alive while a dual-reference decoder decodes one clip, all frames together.

    A residual block at a level holds its input, the normalised input and its activation at the width that enters, and
    the result; beside it lie the encoder's features of both ends at all levels, and those of its first layer.
    """
    area, widths = workload.height * workload.width, networks.widths
    entering = (*widths[1:], widths[-1])
    block = max((3 * e + own) * area // 4**level for level, (e, own) in enumerate(zip(entering, widths, strict=True)))
    held = 2 * (widths[0] + sum(width // 4**level for level, width in enumerate(widths))) * area
    return workload.num_frames * block + held


def decoder_activations(networks: AutoencoderOutline | AutoencoderNetworkConfig, workload: Workload) -> int:
    """Most values alive while the VAE decodes one frame.

    A residual block holds its input, the normalised input, its activation and the result, at the width that enters the
    level: four maps, of which those at full resolution are the largest. In tiles (`lvdm.models.decoding`) they are as
    large as a tile, and beside them lie the map before the up-sampling and two at the level's own width.
    """
    factor, tile = networks.downsample_factor, workload.vae_tile
    area, entering = workload.height * workload.width, (*networks.widths[1:], networks.widths[-1])
    if tile is None or tile * factor >= max(workload.height, workload.width):
        return max(4 * channels * area // 4**level for level, channels in enumerate(entering))
    part = min(workload.height, tile * factor) * min(workload.width, tile * factor)
    held = (channels // 4 + 2 * own for channels, own in zip(entering, networks.widths, strict=True))
    return max((h * area + 4 * c * part) // 4**level for level, (h, c) in enumerate(zip(held, entering, strict=True)))


def count_parameters(*files: Mapping[str, tuple[int, ...]]) -> dict[Part, int]:
    """Numbers of weights by part in files, given the shapes of each by key; parts of the first file go first."""
    counts: dict[Part, int] = {}
    for shapes in files:
        found: dict[Part, int] = {}
        for key, shape in shapes.items():
            part = part_of(key)
            if part != SCHEDULE:
                found[part] = found.get(part, 0) + math.prod(shape)
        counts = found | counts
    return counts
