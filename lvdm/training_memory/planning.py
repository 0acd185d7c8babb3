"""What a training step takes at its busiest, estimated before any weights are loaded.

A model on the meta device takes one step: its real forward and backward pass, without data. What lives at each moment
is counted. Two things are not counted and stated as constants: what the driver and the libraries keep for themselves,
and what the allocator loses between blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lvdm.conditioning import Conditioning, repeat_frame
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.optimization import OptimizerName
from lvdm.models.training_draws import DrawRules, draw_training_numbers
from lvdm.training_memory.numerics import DeviceKind, DeviceNumerics
from lvdm.training_memory.tracking import LiveMemory, module_tensors, saved_for_backward, tensor_bytes

CONTEXT_BYTES = 1_000_000_000
"""Assumed, not measured: CUDA's context, the libraries' workspaces."""

FRAGMENTATION = 0.05
"""Assumed, not measured: the share of all other memory that the caching allocator loses between blocks."""

BLOCK_8BIT, SMALL_8BIT, TABLE_8BIT = 256, 4096, 256
"""torchao's 8-bit moments: values that share a scale, tensors below which they stay in float32, values of the table."""


@dataclass(frozen=True)
class TrainingWorkload:
    """What a step is made of, besides the model and what of it is trained.

    half         what autocast computes in; None for float32 throughout
    average      whether a moving average of the trained weights lies beside them
    accumulates  whether gradients of several batches are added up, so that they live through the backward pass
    devices      copies of the model; from two on each holds its gradients a second time, to exchange them
    cached       latents and tokens come from a cache: the frozen encoders are not on the device
    """

    num_frames: int
    height: int
    width: int
    batch: int = 1
    half: torch.dtype | None = None
    device: DeviceKind = "gpu"
    optimizer: OptimizerName = "adamw"
    average: bool = False
    accumulates: bool = False
    devices: int = 1
    cached: bool = False


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device. Weights, optimizer and average lie there always; the others are a step's busiest moments.

    weights, gradients, optimizer, average
    held       of `gradients`, what lives through the next forward pass: all that accumulates, and copies for exchange
    encoding   added while the frozen encoders run, one after another
    forward    added during the forward pass
    backward   added during the backward pass, gradients included
    update     added while the optimizer changes the weights
    saved      of `forward`, what is kept for the backward pass
    reserve    `CONTEXT_BYTES` and `FRAGMENTATION` on a GPU
    """

    weights: int
    gradients: int
    held: int
    optimizer: int
    average: int
    encoding: int
    forward: int
    backward: int
    update: int
    saved: int
    on_gpu: bool

    @property
    def resident(self) -> int:
        """Bytes that stay from step to step, without gradients."""
        return self.weights + self.optimizer + self.average

    @property
    def allocated(self) -> int:
        """Bytes of tensors at the busiest moment."""
        before = self.held + max(self.encoding, self.forward)
        return self.resident + max(before, self.backward, self.gradients + self.update)

    @property
    def reserve(self) -> int:
        """What is assumed to come on top of tensors."""
        return CONTEXT_BYTES + round(FRAGMENTATION * self.allocated) if self.on_gpu else 0

    @property
    def total(self) -> int:
        """Bytes that the device should have."""
        return self.allocated + self.reserve


def plan_training(model: LatentVisualDiffusion, workload: TrainingWorkload) -> TrainingMemory:
    """The plan for `model`, which lies on the meta device with all that is to be trained chosen.

    Raises `ValueError` if it is anywhere else.
    """
    if any(parameter.device.type != "meta" for parameter in model.parameters()):
        raise ValueError("the planner takes a model on the meta device: build it under torch.device('meta')")
    model.to("meta")  # the schedule's buffers, which are made with values
    if model.config.drop_encoders:
        workload = replace(workload, cached=True)
    encoders = (model.first_stage_model, model.embedder, model.cond_stage_model)
    left_out = {id(p) for part in encoders for p in part.parameters()} if workload.cached else set()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = [tensor for tensor in module_tensors(model) if id(tensor) not in left_out]
    gradients = tensor_bytes(*trained)
    forward, backward, saved = _step(model, workload, trained)
    exchanged = gradients if workload.devices > 1 else 0
    return TrainingMemory(
        weights=tensor_bytes(*weights),
        gradients=gradients + exchanged,
        held=gradients + exchanged if workload.accumulates else exchanged,
        optimizer=optimizer_bytes(trained, workload.optimizer),
        average=gradients if workload.average else 0,
        encoding=0 if workload.cached else _encoding(model, workload),
        forward=forward,
        backward=backward + exchanged,
        update=update_bytes(trained, workload.optimizer, workload.device),
        saved=saved,
        on_gpu=workload.device == "gpu",
    )


def optimizer_bytes(trained: list[nn.Parameter], optimizer: OptimizerName) -> int:
    """Bytes of both moments of AdamW, and of its step counts."""
    if optimizer != "adamw_8bit":
        return sum(2 * tensor_bytes(parameter) + 4 for parameter in trained)
    total = 0
    for parameter in trained:
        count = parameter.numel()
        if count >= SMALL_8BIT and count % BLOCK_8BIT == 0:
            total += 2 * (count + 4 * (count // BLOCK_8BIT) + 4 * TABLE_8BIT)
        else:
            total += 2 * tensor_bytes(parameter)
    return total + 4 * len(trained)


def update_bytes(trained: list[nn.Parameter], optimizer: OptimizerName, device: DeviceKind) -> int:
    """Bytes that an optimizer step adds: a copy of all second moments where all are updated at once, as on a GPU."""
    if optimizer == "adamw_fused":
        return 0
    if optimizer == "adamw" and device == "gpu":
        return tensor_bytes(*trained)
    largest = max((tensor_bytes(parameter) for parameter in trained), default=0)
    return 2 * largest if optimizer == "adamw" else 4 * largest


def _step(
    model: LatentVisualDiffusion, workload: TrainingWorkload, trained: list[nn.Parameter]
) -> tuple[int, int, int]:
    """Bytes that the forward and the backward pass add, and what of them is kept in between."""
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter) if workload.accumulates else None
    counted_elsewhere = (*module_tensors(model), *(p.grad for p in trained if p.grad is not None))
    numerics = DeviceNumerics(workload.device, workload.half)
    make_inputs = _inputs(model, workload)
    with LiveMemory(counted_elsewhere) as memory, numerics:
        with saved_for_backward(counted_elsewhere) as saved:
            loss = model.training_loss(*make_inputs()).mean()
        saved.release()
        numerics.forget()
        forward = memory.peak
        memory.restart()
        _run_backward(loss)
    backward = memory.peak + (tensor_bytes(*trained) if workload.accumulates else 0)
    for parameter in trained:
        parameter.grad = None
    return forward, backward, saved.size


def _run_backward(loss: Tensor) -> None:
    """`loss.backward()` under the modes that are active: as a torch function it would be run outside of them,

    and blocks that are recomputed would see the meta device.
    """
    engine = torch.autograd.Variable._execution_engine  # type: ignore[attr-defined]
    engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def _inputs(model: LatentVisualDiffusion, workload: TrainingWorkload) -> Callable[[], tuple]:
    """What makes the arguments of `training_loss`: latents, conditioning and draws without values."""
    config, factor, batch = model.config, model.vae_factor, workload.batch
    shape = (batch, config.channels, workload.num_frames, workload.height // factor, workload.width // factor)
    vision = config.img_cond_stage_config.params.clip["vision_cfg"] if config.reads_images else None
    depth_shape = (batch, model.unet.config.in_channels - config.channels, *shape[2:])
    text_width = config.cond_stage_config.params.clip["text_cfg"]["width"]

    def make() -> tuple:
        draws = draw_training_numbers(shape, range(batch), 0, DrawRules(config.timesteps)).to(torch.device("meta"))
        latents = torch.empty(shape, device="meta")
        if workload.cached:
            text = torch.empty(batch, model.text_length, text_width, device="meta")
        else:
            text = model.embed_text([""] * batch).to(latents.dtype)
        fps = torch.empty(batch, dtype=torch.long, device="meta")
        if vision is None:  # depth in the place of the image
            return latents, Conditioning(text, text[:, :0], torch.empty(depth_shape, device="meta"), fps), draws
        tokens = 1 + (vision.get("image_size", 224) // vision["patch_size"]) ** 2
        image = model.image_proj_model(torch.empty(batch, tokens, vision["width"], device="meta"))
        return latents, Conditioning(text, image, repeat_frame(latents[:, :, 0], workload.num_frames), fps), draws

    return make


def _encoding(model: LatentVisualDiffusion, workload: TrainingWorkload) -> int:
    """Bytes that the autoencoder or the image encoder adds, whichever more, the clips included."""
    pixels = (workload.batch * workload.num_frames, 3, workload.height, workload.width)
    first_stage = model.first_stage_model
    with LiveMemory(module_tensors(model)) as memory, torch.no_grad():
        video = torch.empty(pixels, device="meta")
        with DeviceNumerics(workload.device):
            first_stage.encode(video.to(next(first_stage.parameters()).dtype))
        if model.config.reads_images:
            with DeviceNumerics(workload.device, workload.half):
                model.embedder(video[: workload.batch])
    return memory.peak
