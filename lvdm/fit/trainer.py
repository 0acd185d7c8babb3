"""Train from YAML files: `python -m lvdm.fit.trainer --base config.yaml --train [key.sub=value ...]`."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lvdm.config import ConfigError
from lvdm.consoles import last_on_any_console
from lvdm.data.clip_frames import ClipError
from lvdm.documents import cut_line, is_utf8, one_line
from lvdm.errors import UserError
from lvdm.fit.arguments import parse_arguments
from lvdm.fit.assembly import (
    build_trainer,
    prepare_optimizer,
    prepare_weights,
    scale_learning_rate,
    warn_of_slow_precision,
)
from lvdm.fit.cached_training import select_encoders
from lvdm.fit.callbacks import AveragedWeights, TrainingStoppedError
from lvdm.fit.checkpoints import CheckpointStore
from lvdm.fit.dry_run import dry_run
from lvdm.fit.preemption import Preempted, exit_code_of
from lvdm.fit.resume import TrainingCheckpoint
from lvdm.fit.resumed_options import is_finished
from lvdm.fit.run_record import check_run_folder, record_start
from lvdm.fit.strategies import build_strategy, check_strategy, find_machines, run_name
from lvdm.fit.training_setup import TrainingSetup, check_filled, load_training_setup
from lvdm.fit.tuning import check_attention
from lvdm.launched import launch
from lvdm.media.atomic import atomic_path

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line. Returns the exit code; a mistake of ours is raised as it is."""
    last_on_any_console()
    try:
        args, overrides = parse_arguments(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO, format="%(message)s")
    if not args.debug:
        silence_libraries()
    try:
        setup = load_training_setup(args.base, overrides)
        check_filled(setup.tree)
        return run(setup, args)
    except TrainingStoppedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ClipError as error:  # from a worker of the loader, its traceback comes before it
        reason = str(error).splitlines()[-1].removeprefix(f"{ClipError.__module__}.ClipError: ")
        print(f"error: {reason}", file=sys.stderr)
        return 1
    except (UserError, OSError) as error:
        print(f"error: {cut_line(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2


def silence_libraries() -> None:
    """Leave out what libraries say about things that are so on purpose, and about each other."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # devices and products
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    for message in (
        "You're resuming from a checkpoint that ended before the epoch ended",  # the data module takes the right batch
        r"Found \d+ module\(s\) in eval mode at the start of training",  # what is not trained
        "Total length of `list` across ranks is zero",  # no validation
        "Precision .* is not supported by the model summary",
        r".*isinstance\(treespec, LeafSpec\)` is deprecated",
    ):
        warnings.filterwarnings("ignore", message)


def run(setup: TrainingSetup, args: argparse.Namespace) -> int:
    """Build model, data and trainer from `setup`, then train or validate. Returns the exit code."""
    launched = launch()
    machines = find_machines(args.devices, setup.lightning.trainer, launched)
    strategy = args.strategy or setup.lightning.trainer.strategy or "auto"
    averages = any(issubclass(c.resolve(), AveragedWeights) for c in setup.lightning.callbacks.values())
    check_strategy(strategy, machines, averages=averages)
    check_attention(setup.tuning, machines.accelerator, setup.lightning.precision)
    run_dir = Path(args.logdir) / run_name(args.name, machines, launched)
    if not is_utf8(str(run_dir)):
        raise ConfigError(f"{run_dir}: is no UTF-8, which TensorBoard needs; give another --name or --logdir")
    if args.dry_run:
        dry_run(setup, machines, args.seed, run_dir / "dry_run", overwrite=args.overwrite)
        return 0
    resume = checkpoint_to_resume(args, run_dir)
    going_on = resume if args.train and not args.auto_resume_weight_only else None
    if going_on is not None and is_finished(going_on, setup):
        if not (args.val or args.test):
            return 0
        going_on, args.train = None, False
    configuration = OmegaConf.to_yaml(OmegaConf.create(setup.tree))
    data = setup.data.build()
    data.seed = args.seed
    problem = data.look("fit") if args.train else None
    if args.val or args.test:
        problem = problem or data.look("validate")
    problem = problem or data.validation_problem(setup.lightning.trainer, machines.processes)
    if problem and machines.processes == 1:
        raise ConfigError(problem)  # several processes stop together, when they can reach each other
    pl.seed_everything(args.seed, workers=True, verbose=False)
    model = select_encoders(setup.model, setup.data, setup.pretrained).build()
    model.optimizer_config = setup.optimizer
    prepare_optimizer(setup, strategy)
    warn_of_slow_precision(setup, machines.accelerator)
    if hasattr(model, "training_seed"):
        model.training_seed = args.seed
    prepare_weights(model, setup, resume, weights_only=going_on is None)
    checkpoint = TrainingCheckpoint(setup.lightning.checkpoint, run_dir, configuration, args.seed)
    trainer = build_trainer(setup, run_dir, machines, build_strategy(strategy, model, machines), checkpoint)
    scale_learning_rate(model, setup, trainer.world_size)
    if trainer.is_global_zero:
        check_run_folder(run_dir, args.overwrite)
        # first the record: a kill in between leaves a folder that is known for ours
        begins_with = setup.pretrained if resume is None else ()
        record_start(run_dir, args.seed, configuration, begins_with, resume, trainer.world_size)
        with atomic_path(run_dir / "config.yaml") as path:
            path.write_text(configuration, encoding="utf-8")
    try:
        if args.train:
            trainer.fit(model, datamodule=data, ckpt_path=going_on, weights_only=going_on is not None or None)
        if args.val or args.test:
            trainer.validate(model, datamodule=data)
    except Preempted as stop:
        log.warning("%s", stop)
        return exit_code_of(trainer, stop)
    except MisconfigurationException as error:
        raise ConfigError(f"lightning.trainer: {one_line(str(error))}") from error
    return 0


def checkpoint_to_resume(args: argparse.Namespace, run_dir: Path) -> Path | None:
    """The checkpoint that the flags name: the newest good one of the run, else that of `--resume_from`."""
    if args.resume_from is not None and not args.resume_from.exists():
        raise ConfigError(f"--resume_from {args.resume_from} does not exist; name a checkpoint of an earlier run")
    own = args.auto_resume or args.auto_resume_weight_only
    newest = CheckpointStore(run_dir / "checkpoints").newest_good() if own else None
    return newest or args.resume_from


if __name__ == "__main__":
    sys.exit(main())
