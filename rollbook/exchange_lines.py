"""Durable data as JSON lines, for people and programs: one object a line, its ``kind`` first, behind a header.

Unlike a backup it names what there is and not how it is kept: what is imported is written by ordinary orders, and its
author, times and incarnations are those of the import. docs/operations.md has every field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal

import msgspec

from rollbook.checkers import CheckerSettings
from rollbook.durable import (
    Intent,
    Namespace,
    ServiceSettings,
    check_intent,
    check_namespace,
    check_settings,
    decisions_of,
)
from rollbook.errors import InvalidField
from rollbook.kept_rows import (
    InstanceRow,
    IntentRow,
    KeptRow,
    Moment,
    NamespaceRow,
    RowName,
    ServiceRow,
)
from rollbook.model import (
    DEFAULT_CLUSTER,
    DEFAULT_GROUP,
    DEFAULT_NAMESPACE,
    Instance,
    InstanceKey,
    Service,
    check_instance,
    check_service,
)

VERSION = 1
NAME: Final = "rollbook export"
LINE_BYTES_MAX = 1_048_576
_PLACE = re.compile(r" - at `\$\.?([^`]*)`\Z")
_FIELD = re.compile(r"field `([^`]*)`")


class HeaderLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="header"):
    format: Literal["rollbook export"]
    version: int
    store: str = ""
    index: int = 0
    written_ms: Moment = 0


class NamespaceLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="namespace"):
    id: str
    name: str
    description: str = ""
    author: str = ""
    written_ms: Moment = 0

    def namespace(self) -> Namespace:
        return Namespace(self.id, self.name, self.description)


class CheckerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one cluster of a service."""

    kind: Literal["tcp", "http", "none"] = "tcp"
    use_instance_port: bool = True
    port: int = 80
    path: str = ""
    headers: str = ""
    expected_status: int = 200


