"""What the records of new and of extended videos share: model and machine as they are written, and as they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lvdm.checkpoint import checkpoint_hash
from lvdm.declaration.parameter import present_names
from lvdm.documents import read_json, short_text
from lvdm.request.digest import InputFile
from lvdm.request.layers import all_parameters, in_field_names

if TYPE_CHECKING:
    from lvdm.pipeline import DynamiCrafterPipeline

T = TypeVar("T")
MAX_THREADS = 4096
_KINDS: Mapping[type, str] = {str: "text", bool: "yes or no", dict: "a mapping", list: "a list"}


def describe_model(pipeline: DynamiCrafterPipeline) -> dict[str, Any]:
    """The files that the model is, with their hashes."""
    identity = pipeline.identity()
    return {
        "config": absolute(pipeline.files.config),
        "config_sha256": identity.config,
        "checkpoint": absolute(pipeline.files.checkpoint),
        "checkpoint_sha256": identity.checkpoint,
        "encoders": absolute(pipeline.encoders),
        "encoders_sha256": identity.encoders,
        "loras": [
            {"file": absolute(file), "scale": scale, "sha256": checkpoint_hash(file)} for file, scale in pipeline.loras
        ],
    }


def describe_runtime(pipeline: DynamiCrafterPipeline) -> dict[str, Any]:
    """What computed, and how."""
    import torch  # records are read without

    from lvdm.device import device_name

    runtime = pipeline.runtime
    together = {} if runtime.processes is None else {"processes": runtime.processes.size}
    return {
        "device": str(runtime.device),
        "device_name": device_name(runtime.device),
        "dtype": runtime.precision.name,
        "attention": runtime.attention,
        "offload": runtime.placement.offload,
        "storage": runtime.placement.storage,
        "low_memory": runtime.low_memory,
        "schedule": pipeline.schedule,
        "threads": torch.get_num_threads(),
        **together,
    }


def values_of_parts(model: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that both parts stand for, by name. What older records do not name is None."""
    values = {name: model.get(name) for name in ("config", "checkpoint", "encoders")}
    values["loras"] = [(file_of(lora["file"], "loras.file"), lora["scale"]) for lora in items(model, "loras")]
    values |= {name: runtime[name] for name in ("device", "dtype", "low_memory")}
    return values | {name: runtime.get(name) for name in ("schedule", "attention", "offload", "storage")}


def hashed_files(places: Mapping[str, tuple[Any, Any]]) -> list[InputFile]:
    """Files by parameter with their hashes. What has no file or no hash is left out. Raises `ValueError`."""
    return [
        InputFile(name, of_type(sha256, str, f"{name}_sha256"), file_of(file, name))
        for name, (file, sha256) in places.items()
        if file is not None and sha256 is not None
    ]


def files_of_model(model: Mapping[str, Any]) -> list[InputFile]:
    """The files that the part `model` of a record names with a hash."""
    names = ("config", "checkpoint", "encoders")
    found = hashed_files({name: (model.get(name), model.get(f"{name}_sha256")) for name in names})
    for lora in items(model, "loras"):
        found.append(
            InputFile("loras", of_type(lora["sha256"], str, "loras.sha256"), file_of(lora["file"], "loras.file"))
        )
    return found


def threads_of(runtime: Mapping[str, Any]) -> int:
    """torch's number of threads: sums are rounded in an order that depends on it."""
    return whole(runtime["threads"], "threads", 1, MAX_THREADS)


def located(record: Path, file: Path) -> Path:
    """Where a file is that a record names: at its place, or else beside the record, with which it was moved."""
    beside = record.parent / file.name
    return beside if not file.is_file() and beside.is_file() else file


def require(values: Mapping[str, Any], *names: str) -> None:
    """Raise `ValueError` for the first of `names` that has no value."""
    for name in names:
        if values[name] is None:
            raise ValueError(f"it has no {name}")


def read_as(path: Path, formats: Collection[str], parse: Callable[[Path, Mapping[str, Any]], T], refusal: str) -> T:
    """What `parse` makes of the record at `path`. Raises `ValueError` for one of another format or that it cannot read.

    refusal: the message; `{path}` and `{reason}` are filled in
    """
    try:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") not in formats:
            raise ValueError("it does not say so in its `format`")
        return parse(path, record)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, ValueError, KeyError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else in_field_names(str(error))
        raise ValueError(refusal.format(path=path, reason=reason)) from error


def present_keys(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a record with the present names of parameters in its keys, those of hashes too."""
    hashes = {key.removesuffix("_sha256"): part[key] for key in part if key.endswith("_sha256")}
    others = {key: value for key, value in part.items() if not key.endswith("_sha256")}
    declared = all_parameters()
    return present_names(declared, others) | {
        f"{name}_sha256": value for name, value in present_names(declared, hashes).items()
    }


def part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a record by its name. Raises `ValueError`, and `KeyError` where there is none."""
    return of_type(record[name], dict, name)


def items(part: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """What a part lists under a name, of which older records have nothing. Raises `ValueError`."""
    return [of_type(item, dict, name) for item in of_type(part.get(name, []), list, name)]


def file_of(value: Any, name: str) -> Path:
    """The path that a record has as text. Raises `ValueError`."""
    return Path(of_type(value, str, name))


def of_type(value: Any, kind: type[T], name: str) -> T:
    """`value`, which is a `kind`. Raises `ValueError`."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} {short_text(value)} is not possible; {_KINDS[kind]} is")
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """`value`, a whole number from `low` to `high`. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} {short_text(value)} is not possible; a whole number from {low} to {high} is")
    return value


def absolute(path: Path | None) -> str | None:
    """The whole path, for a record that may be read from another folder."""
    return None if path is None else str(path.resolve())
