"""One server, one client and one browser for all tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_models import models_are_loaded_once as models_are_loaded_once
from small_model import picture, write_small_model

pytest.importorskip("gradio", reason='the page needs pip install "dynamicrafter[app]"')

from served import CHROMIUM, PageClient, served_page

from lvdm.hosting.library import Library, read_library
from lvdm.model_files import CHECKPOINTS_VARIABLE


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models: one for images and two, one for text alone, and weight files."""
    from small_model import small_videocrafter_yaml, write_model

    folder = tmp_path_factory.mktemp("models")
    write_small_model(folder / "tiny")
    write_model(folder / "words", small_videocrafter_yaml())
    return folder


@pytest.fixture(scope="session")
def library(models: Path) -> Library:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHECKPOINTS_VARIABLE, str(models))
        return read_library([f"small={models / 'tiny'}", f"words={models / 'words'}"], models)


@pytest.fixture(scope="session")
def address(library: Library) -> Iterator[str]:
    """The page runs as long as the tests."""
    with served_page(library) as url:
        yield url


@pytest.fixture(scope="session")
def client(address: str) -> PageClient:
    return PageClient(address)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("images") / "cat.png"
    picture().save(path)
    return str(path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Not for longer than a module: playwright runs an event loop in this thread, beside which none can be started."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium-headless-shell")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def usual_context(browser: Any) -> Any:
    """What pages share that ask for nothing else: the files of the page are loaded and compiled once."""
    return browser.new_context(viewport={"width": 1280, "height": 900})


@pytest.fixture(scope="session")
def server_folder(address: str) -> Path:
    """Where the server keeps uploads and results."""
    return Path(os.environ["GRADIO_TEMP_DIR"])
