"""Files that come as text: data URLs and base64, and never a name that is looked up."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

_DATA_URL = re.compile(r"data:(?:image|video)/[\w.+-]+(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_SHORTEST = 64
"""Characters; shorter text is a name and no image."""


def decoded_file(name: str, value: Any) -> bytes:
    """The bytes of a data URL or of base64. Raises `ValueError` for anything else, such as a name or an address.

    name: of the parameter, for messages
    """
    if isinstance(value, str):
        start = _DATA_URL.match(value)
        text = value[start.end() :] if start else value
        if start or (len(text) >= _SHORTEST and _BASE64.fullmatch(text)):
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except binascii.Error:
                raise ValueError(f"{name} is not valid base64; encode the file again") from None
    raise ValueError(
        f"{name} is not a file in base64; give a data URL (data:image/png;base64,...) or upload it: names of files and "
        "addresses are not read"
    )
