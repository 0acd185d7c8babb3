"""`lvdm.media.file_names`: names in the files of strangers lead to no other place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvdm.caching.latent_records import CacheError, RecordStore
from lvdm.data.litdata_clips import _read_index
from lvdm.data.source_files import SourceError
from lvdm.media.file_names import LONGEST_NAME, check_name

WAYS_OUT = ["../x", "/x", "a/b", "a\\b", "..", ".", "", " ", "C:x", "a\0", "a\n", " a", "x" * (LONGEST_NAME + 1)]


@pytest.mark.parametrize("name", WAYS_OUT, ids=range(len(WAYS_OUT)))
def test_ways_out_are_no_names(name: str) -> None:
    with pytest.raises(SourceError, match=r"^the part") as caught:
        check_name(name, "the part", SourceError)
    assert len(str(caught.value)) < 150
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "run 1", "caf\u00e9.v2", "x" * LONGEST_NAME, "2026-01-02T10-00-00"])
def test_names_stay_as_they_are(name: str) -> None:
    assert check_name(name, "the part") == name


def test_keys_of_records_lead_to_no_other_folder(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "cache")
    assert store.path("moments", "ab12").is_relative_to(tmp_path / "cache")
    for key in ("../../secret", "/etc/x", "", "a.b"):
        with pytest.raises(CacheError, match="is no key of a record"):
            store.has("moments", key)


def test_chunks_lie_in_their_folder(tmp_path: Path) -> None:
    chunk = {"filename": "../other.bin", "chunk_bytes": 1, "chunk_size": 1}
    index = {"chunks": [chunk], "config": {"compression": None}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=r"is not an index of LitData .*is a name and not a path"):
        _read_index(tmp_path / "index.json")