class _AboutService(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    namespace: str = DEFAULT_NAMESPACE
    group: str = DEFAULT_GROUP
    service: str

    def named(self) -> Service:
        return Service(self.namespace, self.group, self.service)


class ServiceLine(_AboutService, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="service"):
    protection_threshold: float = 0.0
    metadata: dict[str, str] = {}
    checkers: dict[str, CheckerEntry] = {}
    selector: Literal["none"] = "none"
    author: str = ""
    written_ms: Moment = 0

    def settings(self) -> ServiceSettings:
        checkers = {
            cluster: CheckerSettings(*msgspec.structs.astuple(entry)) for cluster, entry in self.checkers.items()
        }
        return ServiceSettings(self.protection_threshold, self.metadata, checkers, self.selector)


class InstanceLine(_AboutService, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="instance"):
    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    metadata: dict[str, str] = {}
    author: str = ""
    written_ms: Moment = 0
    added_ms: Moment = 0

    def instance(self) -> Instance:
        place = (self.ip, self.port, self.cluster)
        return Instance(*place, self.weight, self.healthy, self.enabled, False, self.metadata)


class IntentLine(_AboutService, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="intent"):
    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER
    enabled: bool | None = None
    weight: float | None = None
    metadata: dict[str, str] = {}
    expires_ms: Moment = 0
    author: str = ""
    written_ms: Moment = 0

    def key(self) -> InstanceKey:
        return InstanceKey(self.ip, self.port, self.cluster)

    def intent(self) -> Intent:
        return Intent(self.enabled, self.weight, self.metadata)


ContentLine = NamespaceLine | ServiceLine | InstanceLine | IntentLine
_decoder: msgspec.json.Decoder[HeaderLine | ContentLine] = msgspec.json.Decoder(HeaderLine | ContentLine)
_encoder = msgspec.json.Encoder()


def line_of(row: KeptRow) -> ContentLine:
    """What a row says, in words."""
    match row:
        case NamespaceRow(namespace=namespace):
            return NamespaceLine(namespace.id, namespace.name, namespace.description, row.author, row.written_ms)
        case ServiceRow(settings=settings):
            checkers = {
                cluster: CheckerEntry(**msgspec.structs.asdict(checker))
                for cluster, checker in settings.checkers.items()
            }
            return ServiceLine(
                **_service_fields(row),
                protection_threshold=settings.protection_threshold,
                metadata=settings.metadata,
                checkers=checkers,
                selector=settings.selector,
            )
        case InstanceRow(instance=instance):
            fields = {name: value for name, value in msgspec.structs.asdict(instance).items() if name != "ephemeral"}
            return InstanceLine(**_service_fields(row), **fields, added_ms=row.added_ms)
        case IntentRow(key=key, intent=intent):
            wanted = msgspec.structs.asdict(intent)
            return IntentLine(**_service_fields(row), **key._asdict(), **wanted, expires_ms=row.expires_ms)


def _service_fields(row: ServiceRow | InstanceRow | IntentRow) -> dict[str, Any]:
    namespace, group, name = row.service
    about = {"namespace": namespace, "group": group, "service": name}
    return {**about, "author": row.author, "written_ms": row.written_ms}


def encoded(line: HeaderLine | ContentLine) -> bytes:
    return _encoder.encode(line) + b"\n"


def read_lines(file: BinaryIO, name: str) -> list[tuple[int, ContentLine]]:
    """All of them, checked, each with its number; InvalidField names the first that breaks a rule, and the field."""
    found: list[tuple[int, ContentLine]] = []
    numbers: dict[RowName, int] = {}
    number = 1
    try:
        texts = _texts(file)
        _check_header(next(texts, b""))
        for text in texts:
            number += 1
            line = _checked(_decoded(text))
            for about in line_names(line):
                if numbers.setdefault(about, number) != number:
                    raise InvalidField(f"the same is said in line {numbers[about]} already", field="kind")
            found.append((number, line))
    except InvalidField as error:
        raise InvalidField(f"{name}, line {number}: {error.field}: {error.message}", field=error.field) from None
    return found


def line_names(line: ContentLine) -> list[RowName]:
    """What it is about: no two lines are about the same, nor say the same field of what is wanted of an instance."""
    match line:
        case NamespaceLine():
            return [("namespace", line.id)]
        case ServiceLine():
            return [("service", *line.named())]
        case InstanceLine():
            return [("instance", *line.named(), *line.instance().key)]
        case IntentLine():
            return [("intent", *line.named(), *line.key(), field) for field in decisions_of(line.intent())]


def _texts(file: BinaryIO) -> Iterator[bytes]:
    while text := file.readline(LINE_BYTES_MAX + 1):
        yield text


def _check_header(text: bytes) -> None:
    """A newer version may say more in its header: what matters is looked at first."""
    _check_length(text)
    try:
        header = msgspec.json.decode(text)
    except msgspec.DecodeError:
        header = None
    if not isinstance(header, dict) or header.get("kind") != "header" or header.get("format") != NAME:
        raise InvalidField(f"this is no header of a {NAME}", field="format")
    version = header.get("version")
    if type(version) is int and version > VERSION:
        sentence = f"the export has version {version}, and this one reads up to {VERSION}: use a newer rollbook"
        raise InvalidField(sentence, field="version")
    _decoded(text)


def _check_length(text: bytes) -> None:
    if len(text) > LINE_BYTES_MAX:
        raise InvalidField(f"it is longer than {LINE_BYTES_MAX} bytes", field="line")


def _decoded(text: bytes) -> HeaderLine | ContentLine:
    _check_length(text)
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        sentence = str(error)
        place = _PLACE.search(sentence)
        reason = sentence[: place.start()] if place is not None else sentence
        missing = _FIELD.search(reason)
        steps = [found for found in (place and place[1], missing and missing[1]) if found]
        raise InvalidField(reason.replace("`", ""), field=".".join(steps) or "line") from None
    except msgspec.DecodeError as error:
        raise InvalidField(f"no JSON object: {error}", field="line") from None


def _checked(line: HeaderLine | ContentLine) -> ContentLine:
    match line:
        case HeaderLine():
            raise InvalidField("there is a second header", field="kind")
        case NamespaceLine():
            check_namespace(line.namespace())
            if line.id == DEFAULT_NAMESPACE:
                raise InvalidField(f"the namespace {DEFAULT_NAMESPACE} is built in", field="id")
        case ServiceLine():
            check_service(line.named())
            check_settings(line.settings())
        case InstanceLine():
            check_service(line.named())
            check_instance(line.instance(), ephemeral=False)
        case IntentLine():
            check_service(line.named())
            check_instance(Instance(*line.key()))
            check_intent(line.intent())
    return line
