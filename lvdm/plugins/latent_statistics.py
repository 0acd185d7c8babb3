"""Files of latent statistics, as `dynamicrafter stats analytic-init` writes them and `start_statistics` names them."""

from __future__ import annotations

from pathlib import Path

import safetensors
from safetensors import safe_open

from lvdm.checkpoint.writing import write_safetensors
from lvdm.plugins.truncated_start import LatentStatistics
from lvdm.regular_files import check_regular

FORMAT = "dynamicrafter-latent-statistics/1"


def write_statistics(path: str | Path, statistics: LatentStatistics, clips: int, source: str) -> None:
    """Write the statistics of `clips` clips of `source` to `path`. Raises `OutputError`."""
    described = {"format": FORMAT, "variance": repr(statistics.variance), "clips": str(clips), "source": source}
    write_safetensors(path, {"mean": statistics.mean}, described)


def read_statistics(path: str | Path) -> LatentStatistics:
    """The statistics in `path`. Raises `ValueError` for a file that holds none."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            if described.get("format") != FORMAT:
                raise ValueError("it does not say so in its header")
            return LatentStatistics(file.get_tensor("mean"), float(described["variance"]))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} holds no latent statistics ({error}); make them with dynamicrafter stats analytic-init"
        ) from error
