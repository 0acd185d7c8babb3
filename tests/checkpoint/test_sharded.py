"""Checkpoints in pieces: what FSDP and DeepSpeed write gives the same tensors as one file, or says what is missing."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from lvdm.checkpoint import CheckpointError, checkpoint_hash, convert, describe, read_checkpoint
from lvdm.checkpoint.keys import DEEPSPEED_PREFIX
from lvdm.checkpoint.pickles import Inert
from lvdm.checkpoint.sharded import _load_index

WRITTEN_BY_DEEPSPEED = Path(__file__).parent / "deepspeed_zero2"


def assert_refused(path: Path, expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(actual) == set(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, f"{key} is {actual[key].dtype}"
        assert torch.equal(actual[key], value), f"{key} changed by {(actual[key] - value).abs().max()}"


# ---------------------------------------------------------------------- torch.distributed.checkpoint


def write_shards(folder: Path, tensors: dict[str, Tensor], parts: int = 3, root: str = "model.") -> Path:
    """What FSDP ranks write: rows of every tensor over `parts` files, small ones whole, and torch's own index."""
    folder.mkdir()
    entries: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    streams = {f"__{rank}_0.distcp": io.BytesIO() for rank in range(parts)}
    for number, (key, value) in enumerate({**tensors, "optimizer_0.state": torch.ones(4)}.items()):
        name = key if key.startswith("optimizer") else root + key
        pieces = value.chunk(parts) if value.dim() else (value,)
        chunks, row = [], 0
        for index, piece in enumerate(pieces):
            offsets = torch.Size([row, *[0] * (value.dim() - 1)]) if value.dim() else torch.Size([])
            name_of_file, file = list(streams.items())[(index + number) % parts]
            start = file.tell()
            torch.save(piece.clone(), file)
            chunks.append(ChunkStorageMetadata(offsets, piece.shape))
            places[MetadataIndex(name, offsets)] = _StorageInfo(name_of_file, start, file.tell() - start)
            row += len(piece) if value.dim() else 0
        entries[name] = TensorStorageMetadata(TensorProperties.create_from_tensor(value), value.shape, chunks)
    for name_of_file, file in streams.items():
        (folder / name_of_file).write_bytes(file.getvalue())
    index = Metadata(entries, planner_data={name: tuple(name.split(".")) for name in entries}, storage_data=places)
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    torch.save({"epoch": 1, "global_step": 2, "loops": {}}, folder / "meta.pt")
    return folder


def some_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each eighth tensor, and those with names of their own: a shard holds each piece as a file of its own."""
    return {key: value for i, (key, value) in enumerate(tensors.items()) if i % 8 == 0 or "fps_embedding" in key}


@pytest.mark.parametrize("root", ["model.", "state_dict.", ""], ids=["fsdp", "fsdp2", "bare"])
def test_shards_are_put_together(root: str, weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    tensors = some_of(weights["512"])
    folder = write_shards(tmp_path / "step=2.ckpt", tensors, root=root)
    checkpoint = read_checkpoint(folder)
    assert checkpoint.format == "fsdp"
    assert_same(dict(checkpoint), tensors)
    assert all(checkpoint.shape(key) == tuple(value.shape) for key, value in tensors.items())


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_shards_become_the_file_that_the_original_loads(
    suffix: str, weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    tensors = some_of(weights["256"])
    folder = write_shards(tmp_path / "shards.ckpt", tensors)
    target = tmp_path / f"one{suffix}"
    report = convert(folder, target, old_names=True)
    stored = torch.load(target, weights_only=True)["state_dict"] if suffix == ".ckpt" else load_file(target)
    assert_same({key.replace("framestride_embed", "fps_embedding"): value for key, value in stored.items()}, tensors)
    assert "model.diffusion_model.framestride_embed.0.weight" in stored
    assert report.tensors == len(tensors)
    assert not list(tmp_path.glob(".*")), "temporary files are left"


def test_a_folder_is_described_and_hashed_whole(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards.ckpt", some_of(weights["512"]))
    found = describe(folder)
    assert found.bytes == sum(file.stat().st_size for file in folder.iterdir())
    before = checkpoint_hash(folder)
    with open(folder / "__1_0.distcp", "ab") as file:
        file.write(b"more")
    assert checkpoint_hash(folder) != before


def test_a_missing_or_short_shard_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "a.ckpt", {"betas": torch.rand(64), "alphas_cumprod": torch.rand(64)})
    shard = folder / "__2_0.distcp"
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="truncated"):
        convert(folder, tmp_path / "one.safetensors")
    assert not (tmp_path / "one.safetensors").exists()
    shard.unlink()
    assert_refused(folder, "lacks __2_0.distcp")


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_an_index_can_run_nothing_and_name_nothing_outside(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    folder = write_shards(tmp_path / "a.ckpt", {"betas": torch.rand(6)})
    (folder / ".metadata").write_bytes(pickle.dumps(Command()))
    assert_refused(folder, "refused as the index")
    assert not (tmp_path / "ran").exists(), "the index ran code"
    entry = TensorStorageMetadata(
        TensorProperties(), torch.Size([6]), [ChunkStorageMetadata(torch.Size([0]), torch.Size([6]))]
    )
    place = {MetadataIndex("model.betas", [0]): _StorageInfo("../a.ckpt/__0_0.distcp", 0, 10)}
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({"model.betas": entry}, storage_data=place)))
    assert_refused(folder, r"lacks \.\./")

    class Member:
        def __reduce__(self) -> Any:
            return (getattr, (OrderedDict, "fromkeys"))

    read = _load_index(_write(folder / ".metadata", pickle.dumps(Member())))
    assert isinstance(read, Inert), "an index may look up an enumeration's member, which must not be looked up"
    for content in (b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps(Metadata({}))):
        (folder / ".metadata").write_bytes(content)
        assert_refused(folder, "index|truncated|tensors")


# ---------------------------------------------------------------------- DeepSpeed


@pytest.fixture
def deepspeed_classes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type]]:
    """Classes under the names that DeepSpeed's files hold, to write such files without DeepSpeed."""
    made: dict[str, type] = {}
    for dotted in (
        "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
    ):
        module_name, _, name = dotted.rpartition(".")
        parts = module_name.split(".")
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        base = int if name == "ZeroStageEnum" else object
        made[name] = type(name, (base,), {"__module__": module_name})
        monkeypatch.setattr(sys.modules[module_name], name, made[name], raising=False)
    made["ZeroStageEnum"].__reduce__ = lambda stage: (made["ZeroStageEnum"], (int(stage),))  # type: ignore[method-assign, assignment]
    return made


