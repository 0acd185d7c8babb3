"""`dynamicrafter convert`: one file of weights, from any checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lvdm.suggestions import suggest


def convert(
    source: Annotated[Path, typer.Argument(help="The weight file, or the folder that FSDP or DeepSpeed wrote.")],
    destination: Annotated[Path, typer.Argument(help="The .safetensors or .ckpt file to write.")],
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16 or bf16; left out, as it is.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML whose card is stored in a safetensors file.")] = None,
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
    from lvdm.checkpoint.lora import parse_lora_option, read_lora, write_lora
    from lvdm.device import DTYPES
    from lvdm.model_card import ModelCard

    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known; {suggest(dtype, DTYPES)}")
    console = Console(highlight=False, soft_wrap=True)
    if only_lora:
        if destination.suffix != ".safetensors" or (destination.exists() and not overwrite):
            raise ValueError(f"{destination} should be a new .safetensors file; choose another name, or --overwrite")
        adapters = read_lora(source)
        console.print(str(write_lora(destination, adapters.layers, adapters.info)))
        return
    card = ModelCard.from_yaml(config) if config else None
    report = convert_checkpoint(
        source,
        destination,
        DTYPES[dtype] if dtype else None,
        card=card,
        overwrite=overwrite,
        old_names=old_names,
        loras=[parse_lora_option(text) for text in lora or ()],
        weights="auto" if ema is None else "averaged" if ema else "trained",
        encoders=encoders,
    )
    console.print(str(destination))
    if report.averaged and ema is None:
        console.print("These are the averaged weights of the run; --no-ema takes the trained ones.")
