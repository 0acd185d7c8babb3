"""Pictures drawn while a small model trains: what they show, and that training does not notice."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from small_model import FRAMES, SIDE, shallow_model, small_yaml, write_small_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lvdm.config import ConfigError, parse_component
from lvdm.fit.callbacks import AveragedWeights, AveragedWeightsConfig, ImageLogger, SampleLogger, default_callbacks
from lvdm.fit.callbacks.drawing import Drawer, can_be_sampled, clips_of, undisturbed
from lvdm.fit.callbacks.images import ImageLoggerConfig, LogImagesConfig
from lvdm.fit.callbacks.samples import SampleLoggerConfig, measure
from lvdm.fit.utils_data import DataModuleFromConfig
from lvdm.media.video_writer import to_uint8
from lvdm.model_card import ModelCard
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.pipeline import DynamiCrafterPipeline

STEPS = 4


def data(validation: bool = True) -> DataModuleFromConfig:
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 8}
    node = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    params = {"batch_size": 1, "train": node} | ({"validation": node} if validation else {})
    return parse_component({"target": "utils_data.DataModuleFromConfig", "params": params}, "data").build()


def fit(
    folder: Path, callbacks: list[pl.Callback], loggers: Any = False, steps: int = STEPS
) -> tuple[LatentVisualDiffusion, torch.Tensor]:
    """The small model after a few steps, and torch's random state then."""
    pl.seed_everything(3, verbose=False)
    model = parse_component(shallow_model(), "model").build()
    trainer = pl.Trainer(
        default_root_dir=str(folder),
        callbacks=callbacks,
        logger=loggers,
        max_steps=steps,
        accelerator="cpu",
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data())
    return model, torch.get_rng_state()


def samples(**options: Any) -> SampleLogger:
    return SampleLogger(SampleLoggerConfig(**{"every_n_steps": 2, "clips": 2, "num_inference_steps": 2} | options))


