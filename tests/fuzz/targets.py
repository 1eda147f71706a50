"""What is fuzzed: one function per reader. It takes any bytes and raises only if a promise is broken.

The promises: nothing but the reader's own typed error comes out, with a known code and a message; and what was read,
encoded and read again is the same value. tests/fuzz/worker.py adds the budgets of time and memory.

Each returns what the input came to, in a few words. The fuzzer keeps an input that came to something new: much of the
reading is done by C code, whose branches it cannot see.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, assert_never

import msgspec

from actors.base import Role, StoreKind
from actors.durable_rows import (
    RowUnreadable,
    fence_row_key,
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    read_row,
    service_row_key,
    service_row_value,
)
from actors.durable_values import Kept, KeptFence, KeptInstance, KeptIntent, KeptNamespace, KeptService
from actors.messages.clients import OrdersReceived
from actors.messages.io import PushToClients
from actors.messages.peers import Delta, PeerTag
from actors.messages.push import PushesAcknowledged
from actors.messages.store import Row
from actors.messages.values import Origin
from actors.peer_frames import decode_peer, encode_peer
from actors.records import make_record, read_record
from rollbook import durable
from rollbook.codec import pack
from rollbook.durable_bodies import Namespaces, ServiceShown, ShownIntent
from rollbook.errors import Code, InvalidField, RemoteProtocolError, RollbookError, SettingsError
from rollbook.model import Instance, View, check_instance, check_service
from rollbook.wire import (
    ANSWER_LIMITS,
    FRAME_BYTES_MAX,
    Envelope,
    Failed,
    Tag,
    answer_body,
    encode,
    open_envelope,
    request_body,
)
from runtime.edge import ClientEdge, IoSettings, PeerEdge
from runtime.members_file import PEER_PORT_OFFSET, read_members_file
from runtime.settings import load_settings
from tests.fuzz.whole_node import TIME_MS_MAX, WholeNode
from tests.support.settings import settings_of

LINK = b"\x00\x01\x02\x03\x04"
PEER_LINK = "dial:10.0.0.2:8851#1"
ORIGIN = Origin("n1", 7)
IO_SETTINGS = settings_of("io", IoSettings)
FILE_END = b"\0"  # between the text of the settings file and the lines of the environment; TOML holds no such byte

NODE_EVENTS_MAX = 8
CPU_MS_MAX = 50  # for one input
NODE_CPU_MS_MAX = 1_000  # eight events may let a quarter of an hour pass, with a beat a second

Check = Callable[[bytes], str]
STORE_KINDS: tuple[StoreKind, ...] = ("alone", "home", "away", "etcd")
_CODES = frozenset(map(int, Code))
_INDEX = re.compile(r"\[[^\]]*\]")
_VARYING = re.compile(r"\S*[\d._'\"\[/=$]\S*|\(at .*")  # names, numbers and quotations in a message


class NodeEvent(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happens to a node."""

    source: Literal["client", "b", "c", "time"]
    frame: bytes = b""
    ms: Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)] = 0
    dialled_here: bool = True


class FuzzTarget(NamedTuple):
    check: Check
    input_bytes_max: int  # what the fuzzer tries; the largest frames have tests of their own (test_budgets.py)
    is_msgpack: bool
    share: int  # of all executions; fast readers take the bulk
    kept_max: int  # files of the kept corpus
    cpu_ms_max: int = CPU_MS_MAX


def check_client_frame(data: bytes) -> str:
    """A client's frame at the edge of a node."""
    edge = ClientEdge(IO_SETTINGS)
    edge.receive(LINK, [data], "10.0.0.9")
    told = edge.drain()
    assert len(told) == 1, "one frame is told once, or refused once"
    try:
        envelope = open_envelope(data)
        body = request_body(envelope)
    except RemoteProtocolError as error:
        _check_refusal(told[0].message, error)
        return _refused(error)
    assert not isinstance(told[0].message, PushToClients), "what can be read is not refused"
    match told[0].message:
        case OrdersReceived(orders=(order,)):
            assert _same(order.body, body), "what is told is what was read"
        case PushesAcknowledged(acknowledgements=(acknowledged,)):
            assert (acknowledged.service, acknowledged.version) == (body.service, body.version)
    again = encode(envelope.tag, envelope.correlation, envelope.session, body)
    if len(again) <= FRAME_BYTES_MAX:  # defaults are written out, so a frame near the limit may grow beyond it
        reopened = open_envelope(again)
        assert (reopened.tag, reopened.correlation, reopened.session) == _head(envelope)
        assert _same(request_body(reopened), body)
    return f"{type(body).__name__} {_size(body)}"


def check_answer_frame(data: bytes) -> str:
    """A node's frame as an application's client reads it."""
    try:
        envelope = open_envelope(data, ANSWER_LIMITS)
        body = answer_body(envelope)
    except RemoteProtocolError as error:
        return _refused(error)
    again = open_envelope(encode(envelope.tag, envelope.correlation, envelope.session, body), ANSWER_LIMITS)
    assert (again.tag, again.correlation, again.session) == _head(envelope)
    assert _same(answer_body(again), body)
    return f"{type(body).__name__} {_size(body)}"


