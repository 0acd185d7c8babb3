"""The commands of docs/serving.md, run as they stand there against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from processes import fresh_environment
from serving_process import killed_at_the_end

from lvdm.hosting.library import ListedModel
from lvdm.media.video_reader import VideoReader

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="there is no curl or no bash")
def test_the_commands_work(tmp_path: Path, models: Mapping[str, ListedModel]) -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = [block for block in BLOCK.findall(text) if "curl" in block]
    assert len(blocks) == 3
    shutil.copytree(ROOT / "prompts" / "tiny", tmp_path / "prompts" / "tiny")
    environment = fresh_environment(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    model = models["tiny"].files.config.parent
    with killed_at_the_end(tmp_path / "jobs", model, tmp_path / "log") as client:
        answers = []
        for block in blocks:
            script = block.replace("127.0.0.1:8000", f"127.0.0.1:{client.port}")
            run = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert run.returncode == 0, run.stderr
            answers.append(run.stdout)
            environment["ID"] = json.loads((tmp_path / "job.json").read_text())["id"]  # as in the reader's shell
    assert answers[0].count("event: completed") == 1
    assert json.loads(answers[1])["num_frames"] == 16
    assert json.loads(answers[2])["changes"] == ["seed 7 to 8"]
    with VideoReader(tmp_path / "star.mp4") as reader:
        assert reader.num_frames == 16, "two seconds of 8 frames"
