"""Nodes are tested with models that are loaded once."""

from __future__ import annotations

from shared_models import models_are_loaded_once as models_are_loaded_once
