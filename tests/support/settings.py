"""Settings for tests: the shipped defaults, less what a test changes."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

S = TypeVar("S")
_DEFAULTS = Path(__file__).parents[2] / "configs" / "defaults.toml"


def settings_of(section: str, kind: type[S], **overrides: Any) -> S:
    """The section of configs/defaults.toml as its settings struct."""
    return msgspec.convert({**_defaults()[section], **overrides}, kind)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_DEFAULTS.read_text())
