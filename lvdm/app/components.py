"""Components of gradio that hand on what came, so that our own checks and words are the only ones.

gradio's own decode an image before anyone has seen its size, fetch addresses, and refuse values in words of their own.
"""

from __future__ import annotations

from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like


class Quiet(type(gr.Image)):  # type: ignore[misc]
    """gradio's metaclass writes a .pyi beside the file of every class; this one does not."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


def _path(payload: Any) -> Path | None:
    return None if payload is None else Path(payload.path)


async def _no_address(component: Any, base: type, path: str | Path | None) -> Any:
    """Refuse an address in the place of an upload: the server fetches nothing."""
    if path is not None and is_http_url_like(str(path)):
        raise gr.Error("give the file itself; addresses are not opened", print_exception=False)
    return await base.async_move_resource_to_block_cache(component, path)  # type: ignore[attr-defined]


class ImageUpload(gr.Image, metaclass=Quiet):  # type: ignore[misc]
    """An image as the path of its upload, not yet opened."""

    is_template = True

    def preprocess(self, payload: Any) -> Path | None:
        """The path."""
        return _path(payload)

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> Any:
        """See `_no_address`."""
        return await _no_address(self, gr.Image, url_or_file_path)


class VideoUpload(gr.Video, metaclass=Quiet):  # type: ignore[misc]
    """A video as the path of its upload, not yet opened."""

    is_template = True

    def preprocess(self, payload: Any) -> Path | None:
        """The path."""
        return _path(getattr(payload, "video", payload))

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> Any:
        """See `_no_address`."""
        return await _no_address(self, gr.Video, url_or_file_path)


class FileUploads(gr.File, metaclass=Quiet):  # type: ignore[misc]
    """Several files as the paths of their uploads, in their order."""

    is_template = True

    def preprocess(self, payload: Any) -> list[Path]:
        """The paths."""
        files = getattr(payload, "root", payload)
        return [Path(file.path) for file in (files if isinstance(files, list) else [files] if files else [])]

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> Any:
        """See `_no_address`."""
        return await _no_address(self, gr.File, url_or_file_path)


class Choice(gr.Dropdown, metaclass=Quiet):  # type: ignore[misc]
    """A list to choose from; what is not in it is refused by the declaration."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """As it came."""
        return payload
