"""Which devices and strategy a training gets, what is refused, and processes that agree before the first step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from processes import fresh_environment, start_trainer
from pytorch_lightning.strategies import DDPStrategy
from small_model import FRAMES, SIDE, picture, small_yaml
from torch.distributed.tensor import DTensor

from lvdm.config import ConfigError
from lvdm.fit.callbacks.weights import WeightExport, WeightExportConfig
from lvdm.fit.sharding import is_sharded, load_whole_state, shard, units, whole_state
from lvdm.fit.strategies import (
    OURS,
    REMOVED,
    RUN_NAME_VARIABLE,
    Machines,
    agree_on_errors,
    build_strategy,
    check_strategy,
    find_machines,
    has_unused_parameters,
    run_name,
)
from lvdm.fit.trainer_options import TrainerOptions
from lvdm.fit.training_setup import parse_training_setup
from lvdm.launched import Launch, launch
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.lora import LoraConfig, adapted_layers, inject_lora

ROOT = Path(__file__).parents[2]
TWO_CPUS = Machines("cpu", 2)
CPU, GPU = TrainerOptions(accelerator="cpu"), TrainerOptions(accelerator="gpu")

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6", "RANK": "3"}
SLURM = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


def training_tree(folder: Path, **model: Any) -> dict[str, Any]:
    """Steps of two procedural clips for each process, without callbacks."""
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 16}
    node = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    tree = small_yaml()["model"]
    tree["params"] |= model
    return {
        "model": {**tree, "base_learning_rate": 1e-3, "scale_lr": False},
        "data": {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 2, "train": node}},
        "lightning": {"trainer": {"max_steps": 2, "log_every_n_steps": 1, "accelerator": "cpu"}},
    }


def small_model(folder: Path, **params: Any) -> LatentVisualDiffusion:
    return parse_training_setup(training_tree(folder, **params)).model.build()


# ---------------------------------------------------------------------- what was asked for


def test_launchers_are_told_by_their_variables() -> None:
    assert launch({}) is None
    assert launch(TORCHRUN) == Launch("torchrun", devices=2, nodes=3)
    assert launch(SLURM) == Launch("SLURM", devices=4, nodes=2)
    assert launch({**SLURM, **TORCHRUN}).launcher == "torchrun", "torchrun inside a SLURM job starts the processes"
    assert launch({**SLURM, "SLURM_JOB_NAME": "bash"}) is None, "an interactive shell is no launcher"
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        launch({"SLURM_NTASKS": "4"})


@pytest.mark.parametrize(
    ("devices", "trainer", "launched", "expected"),
    [
        ("auto", {}, None, Machines("cpu", 1)),
        ("2", {}, None, Machines("cpu", 2)),
        ("auto", {"devices": 3, "num_nodes": 2}, None, Machines("cpu", 3, 2)),
        ("2", {"devices": 3}, None, Machines("cpu", 2)),
        ("auto", {}, Launch("torchrun", 2, 3), Machines("cpu", 2, 3)),
        ("2", {"num_nodes": 3}, Launch("torchrun", 2, 3), Machines("cpu", 2, 3)),
    ],
)
def test_devices(devices: str, trainer: dict[str, Any], launched: Launch | None, expected: Machines) -> None:
    assert find_machines(devices, TrainerOptions(accelerator="cpu", **trainer), launched) == expected


def test_listed_devices_are_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert find_machines("1,3", TrainerOptions()) == Machines("cuda", [1, 3])
    assert find_machines("1,3", TrainerOptions()).processes == 2
    assert find_machines("auto", GPU) == find_machines("-1", TrainerOptions()) == Machines("cuda", 4)
    with pytest.raises(ConfigError, match="has 4 device"):
        find_machines("5", TrainerOptions())
    with pytest.raises(ConfigError, match="has 4 device"):
        find_machines("0,4", TrainerOptions())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="--gpus-per-node"):
        find_machines("auto", TrainerOptions(), Launch("SLURM", 4, 1))


@pytest.mark.parametrize("devices", ["two", "0", "-2", "1.5"])
def test_devices_that_are_none_are_refused(devices: str) -> None:
    with pytest.raises(ConfigError, match=r"--devices"):
        find_machines(devices, CPU)


def test_flags_that_contradict_the_launcher_are_refused() -> None:
    with pytest.raises(ConfigError, match="torchrun started 2 processes on each of 3 machines"):
        find_machines("4", CPU, launch(TORCHRUN))
    with pytest.raises(ConfigError, match="finds no GPU"):
        find_machines("auto", GPU)


# ---------------------------------------------------------------------- strategies


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fdsp", "'fdsp' is not known; did you mean 'fsdp'"),
        ("ddp_sharded", "gone from Lightning; use fsdp"),
        ("ddp_spawn", "use ddp"),
        ("deepspeed", "pip install deepspeed"),
        ("deepspeed_stage_2_offload", "pip install deepspeed"),
    ],
)
def test_what_cannot_run_here_is_refused_in_one_line(name: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_strategy(name, TWO_CPUS)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_can_run_is_accepted() -> None:
    for name in ("auto", "ddp", "ddp_find_unused_parameters_true"):
        check_strategy(name, TWO_CPUS, averages=True)
    for machines in (Machines("cuda", 2), TWO_CPUS):
        check_strategy("fsdp", machines, averages=True)
        check_strategy("fsdp_sharded", machines)
        with pytest.raises(ConfigError, match="AveragedWeights"):
            check_strategy("fsdp_sharded", machines, averages=True)
    assert not set(REMOVED) & set(OURS)


def test_one_process_needs_no_strategy_and_several_get_ddp(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    assert build_strategy("auto", model, Machines("cpu", 1)) == "auto"
    assert isinstance(build_strategy("auto", model, TWO_CPUS), DDPStrategy)
    assert build_strategy("deepspeed", model, Machines("cuda", 2)) == "deepspeed_stage_2"


@pytest.mark.parametrize("text_tower_trained", [False, True])
def test_parameters_without_gradient_are_foreseen(text_tower_trained: bool, tmp_path: Path) -> None:
    """DDP stops with an error if it is not told of them, and looks for them in every step if it is."""
    setup = parse_training_setup(training_tree(tmp_path, cond_stage_trainable=text_tower_trained))
    model, data = setup.model.build(), setup.data.build()
    source = data.config.train.build()
    batch = torch.utils.data.default_collate([source[index] for index in range(2)]) | {"number": torch.arange(2)}
    model._step(batch, "train")["loss"].backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert has_unused_parameters(model) == text_tower_trained == bool(without)
    assert all(name.startswith("cond_stage_model.") for name in without)


def test_fsdp_splits_the_blocks_and_leaves_what_is_frozen_whole(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    parts = list(units(model))
    assert parts[-2:] == [model.unet, model.image_proj_model]
    assert not {model.first_stage_model, model.cond_stage_model, model.embedder} & set(parts)
    inside = sum(p.numel() for block in parts[:-2] for p in block.parameters())
    assert inside > 0.9 * sum(p.numel() for p in model.unet.parameters()), "most of the UNet should be split"
    assert list(units(torch.nn.Linear(2, 2))) == [], "other models are not called in a way that puts parts together"


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[Any]:
    """A mesh of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_a_model_in_parts_computes_and_is_saved_as_a_whole(tmp_path: Path, one_process: Any) -> None:
    tree = training_tree(tmp_path)
    tree["model"]["params"]["unet_config"]["params"]["image_cross_attention_scale_learnable"] = True
    setup = parse_training_setup(tree)
    model, source = setup.model.build().eval(), setup.data.build().config.train.build()
    batch = torch.utils.data.default_collate([source[index] for index in range(2)]) | {"number": torch.arange(2)}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = model._step(batch, "train")["loss"]
    assert whole_state(model).keys() == before.keys()
    shard(model, one_process)
    assert is_sharded(model)
    parts = model._step(batch, "train")["loss"]
    assert torch.equal(parts, loss)
    parts.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(isinstance(p, DTensor) for p in trained)
    after = whole_state(model)
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in before.items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    load_whole_state(model, {key: value + 1 for key, value in before.items()})
    assert all(torch.equal(value, before[key] + 1) for key, value in whole_state(model).items())
    with pytest.raises(ConfigError, match=r"cannot split Linear, such as weight; use ddp"):
        shard(torch.nn.Linear(2, 2), one_process)


