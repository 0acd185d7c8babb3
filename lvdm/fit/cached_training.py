"""Training from a latent cache: does the cache belong to the model, and can the encoders stay out of memory?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lvdm.caching.encoders import encoder_hashes
from lvdm.caching.latent_cache import CachedLatents, CachedLatentsConfig
from lvdm.caching.latent_index import changed_encoders
from lvdm.caching.latent_records import CacheError
from lvdm.checkpoint import read_checkpoint
from lvdm.config import Component, ConfigError
from lvdm.models.depth_diffusion import LatentDepthDiffusionConfig
from lvdm.models.video_config import LatentVisualDiffusionConfig

log = logging.getLogger(__name__)

SOURCES = ("train", "validation", "test")


def select_encoders(model: Component, data: Component, pretrained: Sequence[Path]) -> Component:
    """`model` as the data asks for it: without autoencoder and CLIP encoders if every source is a latent cache.

    `pretrained` are the checkpoints that the training begins from: a cache that was made with other encoders than
    theirs is a `ConfigError`, and so is a cache that cannot give what the model's options ask for.
    """
    sources = {name: getattr(data.params, name, None) for name in SOURCES}
    named = {name: source for name, source in sources.items() if source is not None}
    caches = {name: s.params for name, s in named.items() if isinstance(s.params, CachedLatentsConfig)}
    config = model.params
    if not isinstance(config, LatentVisualDiffusionConfig):
        if caches:
            raise ConfigError(f"data.params.{next(iter(caches))}: only video models are trained on cached latents")
        return model
    pixels = [name for name in named if name not in caches]
    if config.drop_encoders and pixels:
        raise ConfigError(
            f"model.params.drop_encoders: data.params.{pixels[0]} gives pixels, which need the encoders; "
            "name lvdm.caching.latent_cache.CachedLatents there too, or leave the option out"
        )
    for name, cache in caches.items():
        _check_options(cache, config, f"data.params.{name}")
    if caches:
        _check_encoders(caches, config, pretrained)
    drop = bool(caches) and not pixels if config.drop_encoders is None else config.drop_encoders
    if drop:
        log.info("all clips come from latent caches: neither autoencoder nor CLIP encoders are built")
    return Component(model.target, replace(config, drop_encoders=drop))


def _check_options(cache: CachedLatentsConfig, config: LatentVisualDiffusionConfig, where: str) -> None:
    if isinstance(config, LatentDepthDiffusionConfig):
        raise ConfigError(f"{where}: a latent cache holds no depth, which this model reads; name the videos themselves")
    if config.cond_stage_trainable:
        raise ConfigError(
            f"{where}: cached captions cannot train the text encoder; set model.params.cond_stage_trainable: false, "
            "or name the videos themselves"
        )
    if cache.condition == "first" and config.rand_cond_frame:
        raise ConfigError(
            f"{where}.condition: first keeps one frame's image tokens, model.params.rand_cond_frame needs any frame's"
        )


def _check_encoders(
    caches: dict[str, CachedLatentsConfig], config: LatentVisualDiffusionConfig, pretrained: Sequence[Path]
) -> None:
    indices = {name: _open(cache, f"data.params.{name}").index for name, cache in caches.items()}
    if not pretrained:
        raise ConfigError(
            "model.pretrained_checkpoint names no weights: name those that the latent cache was made with, "
            "so that the trained model goes with them"
        )
    hashes = encoder_hashes(config, [read_checkpoint(path) for path in pretrained])
    for name, index in indices.items():
        changed = changed_encoders(index.format, hashes)
        if changed:
            raise ConfigError(
                f"data.params.{name}: the cache in {caches[name].folder} was made with another {' and '.join(changed)} "
                f"than {', '.join(map(str, pretrained))} holds; run `dynamicrafter data cache` with this configuration"
            )


def _open(cache: CachedLatentsConfig, where: str) -> CachedLatents:
    try:
        return CachedLatents(cache)
    except CacheError as error:
        raise ConfigError(f"{where}: {error}") from error
