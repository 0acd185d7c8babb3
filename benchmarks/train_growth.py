"""Whether the memory of a training grows with its steps."""

from __future__ import annotations

import gc
import tempfile
from typing import Any

import pytorch_lightning as pl
import torch
from training_sizes import TINY

from lvdm.config import load_yaml, parse_component
from lvdm.device import current_memory
from lvdm.fit.callbacks import default_callbacks
from lvdm.fit.tuning import TuningConfig, apply_tuning

EVERY, WARM_UP = 20, 0.1


class MemoryLog(pl.Callback):
    """Memory of the process every `EVERY` steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.bytes: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure."""
        if trainer.global_step % EVERY == 0:
            gc.collect()
            self.steps.append(trainer.global_step)
            self.bytes.append(current_memory(torch.device("cpu")) or 0)


def measure_growth(steps: int) -> dict[str, Any]:
    """Memory over `steps` steps of the embedded model at its smallest, and its slope after the first tenth."""
    tree = load_yaml(TINY)["model"]
    params = tree["params"]
    params["cond_stage_trainable"] = False
    params["unet_config"]["params"] |= {"channel_mult": [1, 1], "attention_resolutions": [2], "temporal_length": 4}
    params["image_proj_stage_config"]["params"]["video_length"] = 4
    model = parse_component({key: tree[key] for key in ("target", "params")}, "model").build()
    apply_tuning(model, TuningConfig())
    clips = {"num_frames": 4, "height": 32, "width": 32, "length": 200}
    source = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    data = {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 1, "train": source}}
    log = MemoryLog()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            callbacks=[*default_callbacks([], progress=False), log],
            logger=pl.loggers.CSVLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, datamodule=parse_component(data, "data").build())
    kept = [i for i, step in enumerate(log.steps) if step > steps * WARM_UP]
    return {
        "steps": steps,
        "measured_at": log.steps,
        "bytes": log.bytes,
        "slope": slope([log.steps[i] for i in kept], [log.bytes[i] for i in kept]),
    }


def slope(x: list[int], y: list[int]) -> float:
    """Of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