@pytest.mark.parametrize("adapters", [False, True])
def test_weights_of_a_model_in_parts_are_exported_as_those_of_a_whole_one(
    adapters: bool, tmp_path: Path, one_process: Any
) -> None:
    model, files = small_model(tmp_path), [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    if adapters:
        inject_lora(model.unet, LoraConfig(rank=2))
        for number, (_, layer) in enumerate(adapted_layers(model.unet)):
            torch.nn.init.constant_(layer.lora_B["default"].weight, 0.1 * number)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for file in files:
        WeightExport(WeightExportConfig(str(file))).on_train_end(SimpleNamespace(is_global_zero=True), model)  # type: ignore[arg-type]
        if not is_sharded(model):
            shard(model, one_process)
    assert is_sharded(model)
    assert files[0].read_bytes() == files[1].read_bytes()
    after = whole_state(model)  # as a checkpoint has it
    assert after.keys() == state.keys()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    load_whole_state(model, after)


# ---------------------------------------------------------------------- names of runs


def test_processes_agree_on_the_folder_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_NAME_VARIABLE, raising=False)
    assert run_name("mine", TWO_CPUS, launch(TORCHRUN)) == "mine"
    with pytest.raises(ConfigError, match="need --name"):
        run_name("", TWO_CPUS, launch(TORCHRUN))
    first = run_name("", TWO_CPUS, None)
    assert os.environ[RUN_NAME_VARIABLE] == first, "processes that are started later would choose their own"
    monkeypatch.setenv(RUN_NAME_VARIABLE, "chosen")
    assert run_name("", TWO_CPUS, None) == "chosen"


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", ".", " ", "a\\b", "C:x", "a\0b", "x" * 300])
def test_a_name_of_a_run_leads_to_no_other_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--name"):
        run_name(name, TWO_CPUS, None)
    if "\0" not in name:
        monkeypatch.setenv(RUN_NAME_VARIABLE, name)
        with pytest.raises(ConfigError, match=RUN_NAME_VARIABLE):
            run_name("", TWO_CPUS, None)


