"""`dynamicrafter convert`: one file of weights, from any checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from lvdm.suggestions import suggest

if TYPE_CHECKING:
    from lvdm.checkpoint.reading import Weights


def convert(
    source: Annotated[Path, typer.Argument(help="The weight file, or the folder of shards or of diffusers.")],
    destination: Annotated[
        Path, typer.Argument(help="The .safetensors or .ckpt file to write, or the folder (--to diffusers).")
    ],
    to: Annotated[
        Literal["file", "diffusers"],
        typer.Option(help="file: by the suffix of its name. diffusers: a folder that diffusers loads."),
    ] = "file",
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16 or bf16; left out, as it is.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="The YAML: its card is stored in a safetensors file, all of it in a folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    old_names: Annotated[
        bool, typer.Option("--old-names", help="Name the fs embedding as the published 256 file does.")
    ] = False,
    ema: Annotated[
        bool | None,
        typer.Option(
            "--ema/--no-ema", help="The averaged weights of a training run, or the trained; averaged if there are any."
        ),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="Add a LoRA to the weights: FILE or FILE:SCALE. May be given often.")
    ] = None,
    only_lora: Annotated[
        bool, typer.Option("--only-lora", help="Of a checkpoint of a LoRA training, write the adapters alone.")
    ] = False,
    encoders: Annotated[
        Path | None,
        typer.Option(help="The checkpoint a training began with, for the encoders that it left out or rounded."),
    ] = None,
) -> None:
    """Write the weights of a checkpoint in another format or precision, tensor by tensor; shards become one file."""
    from lvdm.checkpoint import convert as convert_checkpoint
    from lvdm.checkpoint.converting import convert_to_diffusers
    from lvdm.checkpoint.lora import parse_lora_option, read_lora, write_lora
    from lvdm.device import DTYPES
    from lvdm.model_card import ModelCard
    from lvdm.model_files import find_model

    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known; {suggest(dtype, DTYPES)}")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if only_lora:
        if destination.suffix != ".safetensors" or (destination.exists() and not overwrite):
            raise ValueError(f"{destination} should be a new .safetensors file; choose another name, or --overwrite")
        adapters = read_lora(source)
        console.print(str(write_lora(destination, adapters.layers, adapters.info)))
        return
    wanted, loras = DTYPES[dtype] if dtype else None, [parse_lora_option(text) for text in lora or ()]
    weights: Weights = "auto" if ema is None else "averaged" if ema else "trained"
    if to == "diffusers":
        if overwrite or old_names:
            raise ValueError("--overwrite and --old-names are for files; leave them out, and name a new folder")
        files = find_model(source if config is None else config, source)
        report = convert_to_diffusers(
            source, destination, files.config, wanted, loras=loras, weights=weights, encoders=encoders
        )
    else:
        report = convert_checkpoint(
            source,
            destination,
            wanted,
            card=ModelCard.from_yaml(config) if config else None,
            overwrite=overwrite,
            old_names=old_names,
            loras=loras,
            weights=weights,
            encoders=encoders,
        )
    console.print(str(destination))
    if report.averaged and ema is None:
        console.print("These are the averaged weights of the run; --no-ema takes the trained ones.")
