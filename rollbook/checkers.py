"""How the persistent instances of one cluster of a service are probed, and the rules that this must keep."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from rollbook.errors import Code, InvalidField

PATH_LENGTH_MAX = 1_024
HEADERS_LENGTH_MAX = 2_048
_PATH = re.compile(r"[\x21-\x7e]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OWN_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "expect"})


class CheckerSettings(msgspec.Struct, frozen=True, array_like=True):
    """How the persistent instances of one cluster of a service are probed."""

    kind: Literal["tcp", "http", "none"] = "tcp"
    use_instance_port: bool = True
    port: int = 80  # otherwise
    path: str = ""
    headers: str = ""  # name:value|name:value
    expected_status: int = 200


def check_checker(checker: CheckerSettings) -> CheckerSettings:
    """Raise InvalidField unless every field is fit to be used; return the settings."""
    if not 0 < checker.port <= 65_535:
        raise _invalid("port", f"the port of a checker must lie between 1 and 65535, not {checker.port}")
    if not 100 <= checker.expected_status <= 599:
        raise _invalid("expected_status", f"{checker.expected_status} is no status of HTTP")
    if len(checker.path) > PATH_LENGTH_MAX or _PATH.fullmatch(checker.path) is None:
        raise _invalid("path", f"a path has at most {PATH_LENGTH_MAX} printable ASCII characters and no white space")
    if len(checker.headers) > HEADERS_LENGTH_MAX:
        raise _invalid("headers", f"headers are longer than {HEADERS_LENGTH_MAX} characters")
    if _HEADER_VALUE.fullmatch(checker.headers) is None:  # white space of other kinds would take more bytes than fit
        raise _invalid("headers", "headers are printable ASCII characters")
    headers_of(checker.headers)
    return checker


def headers_of(text: str) -> tuple[tuple[str, str], ...]:
    """The headers of ``name:value|name:value``; InvalidField for what cannot be sent."""
    return tuple(_header(part) for part in text.split("|") if part.strip())


def _header(part: str) -> tuple[str, str]:
    name, colon, value = part.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
        raise _invalid("headers", f"a header is written name:value, not {part[:100]!r}")
    if name.lower() in _OWN_HEADERS:
        raise _invalid("headers", f"the header {name} is the prober's own")
    return name, value


def _invalid(field: str, sentence: str) -> InvalidField:
    return InvalidField(sentence, code=Code.PARAMETER_INVALID, field=field)
