"""A training begins in a folder of its own: what it did not make is neither replaced nor removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvdm.fit.callbacks.weights import EXPORT_MARK, WeightExport, WeightExportConfig
from lvdm.fit.checkpoints import CheckpointStore
from lvdm.fit.run_record import check_run_folder, record_start
from lvdm.media.atomic import OutputError, write_json


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    check_run_folder(run)
    run.mkdir()
    (run / "dry_run").mkdir()
    check_run_folder(run)
    (run / "config.yaml").write_text("mine")
    with pytest.raises(OutputError, match=r"run holds config\.yaml and no run\.json of a training"):
        check_run_folder(run)
    check_run_folder(run, overwrite=True)
    write_json(run / "run.json", {"format": "other", "starts": [1]})
    with pytest.raises(OutputError, match="was not made here"):
        check_run_folder(run)
    (run / "run.json").unlink()
    record_start(run, 1, "a: 1", [], None, 1)
    check_run_folder(run)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_run_folder(tmp_path / "file")


def test_checkpoints_without_a_record_are_not_ours_and_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "run" / "checkpoints", keep=1)
    store.folder.mkdir(parents=True)
    for step in (1, 2):
        store.path(step).write_bytes(b"x")
        write_json(store.path(step).with_suffix(".json"), {"sha256": "0", "step": step})
    check_run_folder(tmp_path / "run")
    store.path(1).with_suffix(".json").unlink()
    with pytest.raises(OutputError, match=r"holds step-00000001\.ckpt"):
        check_run_folder(tmp_path / "run")
    assert [store.has_record(path) for path in store.existing()] == [False, True]

    def write(path: Path) -> None:
        path.mkdir()  # a sharded one, which is not looked into
        (path / "part").write_bytes(b"y")

    store.save(3, write, {})
    assert [path.name for path in store.existing()] == ["step-00000001.ckpt", "step-00000003.ckpt"]


def test_exported_weights_replace_only_exported_weights(tmp_path: Path) -> None:
    class Trainer:
        is_global_zero = True

    path = tmp_path / "w.safetensors"
    export = WeightExport(WeightExportConfig(str(path)))
    export.on_fit_start(Trainer(), None)  # type: ignore[arg-type]
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"w\.safetensors is there and was not made here"):
        export.on_fit_start(Trainer(), None)  # type: ignore[arg-type]
    WeightExport(WeightExportConfig(str(path), overwrite=True)).on_fit_start(Trainer(), None)  # type: ignore[arg-type]
    path.write_bytes(repr(EXPORT_MARK).encode())
    export.on_fit_start(Trainer(), None)  # type: ignore[arg-type]