def check_peer_frame(data: bytes) -> str:
    """Another node's frame at the edge, and the records that a delta carries."""
    edges = {kind: PeerEdge(IO_SETTINGS, kind) for kind in STORE_KINDS}
    told = {kind: edge.receive(PEER_LINK, [data], True) for kind, edge in edges.items()}
    try:
        body = decode_peer(data)
    except RemoteProtocolError as error:
        for kind, edge in edges.items():
            assert (told[kind], sum(edge.counters.values())) == ([], 1), "a bad frame is counted and told to nobody"
        return _refused(error)
    tag = PeerTag(msgspec.msgpack.decode(data)[1])
    concerned = _concerned(tag)
    for kind, edge in edges.items():
        dropped = edge.counters.get("peer_frames_of_the_store_dropped", 0)
        assert (len(told[kind]), dropped) == ((1, 0) if kind in concerned else (0, 1))
        assert sum(edge.counters.values()) == dropped
    assert _same(decode_peer(encode_peer(tag, body)), body)
    if isinstance(body, Delta):
        return "Delta " + ", ".join(sorted({check_record(record) for record in body.bodies}))
    return f"{tag.name} {_size(body)}"


def check_record(data: bytes) -> str:
    """The body of a record, as ClientManager reads it out of a delta."""
    try:
        record = read_record(ORIGIN, data)
    except RemoteProtocolError as error:
        return _refused(error)
    assert record.body == data, "everyone stores and relays the owner's bytes"
    try:
        made = make_record(
            ORIGIN, record.key, record.session, record.seq, record.stamp, record.grace_ms, record.instances
        )
    except InvalidField as error:
        return _refused(error)  # more instances than an owner may publish
    again = read_record(ORIGIN, made.body)
    assert again == made
    assert (again.key, again.seq, again.instances) == (record.key, record.seq, record.instances)
    return f"record of {_size(record.instances)}"


def check_row(data: bytes) -> str:
    """A row of the store, whoever wrote it. What is read is as good as what a client may publish, and has one key."""
    try:
        row = msgspec.msgpack.decode(data, type=Row)
    except (ValueError, RecursionError):
        return "refused: not a row"  # by this target, not by the product
    try:
        kept = read_row(row.key, row.value, row.index)
    except RowUnreadable as error:
        return "refused: " + " ".join(_VARYING.sub("", str(error).removeprefix(row.key))[:80].split())
    key, value, tag, shown = _again(kept)
    assert key == row.key, "one thing has one row"
    assert _same(read_row(key, value, row.index), kept)
    if not isinstance(kept, KeptFence):
        assert _same(answer_body(open_envelope(encode(tag, 0, 0, shown), ANSWER_LIMITS)), shown), "a node can show it"
    return f"{type(kept).__name__} {_size(value)}"


def check_settings(data: bytes) -> str:
    """The text of a settings file, and an environment."""
    text, _, lines = data.partition(FILE_END)
    environment = dict(_variables(lines))
    try:
        settings = load_settings(_file_with(text), {}, environment)
    except SettingsError as error:
        return _refused(error)
    values = msgspec.to_builtins(settings)
    assert load_settings(None, values, {}) == settings, "settings that were said again are the same"
    return "settings"


def check_members_file(data: bytes) -> str:
    """The members file."""
    try:
        found = read_members_file(_file_with(data))
    except SettingsError as error:
        return _refused(error)
    split = [address.rpartition(":") for address in found]
    lines = [f"{host}:{int(port) - PEER_PORT_OFFSET}\n" for host, _, port in split]
    assert read_members_file(_file_with("".join(lines).encode())) == found
    return f"members {_size(found)}"


def check_node(store: StoreKind, data: bytes) -> str:
    """A few frames of a client and of two peers, one after the other, at a node of real actors."""
    try:
        events = msgspec.msgpack.decode(data, type=list[NodeEvent])
    except (ValueError, RecursionError):
        return "refused: not a list of events"  # by this target, not by the product
    node = WholeNode(store)
    for event in events[:NODE_EVENTS_MAX]:
        match event.source:
            case "client":
                node.receive_from_client(event.frame)
            case "time":
                node.pass_time(event.ms)
            case name:
                node.receive_from_peer(name, event.frame, event.dialled_here)
    node.check_invariants()
    assert all(row.index <= node.store.rows.index for row in node.store.rows.rows.values())
    for role, counter in ((Role.CLIENTS, "orders_failed"), (Role.INDEX, "index_failed")):
        assert node.counter(role, counter) == 0, "what a client can say never costs its session"
    kinds = sorted({type(answer).__name__ for answer in node.answers})
    failed = sorted({f"{answer.code} {answer.field}" for answer in node.answers if isinstance(answer, Failed)})
    return f"{'ended' if node.ended else 'goes on'}: {' '.join(kinds)}; {_INDEX.sub('[]', ' '.join(failed))}"