def write_zero(
    folder: Path,
    tensors: dict[str, Tensor],
    classes: dict[str, type],
    *,
    ranks: int = 3,
    mapped: bool = True,
    stage: int = 2,
    prefix: str = "",
) -> Path:
    """A ZeRO-2 folder of `ranks` processes: UNet and query transformer trained in two groups, the rest frozen."""
    trained = [key for key in tensors if key.startswith(("model.", "image_proj_model."))]
    groups = [trained[::2], trained[1::2]]
    inner = folder / "checkpoint"
    inner.mkdir(parents=True)
    (folder / "latest").write_text("checkpoint")
    half = {prefix + key: value.bfloat16() if key in trained else value for key, value in tensors.items()}
    shapes = [OrderedDict((prefix + key, tensors[key].shape) for key in group) for group in groups]
    torch.save(
        {"module": half, "param_shapes": shapes, "global_step": 7, "loops": {}}, inner / "mp_rank_00_model_states.pt"
    )
    flat = [torch.cat([tensors[key].flatten() for key in group]) for group in groups]
    parts = [torch.nn.functional.pad(f, (0, -len(f) % (2 * ranks))).chunk(ranks) for f in flat]
    for rank in range(ranks):
        partitions = [part[rank].clone() for part in parts]
        mappings = []
        for group, part in zip(groups, parts, strict=True):
            begin, end, offset, mapping = rank * len(part[0]), (rank + 1) * len(part[0]), 0, OrderedDict()
            for key in group:
                low, high = max(begin, offset), min(end, offset + tensors[key].numel())
                if low < high:
                    address = classes["fragment_address"]()
                    address.__dict__.update(numel=high - low, start=low - begin)
                    mapping[prefix + key] = address
                offset += tensors[key].numel()
            mappings.append(mapping)
        state = {
            "loss_scaler": classes["DynamicLossScaler"](),
            "base_optimizer_state": {"state": {0: {"exp_avg": torch.zeros_like(partitions[0])}}},
            "single_partition_of_fp32_groups": partitions,
            "zero_stage": classes["ZeroStageEnum"](stage),
            "partition_count": [ranks, ranks],
        }
        if mapped:
            state["param_slice_mappings"] = mappings
        torch.save({"optimizer_state_dict": state}, inner / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return folder


def test_a_folder_written_by_deepspeed_gives_what_its_own_script_gives() -> None:
    checkpoint = read_checkpoint(WRITTEN_BY_DEEPSPEED)
    assert checkpoint.format == "zero"
    assert checkpoint.metadata["global_steps"] == "3"
    assert_same(dict(checkpoint), load_file(WRITTEN_BY_DEEPSPEED / "expected.safetensors"))


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "consecutive"])
@pytest.mark.parametrize("ranks", [1, 3, 12])
def test_partitions_are_put_together_in_float32(
    mapped: bool, ranks: int, weights: dict[str, dict[str, Tensor]], deepspeed_classes: dict[str, type], tmp_path: Path
) -> None:
    folder = tmp_path / "last.ckpt"
    write_zero(folder, weights["512"], deepspeed_classes, ranks=ranks, mapped=mapped, prefix=DEEPSPEED_PREFIX)
    assert_same(dict(read_checkpoint(folder)), weights["512"])
    convert(folder, tmp_path / "one.ckpt")
    stored = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"]
    assert list(stored) == list(weights["512"]), "the released order is lost"
    assert_same(stored, weights["512"])


