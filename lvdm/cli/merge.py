"""`dynamicrafter merge`: one checkpoint between or beyond two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lvdm.suggestions import suggest


def merge(
    base: Annotated[Path, typer.Argument(help="The checkpoint to begin with.")],
    other: Annotated[Path, typer.Argument(help="One of the same architecture.")],
    destination: Annotated[Path, typer.Argument(help="The .safetensors or .ckpt file to write.")],
    weight: Annotated[float, typer.Option(help="0 is the base, 1 the other, -0.25 a quarter beyond the base.")] = 0.5,
    keep: Annotated[float, typer.Option(help="Share of the differences that count, chosen at random.")] = 1.0,
    rescale: Annotated[bool, typer.Option(help="Make up for those that do not count.")] = True,
    seed: Annotated[int, typer.Option(help="Of that choice.")] = 0,
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16 or bf16; left out, as the base.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML whose card is stored in a safetensors file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write base + weight x (other - base), tensor by tensor."""
    from lvdm.checkpoint import convert
    from lvdm.checkpoint.blending import Blend
    from lvdm.device import DTYPES
    from lvdm.model_card import ModelCard

    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known; {suggest(dtype, DTYPES)}")
    if destination.exists() and destination.samefile(other):
        raise ValueError(f"{destination} is the other checkpoint itself; choose another name")
    card = ModelCard.from_yaml(config) if config else None
    blend = Blend(weight, keep, rescale, seed)
    convert(
        base, destination, DTYPES[dtype] if dtype else None, card=card, overwrite=overwrite, blend_with=(other, blend)
    )
    Console(highlight=False, soft_wrap=True, markup=False).print(str(destination))
