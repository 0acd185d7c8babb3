"""Fully sharded training (FSDP2): each device keeps a part of every trained tensor, of its gradient and its moments.

The blocks of the UNet are put together one after the other while they compute. What is frozen stays whole on each
device, as it has no gradients to split. A checkpoint in one file is the same as that of one device: either goes on from
the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lvdm.checkpoint.pickles import load_pickle
from lvdm.config import ConfigError
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.modules.networks.openaimodel3d import TimestepEmbedSequential

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Whole tensors in host memory, on the first device alone."""
READ_BY_ALL = StateDictOptions(full_state_dict=True)


class ShardedModel(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, which splits the model itself instead of leaving that to the model.

    sharded_checkpoints  whether a checkpoint is a folder of shards, or one file
    """

    def __init__(self, processes: int, sharded_checkpoints: bool) -> None:
        super().__init__(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=sharded_checkpoints
        )

    def setup(self, trainer: pl.Trainer) -> None:
        """Split the model over the devices and make its optimizers, as Lightning does with a model in parts."""
        assert self.model is not None
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        self.model_to_device()
        if not is_sharded(self.model):  # as it is when a validation follows
            shard(self.model, self.device_mesh["data_parallel"])
        self.model = self.precision_plugin.convert_module(self.model)
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """That of one device, empty on all devices but the first; or this device's parts."""
        assert self.model is not None
        return super().lightning_module_state_dict() if self._save_distributed_checkpoint else whole_state(self.model)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The same for an optimizer."""
        if self._save_distributed_checkpoint:
            return super().optimizer_state(optimizer)
        assert self.model is not None
        state = get_optimizer_state_dict(self.model, getattr(optimizer, "_optimizer", optimizer), options=GATHERED)
        if not state:
            return {}
        names = [name for group in state["param_groups"] for name in group["params"]]
        numbers, scalars = {name: number for number, name in enumerate(names)}, scalar_names(self.model)
        return {
            "state": {
                numbers[name]: {key: _scalar(value) if name in scalars else value for key, value in of_one.items()}
                for name, of_one in state["state"].items()
            },
            "param_groups": [
                {**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]
            ],
        }

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Weights and moments go to their devices; returns what else a checkpoint holds, of one file all of it."""
        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        assert self.model is not None
        checkpoint: dict[str, Any] = dict(load_pickle(path))  # memory-mapped: every device reads its parts of it
        load_whole_state(self.model, checkpoint["state_dict"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            self._load_optimizer(optimizer, state)
        return checkpoint

    def _load_optimizer(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        assert self.model is not None
        known = {id(parameter): name for name, parameter in self.model.named_parameters()}
        names = [known[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        order = [number for group in state["param_groups"] for number in group["params"]]
        named, scalars = dict(zip(order, names, strict=True)), scalar_names(self.model)
        whole_optimizer = {
            "state": {
                named[number]: {
                    key: value.reshape(1) if key != "step" and named[number] in scalars else value
                    for key, value in of_one.items()
                }
                for number, of_one in state["state"].items()
            },
            "param_groups": [
                {**group, "params": [named[number] for number in group["params"]]} for group in state["param_groups"]
            ],
        }
        set_optimizer_state_dict(self.model, optimizer, whole_optimizer, options=READ_BY_ALL)


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Replace the trained parameters of `model` by their parts on this device, in place; all devices must call it.

    Raises `ConfigError` for a model whose parts are not called in a way that puts them together again.
    """
    for name in scalar_names(model):  # a scalar cannot be split, a vector of one can
        module = model.get_submodule(name.rpartition(".")[0])
        module.alpha = nn.Parameter(module.alpha.detach().reshape(1))  # type: ignore[operator,union-attr]
    frozen = {parameter for parameter in model.parameters() if not parameter.requires_grad}
    for module in units(model):
        fully_shard(module, mesh=mesh, ignored_params=frozen)
    left = [name for name, p in model.named_parameters() if p.requires_grad and not isinstance(p, DTensor)]
    if left:
        raise ConfigError(f"strategy fsdp cannot split {type(model).__name__}, such as {left[0]}; use ddp")


def units(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that are put together as a whole when they compute, inner ones first."""
    if not isinstance(model, LatentVisualDiffusion):
        return
    for module in model.unet.modules():
        if isinstance(module, TimestepEmbedSequential) and _is_trained(module):
            yield module
    for part in (model.unet, model.image_proj_model, model.cond_stage_model, model.frame_carrier):
        if part is not None and _is_trained(part):
            yield part


def scalar_names(model: nn.Module) -> list[str]:
    """Names of the trained parameters that are one number each: the learned scales of the image's attention."""
    return [name for name, p in model.named_parameters() if name.endswith(".alpha") and p.requires_grad]


def whole_state(model: nn.Module) -> dict[str, Any]:
    """The state dict of a model; of one in parts with whole tensors on the CPU, for which all devices must ask.

    That of a model in parts is empty on all devices but the first.
    """
    if not is_sharded(model):
        return model.state_dict()
    state, scalars = get_model_state_dict(model, options=GATHERED), set(scalar_names(model))
    return {name: _scalar(value) if name in scalars else value for name, value in state.items()}


def load_whole_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give each device its part of a whole state dict, which all of them have read."""
    scalars = set(scalar_names(model))
    own = {name: value.reshape(1) if name in scalars else value for name, value in state.items()}
    set_model_state_dict(model, own, options=READ_BY_ALL)


def is_sharded(model: nn.Module) -> bool:
    """Whether devices keep parts of this model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together on every device, which all must ask for."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _scalar(value: Any) -> Any:
    return value.reshape(()) if isinstance(value, Tensor) and value.numel() == 1 else value


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