def weights(model: torch.nn.Module) -> torch.Tensor:
    """All of them, one after the other."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Look(pl.Callback):
    """Looks at the weights while the average is drawn from and after it."""

    def __init__(self) -> None:
        self.differ: list[bool] = []
        self.wrong: list[str] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        average = next(callback for callback in trainer.callbacks if isinstance(callback, AveragedWeights))
        before = weights(pl_module)
        expected = weights(average._average_model.module)
        with undisturbed(trainer, pl_module, averaged=True):
            inside = weights(pl_module)
            if pl_module.model.training:
                self.wrong.append("samples are drawn with dropout")
        if not torch.equal(weights(pl_module), before):
            self.wrong.append("the trained weights are not back, bit for bit")
        if not torch.equal(inside, expected):
            self.wrong.append("what is drawn from is not the average")
        self.differ.append(not torch.equal(inside, before))


@pytest.fixture(scope="module")
def look() -> Look:
    """What was seen in the run in which everything is drawn."""
    return Look()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, look: Look) -> tuple[Path, LatentVisualDiffusion, torch.Tensor]:
    """A run with everything drawn: its folder, its weights and its random state."""
    folder = tmp_path_factory.mktemp("drawn")
    kwargs = LogImagesConfig(ddim_steps=2, unconditional_guidance_scale=2.0)
    callbacks: list[pl.Callback] = [
        AveragedWeights(AveragedWeightsConfig(decay=0.5)),
        look,
        samples(),
        ImageLogger(ImageLoggerConfig(batch_frequency=3, max_images=1, log_images_kwargs=kwargs)),
        ImageLogger(ImageLoggerConfig(batch_frequency=4, max_images=1, to_local=True, log_images_kwargs=kwargs)),
    ]
    loggers = [CSVLogger(str(folder)), TensorBoardLogger(str(folder))]
    return folder, *fit(folder, callbacks, loggers)


def test_training_does_not_notice_that_it_is_drawn(
    drawn: tuple[Path, LatentVisualDiffusion, torch.Tensor], tmp_path: Path
) -> None:
    _, watched, state = drawn
    alone, state_alone = fit(tmp_path, [AveragedWeights(AveragedWeightsConfig(decay=0.5))])
    for (name, weight), (_, other) in zip(watched.state_dict().items(), alone.state_dict().items(), strict=True):
        assert torch.equal(weight, other), f"{name} depends on whether samples are drawn"
    assert torch.equal(state, state_alone), "drawing moved torch's random state"
    modes = [module.training for module in watched.modules()]
    assert modes == [module.training for module in alone.modules()], "a module was left in another mode"


@pytest.mark.usefixtures("drawn")
def test_the_average_is_drawn_and_given_back(look: Look) -> None:
    assert not look.wrong, look.wrong
    assert look.differ[1:] == [True] * (STEPS - 1), "the first step's average is the weights themselves"


def test_samples_lie_beside_the_true_clips_with_their_measures(
    drawn: tuple[Path, LatentVisualDiffusion, torch.Tensor],
) -> None:
    folder = drawn[0] / "samples"
    assert sorted(path.name for path in folder.iterdir()) == ["step-000002", "step-000004"]
    for step in folder.iterdir():
        assert {path.name for path in step.iterdir()} == {"0.mp4", "0.png", "1.mp4", "1.png", "metrics.json"}
    with Image.open(folder / "step-000002" / "0.png") as sheet:
        assert sheet.height > 2 * SIDE, "the true frames and the sampled ones are one above the other"
    first, second = (json.loads((folder / f"step-00000{step}" / "metrics.json").read_text()) for step in (2, 4))
    assert [record["true"] for record in first] == [record["true"] for record in second], "the clips are fixed"
    assert first[0]["sampled"] != second[0]["sampled"], "the model has moved on"
    assert first[0]["caption"]


def test_measures_of_samples_and_true_clips_are_logged(
    drawn: tuple[Path, LatentVisualDiffusion, torch.Tensor],
) -> None:
    folder = drawn[0]
    with next(folder.rglob("metrics.csv")).open() as file:
        table = [row for row in csv.DictReader(file) if row.get("samples/motion_diagonals_per_s")]
    assert [row["step"] for row in table] == ["2", "4"]
    records = json.loads((folder / "samples" / "step-000002" / "metrics.json").read_text())
    for name in ("frame0_psnr", "motion_diagonals_per_s", "flicker", "temporal_flickering"):
        for prefix, key in (("samples", "sampled"), ("samples_true", "true")):
            mean = sum(record[key][name] for record in records) / 2
            assert float(table[0][f"{prefix}/{name}"]) == pytest.approx(mean), f"{prefix}/{name}"


def test_tensorboard_shows_what_the_original_shows(drawn: tuple[Path, LatentVisualDiffusion, torch.Tensor]) -> None:
    events = EventAccumulator(str(next(drawn[0].rglob("events.out.tfevents*")).parent))
    events.Reload()
    shown = set(events.Tags()["images"])
    expected = {f"train/{name}/0" for name in ("inputs", "image_condition", "reconst", "samples")}
    assert shown == expected | {"samples/0", "samples/1"}
    assert [image.step for image in events.Images("train/samples/0")] == [3]
    assert events.Images("samples/0")[0].encoded_image_string.startswith(b"GIF8")
    assert "train/condition/0/text_summary" in events.Tags()["tensors"]


def test_pictures_go_to_files_with_to_local(drawn: tuple[Path, LatentVisualDiffusion, torch.Tensor]) -> None:
    names = {path.name for path in (drawn[0] / "images" / "step-000004").iterdir()}
    assert names == {
        "0-inputs.mp4",
        "0-image_condition.png",
        "0-reconst.mp4",
        "0-samples.mp4",
        "0-condition.txt",
    }


@pytest.fixture
def pipeline(tmp_path: Path) -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path / "model"), device="cpu")


def test_samples_are_those_of_the_pipeline(pipeline: DynamiCrafterPipeline, tmp_path: Path) -> None:
    model = pipeline.runtime.model
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=str(tmp_path))
    clip = data().source("train").clip(0, random.Random(0))
    clip["video"] = (to_uint8(clip["video"]).permute(3, 0, 1, 2).float() / 127.5 - 1).contiguous()
    settings = SampleLoggerConfig(num_inference_steps=3, guidance_scale=2.0).settings(model, None, FRAMES)
    ours = Drawer(trainer, model, settings).sample(clip, seed=7, index=0)
    picture = Image.fromarray(to_uint8(clip["video"][:, :1])[0].numpy())
    theirs = pipeline(
        picture,
        clip["caption"],
        seed=7,
        fps=clip["fps"],
        num_inference_steps=3,
        guidance_scale=2.0,
        guidance_rescale=0.7,
        eta=1.0,
        timestep_spacing="uniform_trailing",
        fix_final_step=True,
        output_type="pt",
    ).video[0]
    assert torch.allclose(ours, theirs, atol=1e-5), "one image, one sentence, one seed: one video, wherever it is drawn"


def test_unknown_ways_to_log_images_are_refused() -> None:
    node = {"target": "callbacks.ImageLogger", "params": {"batch_frequency": 5, "log_images_kwargs": {"ddim_step": 2}}}
    with pytest.raises(ConfigError, match="ddim_steps"):
        parse_component(node, "logger")
    node["params"]["log_images_kwargs"] = {"ddim_steps": 0}
    with pytest.raises(ConfigError, match="ddim_steps should be a whole number from 1"):
        parse_component(node, "logger")


def test_settings_come_from_the_yaml_then_the_card_then_the_schedule() -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    card = ModelCard.from_tree(small_yaml(), "small")
    assert SampleLoggerConfig().settings(model, None, 5).timestep_spacing == "uniform_trailing"
    assert SampleLoggerConfig().settings(model, None, 5).num_frames == 5
    assert SampleLoggerConfig().settings(model, card, 4).guidance_scale == 2.0
    assert SampleLoggerConfig(guidance_scale=3.0).settings(model, card, 4).guidance_scale == 3.0
    assert SampleLoggerConfig(num_inference_steps=None).settings(model, card, 4).num_inference_steps == 2
    own = samples()
    found = default_callbacks([own], card)
    assert [callback for callback in found if isinstance(callback, SampleLogger)] == [own], "named ones are kept"
    assert own.card is card


def test_a_perfect_likeness_has_no_error_and_a_still_no_motion() -> None:
    still = torch.rand(3, 1, 32, 32).expand(-1, 4, -1, -1) * 2 - 1
    values = measure(still, still, still, fps=8)
    assert values == {
        "frame0_psnr": 100.0,
        "motion_diagonals_per_s": 0.0,
        "flicker": 0.0,
        "temporal_flickering": 1.0,
    }


def test_precomputed_latents_are_shown_as_videos() -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    video = data().source("train").clip(0, random.Random(0))["video"][None]
    with torch.no_grad():
        posterior = model.first_stage_model.encode(video[0].transpose(0, 1))
        moments = torch.cat([posterior.mean, posterior.logvar], dim=1).transpose(0, 1)[None]  # 1 2c t h w
        batch = {"moments": moments, "caption": ["a star"], "fps": torch.tensor([8]), "frame_stride": torch.tensor([3])}
        (clip,) = clips_of(batch, model, 5)
        expected = model.decode_first_stage(model.encode_first_stage(video))[0].clamp(-1, 1)
    assert torch.allclose(clip["video"], expected, atol=1e-5)
    assert (clip["caption"], clip["fps"], clip["frame_stride"]) == ("a star", 8.0, 3)


def test_nothing_is_drawn_where_the_encoders_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    params = small_yaml()["model"]["params"] | {"drop_encoders": True}
    model = parse_component({**small_yaml()["model"], "params": params}, "model").build()
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert not can_be_sampled(trainer, model, "SampleLogger")
    assert "drop_encoders" in caplog.text


def test_pictures_that_cannot_be_written_do_not_end_a_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "samples").write_text("a file where the folder should be")
    model, _ = fit(tmp_path, [samples(clips=1, every_n_steps=1)], steps=2)
    assert model.trainer.global_step == 2
    assert "samples of step 1" in caplog.text
    assert "a file stands where its folder should be" in caplog.text
