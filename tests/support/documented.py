"""Answers of HTTP, held against docs/openapi.json: each status and media type must be one that is said of the call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
_CONTEXT = "/nacos"


class _Path(NamedTuple):
    pattern: re.Pattern[str]
    operations: dict[str, Any]


def check_documented(method: str, target: str, status: int, headers: Mapping[str, str]) -> None:
    """Of paths that are not described nothing is said. ``target`` as it stands on the wire."""
    operation = _operation(method, target.partition("?")[0].removeprefix(_CONTEXT))
    if operation is None:
        return
    said = _resolved(operation["responses"].get(str(status)))
    assert said is not None, f"{method} {target[:100]}: {status} is not described"
    media = headers.get("content-type", "").partition(";")[0]
    described = list(said.get("content", {}))
    assert not described or media in described, f"{method} {target[:100]}: {media} and not {described}"


def _operation(method: str, path: str) -> Any:
    for each in _paths():
        if each.pattern.fullmatch(path):
            return each.operations.get(method.lower())
    return None


def _resolved(said: Any) -> Any:
    if said is None or "$ref" not in said:
        return said
    return _document()["components"]["responses"][said["$ref"].rpartition("/")[2]]


@cache
def _document() -> Any:
    return msgspec.json.decode(DOCUMENT.read_bytes())


@cache
def _paths() -> list[_Path]:
    """Those without a word that may be anything come first."""
    paths: dict[str, Any] = _document()["paths"]
    ordered = sorted(paths.items(), key=lambda item: "{" in item[0])
    return [_Path(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), each) for path, each in ordered]
