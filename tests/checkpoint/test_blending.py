"""One checkpoint between or beyond two: closed forms, sparsity, and what does not fit together."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import write_small_model
from torch import Tensor
from typer.testing import CliRunner

from lvdm.checkpoint import CheckpointError, convert, read_checkpoint
from lvdm.checkpoint.blending import Blend
from lvdm.cli.app import app

UNET = "model.diffusion_model.out.2.weight"


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """A model, and the same one after a finetuning."""
    folder = tmp_path_factory.mktemp("pair")
    base = write_small_model(folder / "base") / "model.safetensors"
    generator = torch.Generator().manual_seed(0)
    other = {
        key: value + torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in load_file(base).items()
    }
    save_file(other, folder / "other.safetensors")
    return base, folder / "other.safetensors"


def blended(pair: tuple[Path, Path], path: Path, *options: object) -> dict[str, Tensor]:
    result = CliRunner().invoke(app, ["merge", *map(str, (*pair, path, *options))])
    assert result.exit_code == 0, result.output
    return load_file(path)


@pytest.mark.parametrize("weight", [0.5, -0.25])
def test_weights_lie_on_the_line_through_both_and_the_schedule_stays(pair, tmp_path, weight: float) -> None:
    merged = blended(pair, tmp_path / "a.safetensors", "--weight", weight)
    base, other = map(load_file, pair)
    assert sorted(merged) == sorted(base)
    torch.testing.assert_close(merged[UNET], base[UNET] + weight * (other[UNET] - base[UNET]), rtol=0, atol=1e-6)
    assert torch.equal(merged["alphas_cumprod"], base["alphas_cumprod"])


def test_both_ends_of_the_line_are_the_checkpoints_themselves(pair, tmp_path) -> None:
    base, other = map(load_file, pair)
    start = blended(pair, tmp_path / "a.safetensors", "--weight", 0)
    end = blended(pair, tmp_path / "b.safetensors", "--weight", 1)
    assert all(torch.equal(start[key], base[key]) for key in base)
    assert torch.equal(end[UNET], other[UNET])


def test_an_end_of_the_line_takes_nothing_from_the_other_one() -> None:
    base, other = torch.ones(3), torch.full((3,), math.inf)
    assert Blend(0.0)("a", base, other) is base
    assert torch.equal(Blend(1.0)("a", other, base), base)


def test_a_sparse_difference_keeps_its_share_and_its_mean() -> None:
    base, other = torch.zeros(200, 200), torch.ones(200, 200)
    sparse = Blend(1.0, keep=0.3)("a", base, other)
    assert set(sparse.unique().tolist()) == {0.0, torch.tensor(1 / 0.3).item()}
    assert math.isclose(sparse.mean().item(), 1.0, abs_tol=0.03), "rescaled, it is the difference on average"
    plain = Blend(1.0, keep=0.3, rescale=False)("a", base, other)
    assert math.isclose(plain.mean().item(), 0.3, abs_tol=0.01)
    assert torch.equal(sparse, Blend(1.0, keep=0.3)("a", base, other)), "the same seed is the same choice"
    assert not torch.equal(sparse, Blend(1.0, keep=0.3)("b", base, other)), "each tensor has its own choice"
    assert not torch.equal(sparse, Blend(1.0, keep=0.3, seed=1)("a", base, other))
    seed = Blend(1.0, keep=0.3, seed=3)._generator("a").initial_seed()
    assert seed == 185096082226759836, "a merge of an earlier version cannot be made again"


def test_the_published_merge_is_two_of_these() -> None:
    """EDG: dyn = pre + 0.25 (pre - sft), sparsified and added to pre at 0.75; here as one weight of -0.1875."""
    pre, sft = torch.randn(40, 40), torch.randn(40, 40)
    merged = Blend(-0.1875, keep=0.3)("a", pre, sft)
    dyn = pre + 0.25 * (pre - sft)
    kept = merged != pre
    torch.testing.assert_close(merged[kept], (pre + 0.75 * (dyn - pre) / 0.3)[kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--keep", 0), "keep 0.0 is not possible"),
        (("--keep", 1.5), "keep 1.5 is not possible"),
        (("--weight", "nan"), "weight nan is not possible"),
        (("--dtype", "fp8"), "dtype 'fp8' is not known"),
    ],
)
def test_impossible_values_are_refused(pair, tmp_path, options, message: str) -> None:
    result = CliRunner().invoke(app, ["merge", *map(str, (*pair, tmp_path / "a.safetensors", *options))])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "a.safetensors").exists()


def test_other_architectures_are_refused(pair, tmp_path) -> None:
    tensors = load_file(pair[1])
    save_file({key: value for key, value in tensors.items() if key != UNET}, tmp_path / "pruned.safetensors")
    save_file(tensors | {UNET: torch.zeros(2, 2)}, tmp_path / "wide.safetensors")
    for name, message in (("pruned", f"lacks {UNET}"), ("wide", r"is \(4, 16, 3, 3\) in")):
        with pytest.raises(CheckpointError, match=message):
            convert(pair[0], tmp_path / "a.safetensors", blend_with=(tmp_path / f"{name}.safetensors", Blend(0.5)))
    assert read_checkpoint(pair[0]).path == pair[0]
    save_file({key: value for key, value in tensors.items() if key != "alphas_cumprod"}, tmp_path / "plain.safetensors")
    convert(pair[0], tmp_path / "b.safetensors", blend_with=(tmp_path / "plain.safetensors", Blend(0.5)))
