"""Messages of the command line in the words of those who use it from afar: fields for flags, models of the list."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lvdm.documents import one_line
from lvdm.hosting.library import ListedModel
from lvdm.request.layers import in_field_names
from lvdm.request.settings import ADVISED

_ADVICE = re.compile(rf", such as preset ({'|'.join(ADVISED.values())})\b")


def in_words_of_guests(message: str, models: Mapping[str, ListedModel]) -> str:
    """A message as one line that names parameters as fields, and of models only those of `models`."""

    def advice(match: re.Match[str]) -> str:
        needed = next(capability for capability, name in ADVISED.items() if name == match[1])
        able = next((name for name, model in models.items() if model.card.can(needed)), None)
        return ", of which none is listed here" if able is None else f", such as model {able}"

    return one_line(in_field_names(_ADVICE.sub(advice, message).replace("--replay", "record")))
