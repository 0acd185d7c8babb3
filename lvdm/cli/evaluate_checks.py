"""`dynamicrafter evaluate selftest`, `vbench-export` and `convert-i3d`: what goes with an evaluation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lvdm.cli.errors import FAILED
from lvdm.errors import counted


def selftest_command(
    i3d: Annotated[Path | None, typer.Option(help="Converted I3D weights, to check against published FVDs.")] = None,
    device: Annotated[str, typer.Option(help="Device for I3D: auto, cpu, cuda ...")] = "auto",
) -> None:
    """Check the metrics against values known from outside this program. Exit code 1 if any is off."""
    import torch
    from torch import Tensor

    from lvdm.evaluation.features.protocol import LoadedClip
    from lvdm.evaluation.features.registry import build_extractor
    from lvdm.evaluation.selftest import run_selftest

    logits = None
    if i3d is not None:
        extractor = build_extractor("i3d-logits", weights=i3d, device=device)

        def logits(frames: Tensor) -> Tensor:
            inputs = [extractor.preprocess(LoadedClip(clip, fps=8.0))["video"] for clip in frames]
            return extractor({"video": torch.stack(inputs)})["features"]

    console = Console(highlight=False, soft_wrap=True, markup=False)
    checks = run_selftest(logits)
    for check in checks:
        verdict = "ok " if check.ok else "BAD"
        console.print(f"{verdict} {check.name}: {check.got:.8g}, known {check.expected:.8g} +- {check.tolerance:.2g}")
    bad = sum(not check.ok for check in checks)
    console.print(f"{len(checks)} checks, {bad} off")
    if bad:
        raise typer.Exit(FAILED)


def vbench_export_command(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the videos; their prompts are those of the suite.")],
    folder: Annotated[Path, typer.Argument(help="New folder for PROMPT-INDEX.mp4 files.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the videos instead of linking them.")] = False,
) -> None:
    """Lay videos out as VBench-I2V reads them. Videos of one prompt are numbered in the order of their ids."""
    from lvdm.evaluation.manifest import read_manifest
    from lvdm.evaluation.vbench_export import ExportedVideo, export_videos

    clips, seen, videos = read_manifest(manifest), Counter[str](), []
    for entry in clips.entries:
        videos.append(ExportedVideo(entry.prompt, seen[entry.prompt], clips.folder / entry.video))
        seen[entry.prompt] += 1
    export = export_videos(videos, folder, "copy" if copy else "link")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if export.incomplete:
        console.print(f"{len(export.incomplete)} prompts have fewer than the suite's 5 videos")
    console.print(f"{folder}: {counted(len(export.files), 'video')}")


def convert_i3d_command(
    source: Annotated[Path, typer.Argument(help="i3d_torchscript.pt or i3d_pretrained_400.pt.")],
    destination: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    eps: Annotated[
        float | None, typer.Option(help="Of the batch normalisations; a state dict does not tell it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Convert known I3D weights, without running code out of them."""
    from lvdm.evaluation.features.i3d_convert import convert_i3d

    done = convert_i3d(source, destination, eps, overwrite)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{done.path}: eps {done.eps:g}, weights {done.tensors_sha256}, from {done.source_sha256}")
