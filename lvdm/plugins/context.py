"""What a method may be made of: the clip, its conditions, and what the runtime does for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.conditioning import Conditioning
    from lvdm.plugins.scaling import Plan
    from lvdm.plugins.settings import MethodSettings


class PromptedRequest(Protocol):
    """The part of a request that methods read: its prompts, and masks of what stays."""

    @property
    def prompt(self) -> str: ...

    @property
    def prompts_at(self) -> Sequence[tuple[int, str]]: ...

    @property
    def keep_mask(self) -> Sequence[Any]: ...


@dataclass(frozen=True, eq=False)
class MethodContext:
    """Of one sampling, for `Method.make`.

    settings      of the clip that the network sees
    model         the loaded model: `unet`, `schedule`, `trained_frames`, `denoiser` ... (`lvdm.models.ddpm3d`)
    embed_texts   prompts -> tokens (k, n, d)
    unet_weights  file -> the network's weights in it, by name
    offload         where skips of long videos wait, see `lvdm.plugins.activation_offload`
    moves         whether parts of the model lie on the device only while they are at work
    conditions    those of the whole video that guidance needs, the full one first
    images_by_frame      (b, 3, H, W) in [-1, 1] at the network's size, by the number of their frame
    scale         what the parameter `scale` came to
    encode_video  frames (b, 3, 1, H, W) of videos -> latents (b, c, t, h, w)
    image_latents images_by_frame -> the concatenated latents (b, c, t, h, w) of the clip
    clip_conditions  (requests, settings, images_by_frame) -> the conditions of another clip
    """

    settings: MethodSettings
    requests: Sequence[Any]
    model: Any
    embed_texts: Callable[[Sequence[str]], Tensor]
    unet_weights: Callable[[str], Mapping[str, Tensor]]
    encode_video: Callable[[Iterable[Tensor]], Tensor]
    image_latents: Callable[[Mapping[int, Tensor]], Tensor]
    clip_conditions: Callable[[Sequence[Any], MethodSettings, Mapping[int, Tensor]], tuple[Conditioning, ...]]
    offload: str = "device"
    moves: bool = False
    conditions: Sequence[Conditioning] = ()
    images_by_frame: Mapping[int, Tensor] = field(default_factory=dict)
    scale: Plan | None = None

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        height, width = self.conditions[0].concat.shape[3:]
        return height, width


@dataclass(frozen=True, eq=False)
class Finishing:
    """Of decoded videos, for `Method.finish`.

    images_by_frame  (b, 3, H, W) in [-1, 1] by the number of their frame; that of frame 0 has the colours
    kept      (b, 1 or t, H, W) in [0, 1], 1 where the image of frame 0 stays; None for nowhere
    """

    settings: MethodSettings
    images_by_frame: Mapping[int, Tensor]
    kept: Tensor | None = None
