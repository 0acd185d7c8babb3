"""`dynamicrafter stats`: what is measured over data once and used by generations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lvdm.cli.options import Overwrite
from lvdm.cli.progress import counting_bar, library_messages
from lvdm.progress import Progress


def analytic_init(
    destination: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    config: Annotated[list[Path], typer.Option(help="The training YAML with the data; given again, later ones win.")],
    clips: Annotated[int, typer.Option(help="How many clips; videos are taken in turn.")] = 500,
    source: Annotated[str, typer.Option(help="Which data: train, validation or test.")] = "train",
    seed: Annotated[int, typer.Option(help="Of the choice of clips.")] = 0,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of the autoencoder, if not the YAML's own.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")] = "auto",
    overwrite: Overwrite = False,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as for training.")] = None,
) -> None:
    """Mean and variance of the latents of clips, for `--start-statistics`."""
    import torch

    from lvdm.caching.encoders import load_first_stage
    from lvdm.checkpoint import read_checkpoint
    from lvdm.cli.data_cache import model_config
    from lvdm.device import choose_device
    from lvdm.fit.training_setup import load_training_setup
    from lvdm.media.ownership import check_replaceable
    from lvdm.plugins.latent_statistics import write_statistics
    from lvdm.plugins.truncated_start import RunningStatistics

    if clips < 1:
        raise ValueError(f"--clips {clips}: give at least 1")
    if destination.suffix != ".safetensors":
        raise ValueError(f"{destination} should end in .safetensors")
    check_replaceable(destination, overwrite)
    setup = load_training_setup(config, overrides or [])
    weights = setup.pretrained if checkpoint is None else (checkpoint,)
    for path in weights:
        if not path.exists():
            raise ValueError(f"{path}, which the autoencoder is to come from, does not exist; name one by --checkpoint")
    model, where = model_config(setup), choose_device(device)
    component = getattr(setup.data.params, source, None) if source in ("train", "validation", "test") else None
    if component is None:
        raise ValueError(f"--source {source}: the configuration has no data.params.{source}")
    videos, running = component.build(), RunningStatistics()
    encoders = load_first_stage(model, [read_checkpoint(path) for path in weights], where)
    with library_messages(), counting_bar() as show:
        for number in range(clips):
            video = videos.clip(number % len(videos), random.Random(f"{seed}/{number}/clip"), None)["video"]
            mean = encoders.moments(torch.as_tensor(video).movedim(1, 0).to(where)).chunk(2, dim=1)[0]  # t c h w
            running.add(model.scale_factor * mean.movedim(0, 1).cpu())
            show(Progress("clips", number + 1, clips))
    write_statistics(destination, running.result(), clips, ", ".join(map(str, config)))
    Console(highlight=False, soft_wrap=True, markup=False).print(str(destination))