def test_without_partitions_the_16_bit_weights_are_read(
    weights: dict[str, dict[str, Tensor]], deepspeed_classes: dict[str, type], tmp_path: Path
) -> None:
    folder = write_zero(tmp_path / "last.ckpt", weights["512"], deepspeed_classes)
    for file in (folder / "checkpoint").glob("*_optim_states.pt"):
        file.unlink()
    checkpoint = read_checkpoint(folder)
    assert checkpoint.format == "deepspeed"
    key = "model.diffusion_model.fps_embedding.0.weight"
    assert torch.equal(checkpoint[key], weights["512"][key].bfloat16())


def test_an_incomplete_or_foreign_set_of_partitions_is_refused(
    weights: dict[str, dict[str, Tensor]], deepspeed_classes: dict[str, type], tmp_path: Path
) -> None:
    tensors = {key: value for key, value in weights["512"].items() if key.startswith(("betas", "image_proj_model"))}
    good = write_zero(tmp_path / "good", tensors, deepspeed_classes)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(good, tmp_path / name)) / "checkpoint"

    inner = copy("middle")
    (inner / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    assert_refused(inner.parent, "lacks the optimizer states of rank 1")
    inner = copy("last")
    (inner / "zero_pp_rank_2_mp_rank_00_optim_states.pt").unlink()
    assert_refused(inner.parent, "one of 3 partitions and 2 are in")
    assert_refused(write_zero(tmp_path / "three", tensors, deepspeed_classes, stage=3), "ZeRO stage 3")
    inner = copy("stage3")
    (inner / "mp_rank_00_model_states.pt").rename(inner / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    assert_refused(inner.parent, "zero_to_fp32.py")
    inner = copy("other_model")
    content = torch.load(inner / "mp_rank_00_model_states.pt", weights_only=True)
    content["param_shapes"] = [
        {key: torch.Size([*shape, 2]) for key, shape in g.items()} for g in content["param_shapes"]
    ]
    torch.save(content, inner / "mp_rank_00_model_states.pt")
    assert_refused(inner.parent, "hold .* of the .* values of")
    inner = copy("outside")
    (inner.parent / "latest").write_text("../good/checkpoint")
    assert_refused(inner.parent, "should name a folder beside it")


# ---------------------------------------------------------------------- averaged weights


def test_averaged_and_trained_weights_of_a_run(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    trained = {key: value + 1 for key, value in weights["512"].items()}
    content = {
        "state_dict": weights["512"],
        "current_model_state": trained,
        "averaging_state": {"n_averaged": torch.tensor(5)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(10_000_000)}}}],
    }
    torch.save(content, path)
    for choice, expected, averaged in (
        ("auto", weights["512"], True),
        ("averaged", weights["512"], True),
        ("trained", trained, False),
    ):
        report = convert(path, tmp_path / f"{choice}.safetensors", weights=choice)
        assert report.averaged is averaged
        assert_same(load_file(tmp_path / f"{choice}.safetensors"), expected)
        assert report.bytes < 10_000_000, "the optimizer's state was written"
    torch.save({**content, "averaging_state": {"n_averaged": torch.tensor(0)}}, path)
    assert_same(dict(read_checkpoint(path)), trained)
    with pytest.raises(CheckpointError, match="no averaged weights"):
        read_checkpoint(path, "averaged")
    torch.save({"state_dict": weights["512"]}, path)
    with pytest.raises(CheckpointError, match="AveragedWeights"):
        convert(path, tmp_path / "none.safetensors", weights="averaged")
    assert_same(dict(read_checkpoint(path, "trained")), weights["512"])
