"""A text-to-image model of the Stable Diffusion layout, read as the spatial layers of a video model."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from golden_vectors import fill_module
from safetensors.torch import save_file
from torch import nn

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.warm_start import warm_start
from lvdm.modules.attention import TemporalTransformer
from lvdm.modules.layers import TemporalConvBlock
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel

PREFIX = "model.diffusion_model."
CONFIG = UNetConfig(
    in_channels=8,
    out_channels=4,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(1, 2),
    num_head_channels=16,
    context_dim=32,
    use_linear=True,
    temporal_conv=True,
    use_relative_position=False,
    addition_attention=True,
    image_cross_attention=True,
    fs_condition=True,
)


class Model(nn.Module):
    """A UNet under the key that it has in a whole model."""

    def __init__(self, unet: UNetModel) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = unet


def image_model(unet: UNetModel) -> dict[str, torch.Tensor]:
    """What Stable Diffusion would hold: no temporal layers, no image branch, four input channels, its own places."""
    temporal = [name for name, m in unet.named_modules() if isinstance(m, TemporalTransformer | TemporalConvBlock)]
    tensors = {}
    for name, value in unet.state_dict().items():
        if any(name.startswith(f"{module}.") for module in temporal) or "_ip." in name or name.startswith("fps_"):
            continue
        name = re.sub(r"^(middle_block|output_blocks\.\d+)\.3\.", r"\1.2.", name)
        tensors[PREFIX + name] = (value[:, :4] if name == "input_blocks.0.0.weight" else value).contiguous()
    return tensors


def test_every_layer_of_an_image_model_finds_its_place(tmp_path: Path) -> None:
    donor, unet = UNetModel(CONFIG), UNetModel(CONFIG)
    fill_module(donor, "")
    tensors = image_model(donor)
    assert any(name.startswith(f"{PREFIX}output_blocks.1.2.conv.") for name in tensors), "no upsampling after attention"
    save_file(tensors, tmp_path / "sd.safetensors")
    plan = warm_start(Model(unet), read_checkpoint(tmp_path / "sd.safetensors"))
    assert not plan.unused, "layers of the image model were not recognised"
    assert len(plan.matched) + len(plan.adapted) == len(tensors)
    taken = {name.removeprefix(PREFIX) for name in plan.matched}
    for name, value in unet.state_dict().items():
        if name in taken:
            assert torch.equal(value, donor.state_dict()[name]), f"{name} took the values of another layer"


def test_on_one_frame_a_new_video_model_is_the_image_model(tmp_path: Path) -> None:
    """New temporal layers and the concatenated channels begin with zeros: nothing but the image model is left."""
    donor, unet = UNetModel(CONFIG), UNetModel(CONFIG)
    fill_module(donor, "")
    save_file(image_model(donor), tmp_path / "sd.safetensors")
    warm_start(Model(unet), read_checkpoint(tmp_path / "sd.safetensors"))
    unet.eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 1, 8, 8, generator=generator)
    context = torch.randn(2, 77 + 16, 32, generator=generator)
    time = torch.tensor([3, 500])
    with torch.no_grad():
        first = unet(x, time, context, torch.tensor([1, 1]))
        x[:, 4:] += 1
        assert torch.equal(unet(x, time, context, torch.tensor([7, 7])), first), "concat and fs should have no effect"
        for module in unet.modules():
            if isinstance(module, TemporalTransformer):
                nn.init.normal_(module.norm.weight, generator=generator)
        assert torch.equal(unet(x, time, context, torch.tensor([1, 1])), first), "temporal layers should add nothing"
