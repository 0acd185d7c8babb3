"""A method is one file: the example of CONTRIBUTING.md is added, makes a video, and is gone again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_model import picture, write_small_model

from lvdm.declaration.parameter import declared, parameters_of
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest
from lvdm.plugins import methods as package
from lvdm.plugins import registry
from lvdm.request.settings import GenerationSettings

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
NAME = "noise_gain"
REQUEST = GenerationRequest(picture(), "a red ball moves to the right")


def example() -> str:
    """The file that CONTRIBUTING.md shows."""
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.DOTALL)
    return next(block for block in blocks if f'name="{NAME}"' in block)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the file, among the methods."""
    (tmp_path / f"{NAME}.py").write_text(example(), encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.methods()
    module = f"{package.__name__}.{NAME}"
    yield sys.modules[module]
    del sys.modules[module]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> DynamiCrafterPipeline:
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def plain(pipe: DynamiCrafterPipeline) -> torch.Tensor:
    """Latents without the method."""
    return pipe.generate([REQUEST], pipe.settings()).latents


def test_a_file_is_all_that_a_method_is(plain: torch.Tensor, added: ModuleType, pipe: DynamiCrafterPipeline) -> None:
    assert NAME in registry.methods()
    source = registry.source_of_parameters()
    space: dict[str, object] = {"__name__": "all_parameters"}
    exec(compile(source, "all_parameters.py", "exec"), space)
    assert NAME in parameters_of(space["MethodParameters"])

    @declared
    class Settings(GenerationSettings, added.NoiseGainParameters):
        """As they are once `all_parameters.py` is written anew."""

    def latents(settings: GenerationSettings) -> torch.Tensor:
        return pipe.generate([REQUEST], settings).latents

    assert torch.equal(latents(Settings.from_card(pipe.card)), plain), "at its neutral value it changes bits"
    assert torch.equal(latents(Settings.from_card(pipe.card, noise_gain=1)), plain)
    halved = latents(Settings.from_card(pipe.card, noise_gain=0.5))
    assert torch.isfinite(halved).all()
    assert not torch.allclose(halved, plain, atol=1e-3), "it has no effect"
    with pytest.raises(ValueError, match="noise_gain 3 is not possible"):
        Settings(noise_gain=3)
    with pytest.raises(ValueError, match="camera and noise_gain both make the noise that sampling begins with"):
        Settings(noise_gain=0.5, camera="hold")


def test_without_its_file_there_is_none() -> None:
    assert NAME not in registry.methods()
    assert NAME not in parameters_of(GenerationSettings)