# ---------------------------------------------------------------------- several processes


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def torchrun(*arguments: object, nodes: int = 1, node: int = 0, port: int = 0) -> list[str]:
    """A torchrun command on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(2 // nodes)]
    meeting = ["--nnodes", nodes, "--node_rank", node, "--master_addr", "127.0.0.1", "--master_port", port]
    return [*launcher, *map(str, meeting if nodes > 1 else ["--master_port", port]), *map(str, arguments)]


def environment() -> dict[str, str]:
    return fresh_environment(PYTHONPATH=str(ROOT), GLOO_SOCKET_IFNAME="lo")


def flags_of_a_node(folder: Path, name: str, data_dir: Path) -> list[str]:
    tree = training_tree(folder)
    pictures = {"data_dir": "", "resolution": [SIDE, SIDE], "video_length": FRAMES, "caption": "a picture"}
    tree["data"]["params"]["train"] = {"target": "lvdm.data.image_folder.ImageFolder", "params": pictures}
    tree["data"]["params"]["batch_size"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    flags = ["--base", folder / "config.yaml", "--train", "--name", name, "--logdir", folder]
    return [*map(str, flags), f"data.params.train.params.data_dir={data_dir}"]


def run_as_two_nodes(folder: Path, name: str, *data_dirs: Path) -> list[tuple[int | None, str]]:
    """Train in two processes with what torchrun tells those of two nodes, without its agents; codes and outputs."""
    port = str(free_port())
    logs = [folder / f"{rank}.txt" for rank in range(2)]
    processes = []
    for rank, (data_dir, log) in enumerate(zip(data_dirs, logs, strict=True)):
        told = {"RANK": str(rank), "GROUP_RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        told |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
        flags = flags_of_a_node(folder, name, data_dir)
        processes.append(start_trainer(flags, log, GLOO_SOCKET_IFNAME="lo", **told))
    for process in processes:
        process.join(timeout=240)
        process.kill()
    return [(process.exitcode, log.read_text()) for process, log in zip(processes, logs, strict=True)]


def run_on_two_nodes(folder: Path, name: str, *data_dirs: Path) -> list[tuple[int, str]]:
    """Train on two torchrun agents, one process each, that meet over the loopback device; exit codes and outputs."""
    port = free_port()
    flags = [["-m", "lvdm.fit.trainer", *flags_of_a_node(folder, name, data_dir)] for data_dir in data_dirs]
    processes = [
        subprocess.Popen(
            torchrun(*words, nodes=2, node=rank, port=port),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, words in enumerate(flags)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with four images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        picture(seed=index).save(folder / f"{index}.png")
    return folder


def test_a_folder_that_one_node_lacks_stops_both(pictures: Path, tmp_path: Path) -> None:
    for code, output in run_as_two_nodes(tmp_path, "bad", pictures, tmp_path / "not_here"):
        assert code != 0
        told = [line for line in output.splitlines() if line.startswith("error: process 1 on ")]
        assert len(told) == 1, f"this node should have told of it in one line: {output[-3000:]}"
        assert "not_here" in told[0]
    assert not list(tmp_path.glob("bad/checkpoints/*.ckpt"))


@pytest.mark.slow
def test_two_nodes_train(pictures: Path, tmp_path: Path) -> None:
    for code, output in run_on_two_nodes(tmp_path, "good", pictures, pictures):
        assert code == 0, output[-3000:]
    assert list(tmp_path.glob("good/checkpoints/step-00000002.ckpt"))


def test_a_problem_of_a_single_process_is_raised_as_it_is() -> None:
    agree_on_errors(None)
    with pytest.raises(ConfigError, match=r"^a problem here$"):
        agree_on_errors("a problem here")