TARGETS: dict[str, FuzzTarget] = {
    "client_frames": FuzzTarget(check_client_frame, 4_096, is_msgpack=True, share=340, kept_max=60),
    "answer_frames": FuzzTarget(check_answer_frame, 4_096, is_msgpack=True, share=190, kept_max=50),
    "peer_frames": FuzzTarget(check_peer_frame, 8_192, is_msgpack=True, share=270, kept_max=60),
    "records": FuzzTarget(check_record, 4_096, is_msgpack=True, share=180, kept_max=30),
    "rows": FuzzTarget(check_row, 4_096, is_msgpack=True, share=180, kept_max=20),
    "node": FuzzTarget(
        partial(check_node, "away"), 8_192, is_msgpack=True, share=3, kept_max=40, cpu_ms_max=NODE_CPU_MS_MAX
    ),
    "home_node": FuzzTarget(
        partial(check_node, "home"), 8_192, is_msgpack=True, share=3, kept_max=20, cpu_ms_max=NODE_CPU_MS_MAX
    ),
    "settings": FuzzTarget(check_settings, 2_048, is_msgpack=False, share=5, kept_max=40),
    "members_file": FuzzTarget(check_members_file, 2_048, is_msgpack=False, share=15, kept_max=20),
}


def _concerned(tag: PeerTag) -> tuple[StoreKind, ...]:
    """For which kind of node a frame of a peer is."""
    if tag in (PeerTag.STORE_FOLLOW, PeerTag.STORE_NEWS_ACK, PeerTag.STORE_PROPOSE):
        return ("home",)
    return ("away",) if tag.name.startswith("STORE_") else STORE_KINDS


def _again(kept: Kept) -> tuple[str, bytes, Tag, object]:
    """As a node would write it; and a frame that shows it."""
    match kept:
        case KeptInstance(service=service, instance=instance):
            check_instance(instance, ephemeral=False)
            value = instance_row_value(instance, kept.author, kept.written_ms, kept.added_ms)
            shown: object = View(check_service(service), 1, (instance,))
            return instance_row_key(service, instance.key), value, Tag.VIEW, shown
        case KeptService(service=service, settings=settings):
            value = service_row_value(durable.check_settings(settings), kept.author, kept.written_ms)
            shown = ServiceShown(check_service(service), settings, kept.author, kept.written_ms, kept.index)
            return service_row_key(service), value, Tag.SERVICE_SHOWN, shown
        case KeptIntent(service=service, key=key, place=place):
            check_instance(Instance(*key))
            intent = ShownIntent(key, durable.check_intent(kept.intent), kept.author, kept.written_ms, kept.expires_ms)
            shown = ServiceShown(check_service(service), durable.ServiceSettings(), intents=(intent,))
            return intent_row_key(place), intent_row_value(kept), Tag.SERVICE_SHOWN, shown
        case KeptNamespace(namespace=namespace):
            value = namespace_row_value(durable.check_namespace(namespace), kept.author, kept.written_ms)
            return namespace_row_key(namespace.id), value, Tag.NAMESPACES, Namespaces((namespace,))
        case KeptFence():
            return fence_row_key(kept.node_id), b"", Tag.DONE, None
        case _:
            assert_never(kept)


def _head(envelope: Envelope) -> tuple[int, int, int]:
    return envelope.tag, envelope.correlation, envelope.session


def _same(one: object, other: object) -> bool:
    """Equal to the last bit of every number: the encoding tells what ``==`` does not (NaN, 0.0 and -0.0, 1 and 1.0)."""
    return type(one) is type(other) and pack(one) == pack(other)


def _refused(error: RollbookError) -> str:
    """A good error, in a few words: what is wrong where, without what varies."""
    assert error.code in _CODES, f"unknown code {error.code}"
    assert error.message.encode(), "an error says what is wrong, in text that can be sent"
    if isinstance(error, SettingsError):
        assert error.message.isprintable(), f"not one line for the operator: {error.message!r}"
        return "refused: " + " ".join(_VARYING.sub("", error.message)[:80].split())
    return f"refused: {error.code} {_INDEX.sub('[]', error.field)}"


def _size(value: object) -> str:
    """How large a value is, roughly: enough to tell empty, small and large apart."""
    return f"2^{len(pack(value)).bit_length()}"


def _check_refusal(message: object, error: RemoteProtocolError) -> None:
    """The sender can read why."""
    assert isinstance(message, PushToClients)
    (frame,) = message.frames
    failed = answer_body(open_envelope(frame.payload, ANSWER_LIMITS))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message, failed.field) == (error.code, error.message, error.field)


def _variables(lines: bytes) -> list[tuple[str, str]]:
    """As the operating system hands them over: any bytes but NUL, undecodable ones as half surrogates."""
    split = [os.fsdecode(line).partition("=") for line in lines.replace(FILE_END, b"").split(b"\n")]
    return [(name, value) for name, equals, value in split if name and equals]


_directory = tempfile.TemporaryDirectory(prefix="rollbook-fuzz-")
_file = Path(_directory.name) / "input"


def _file_with(data: bytes) -> Path:
    _file.write_bytes(data)
    return _file
