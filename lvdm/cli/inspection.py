"""`info` and `doctor`: what a checkpoint is, and what this machine can do."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from lvdm.checkpoint import CheckpointInfo
    from lvdm.model_card import ModelCard
    from lvdm.model_files import ModelFiles

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "open_clip_torch", "kornia", "safetensors", "av", "pillow")


def info(
    source: Annotated[str, typer.Argument(help="A weight file, a folder, a YAML or a preset.")] = "tiny",
    config: Annotated[Path | None, typer.Option(help="The YAML that goes with a weight file.")] = None,
    with_hash: Annotated[bool, typer.Option("--hash/--no-hash", help="SHA-256, which reads the whole file.")] = True,
) -> None:
    """Tell what a checkpoint is and can do."""
    from lvdm.model_files import WEIGHT_SUFFIXES, ModelFiles, find_model

    if Path(source).suffix in WEIGHT_SUFFIXES:
        beside = Path(source).parent / "config.yaml"
        found, weights = beside if beside.is_file() else None, Path(source)
    else:
        files = find_model(source)
        found, weights = files.config, files.checkpoint
    named = config or (found if found is not None and found == Path(source) else None)
    info = _describe(ModelFiles(named, weights), with_hash) if named else _described_as_far(found, weights, with_hash)
    table = _table()
    table.add_row("checkpoint", f"{info.path} ({info.bytes / 1e6:.1f} MB, {info.format})")
    table.add_row("family", f"{info.family}: {' or '.join(info.candidates) or 'none of the released models'}")
    table.add_row(
        "predicts", f"{info.parameterization or 'unknown'}, zero terminal SNR: {_yes(info.zero_terminal_snr)}"
    )
    for label, text in _card_rows(info):
        table.add_row(label, text)
    for part in info.parts:
        table.add_row(part.name, f"{part.parameters / 1e6:.2f} M parameters")
    for missing in info.missing:
        table.add_row(missing, "NOT IN THE FILE")
    table.add_row("sha256", info.sha256 or "not computed")
    for note in (*info.notes, *([info.card.notes] if info.card and info.card.notes else [])):
        table.add_row("note", note)
    Console(highlight=False, soft_wrap=True, markup=False).print(table)


def _describe(files: ModelFiles, with_hash: bool) -> CheckpointInfo:
    """What the weights are by their YAML. Raises `ConfigError` for one that `animate` refuses."""
    from lvdm.checkpoint import describe
    from lvdm.model_files import card_for

    info = describe(files.checkpoint, files.config, with_hash=with_hash)
    card_for(files)
    return info


def _described_as_far(config: Path | None, weights: Path, with_hash: bool) -> CheckpointInfo:
    """What the weights are, by the YAML that lies beside them if it can be read, and a note if it cannot."""
    from lvdm.checkpoint import describe
    from lvdm.config import ConfigError
    from lvdm.model_files import ModelFiles

    if config is not None:
        try:
            return _describe(ModelFiles(config, weights), with_hash)
        except ConfigError as error:
            info = describe(weights, with_hash=with_hash)
            return replace(info, notes=(*info.notes, f"the configuration beside it was not read: {error}"))
    return describe(weights, with_hash=with_hash)


def _card_rows(info: CheckpointInfo) -> Iterator[tuple[str, str]]:
    """Label and text of what the card says; of every model that the file can be where several are possible."""
    from lvdm.model_card import CARDS

    cards = [info.card] if info.card else [CARDS[name] for name in info.candidates]
    source = f" ({info.card_source})" if info.card else ""
    texts: dict[str, Callable[[ModelCard], str]] = {
        "trained at": lambda card: f"{card.width}x{card.height}, {card.num_frames} frames{source}",
        "fs": lambda card: (
            card.fs_description + ("" if card.fs_meaning == "none" else f"; {card.fs_default} by default")
        ),
        "can do": lambda card: ", ".join(card.capabilities),
        "sampling": lambda card: f"{card.sampler}, {card.num_inference_steps} steps, guidance {card.guidance_scale}",
    }
    for label, text in texts.items():
        if not cards:
            yield label, "unknown"
        elif len({text(card) for card in cards}) == 1:
            yield label, text(cards[0])
        else:
            yield label, "; ".join(f"if it is {card.name}: {text(card)}" for card in cards)


def doctor() -> None:
    """Tell what this machine can do, and what to change."""
    import torch

    from lvdm.device import choose_device, choose_precision, device_name, fused_attention_kernels, total_memory
    from lvdm.media.codecs import available_encoders
    from lvdm.media.video_backends import READERS
    from lvdm.media.video_backends import why_not as reader_problem
    from lvdm.model_files import EMBEDDED, PRESETS, find_preset
    from lvdm.modules.attention_backends import BACKENDS, choose_attention
    from lvdm.modules.attention_backends import why_not as attention_problem

    device = choose_device()
    memory = total_memory(device)
    table = _table()
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        table.add_row(package, _version(package))
    table.add_row("device", f"{device} ({device_name(device)})" + (f", {memory / 2**30:.0f} GiB" if memory else ""))
    table.add_row("threads", str(torch.get_num_threads()))
    table.add_row("precision", str(choose_precision("auto", device)))
    precision = choose_precision("auto", device).weights
    fused = fused_attention_kernels(device)
    kernels = f" ({', '.join(fused)})" if fused else ""
    table.add_row("attention", f"auto: {choose_attention('auto', device, precision)}{kernels}")
    for kernel, backend in BACKENDS.items():
        problem = attention_problem(kernel, device, precision if backend.dtypes is None else backend.dtypes[-1])
        table.add_row(f"  {kernel}", problem or f"runs here; {backend.notes}")
    table.add_row("video reader", "pyav unless another is named")
    for reader, reads in READERS.items():
        table.add_row(f"  {reader}", reader_problem(reader) or f"runs here; {reads.notes}")
    codecs = available_encoders()
    table.add_row("video codecs", ", ".join(f"{name} {'yes' if there else 'NO'}" for name, there in codecs.items()))
    missing = []
    for preset in PRESETS:
        try:
            table.add_row(f"preset {preset}", str(find_preset(preset).checkpoint))
        except ValueError as error:
            table.add_row(f"preset {preset}", "not here")
            missing.append((preset, str(error)))
    Console(highlight=False, soft_wrap=True, markup=False).print(table)
    advice = [
        f"codec {name} is missing: pip install --force-reinstall av" for name, there in codecs.items() if not there
    ]
    advice += [message for name, message in missing if name == EMBEDDED]
    if device.type == "cpu":
        advice.append(
            "no accelerator was found: a released model takes many minutes for a video here; the tiny one runs well"
        )
    elif memory and memory < 12 * 2**30:
        advice.append("less than 12 GiB of device memory: use --low-memory for the released models")
    for line in advice or ["nothing needs to be changed"]:
        Console(highlight=False, soft_wrap=True, markup=False).print(f"- {line}")


def _table() -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    return table


def _yes(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "NOT INSTALLED"
