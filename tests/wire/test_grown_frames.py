"""Frames that have grown: their newest stored bytes are plain msgpack of the arrays in docs/protocol.md, and older
ones, which end before the fields that were appended since, still say what the defaults there say.

When a field is appended, ``NEWEST`` gets the longer array, and golden_grown.json a new line; an old line never changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from actors.durable_values import StoredInstance, StoredIntent, StoredNamespace, StoredService
from actors.messages.peers import (
    PEER_BODIES,
    Accusation,
    Delta,
    DeltaAck,
    Digest,
    HttpOrder,
    HttpOutcome,
    PeerTag,
    Pull,
    SettledProposal,
    StoreOffered,
)
from actors.messages.store import Expectation, Operation, Proposal, Row, StoredChange
from actors.messages.values import DigestEntry
from actors.peer_frames import decode_peer, encode_peer
from rollbook.catalog import CatalogEntry, NamespaceCount, Subscriber
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import ClearIntent, PutService, ShownIntent
from rollbook.http_clients import BeatOutcome, HttpBeat, InstanceChanges
from rollbook.kept_rows import DurableRows, InstanceRow, IntentRow, NamespaceRow, ServiceRow
from rollbook.model import Instance, InstanceKey, Service, View
from rollbook.status import DurableStatus, LatencyCounts, MemberStatus, NodeStatus, OwnerStatus, StoreMember
from rollbook.wire import (
    ANSWERS,
    REQUESTS,
    Failed,
    ListServices,
    OpenSession,
    Tag,
    answer_body,
    encode,
    open_envelope,
    request_body,
)
from tests.support.protocol_text import REQUIRED, Fields, client_arrays, fields_of, peer_arrays
from tests.wire.test_golden_frames import ANSWER_BODIES, GOLDEN, PEER_BODY_VALUES, REQUEST_BODIES

GROWN = json.loads(Path(__file__).with_name("golden_grown.json").read_text())
SESSION = 1_700_000_000_000

# What a reader of docs/protocol.md writes down: [version, tag, correlation, session, body], or [version, tag, body].
ORDERS = ["public", "DEFAULT_GROUP", "orders"]
LISTED = [["10.0.0.1", 8080, "DEFAULT", 2.5, True, False, True, {"zone": "a"}]]
VIEW = [ORDERS, 9, LISTED, True, True, True, SESSION, True]
ENTRY = ["n1", 7, 5, 3, 20, 2, 2**64 - 1, False, True, 4, 6, 15_000]
NEWEST: dict[str, list[Any]] = {
    "CLEAR_INTENT": [1, 21, 7, SESSION, [ORDERS, ["10.0.0.1", 8080, "DEFAULT"], ["enabled", "weight"]]],
    "LIST_SERVICES": [1, 8, 7, SESSION, ["public", "DEFAULT_GROUP", 2, 50, True]],
    "PUT_SERVICE": [1, 14, 7, SESSION, [ORDERS, [0.5, {"team": "a"}, {}, "none"], "update", 41]],
    "OPEN_SESSION": [1, 1, 7, SESSION, ["c1", SESSION, "app", "nacos-java", "sdk", "10.0.0.9", SESSION]],
    "VIEW": [1, 67, 7, SESSION, VIEW],
    "PUSH": [1, 69, 0, SESSION, VIEW],
    "FAILED": [1, 70, 7, SESSION, [31009, "not confirmed", "f", True, 3, ["n2"], ["h:2"], ["c1@n2"]]],
    "STATUS": [
        *(1, 72, 7, SESSION),
        [
            *("n1", 7, 5, True, "ready", False, 1, 2),
            [["n2", "h:3", "h:2", "alive", True, 8, 40, -1]],
            [["n1", 7, 5, 2, 99, 1]],
            {"orders": 3},
            "0.1.0",
            [["told", [5, 50], [3, 2, 1]]],
            ["away", 41, 2, True, SESSION, "the link to it has ended"],
            [["h:13", "learner"]],
        ],
    ],
    "PEER_DIGEST": [
        *(1, 6),
        [
            *("n1", 7, True, False),
            [["h:13", "up"]],
            [ENTRY],
            True,
            [["h:13", "n2", "h:12"]],
            300,
            [["n3", 8, 40, ["n1"], ["n2", "n4"]]],
            True,
        ],
    ],
    "PEER_DELTA": [1, 7, ["n1", 7, 1, 5, True, 2, 1, 3, True, 9, [b"body", b""], 64, 32, [64, 95]]],
    "PEER_DELTA_ACK": [1, 8, ["n1", 7, 5, 4, 6, 2, ["c1"]]],
    "PEER_PULL": [1, 9, ["n1", 7, 1, 2, True, 64, 2, [2**64 - 1, 0]]],
    "PEER_STORE_OFFERED": [1, 13, ["5f0c", 41, SESSION, 16]],
}
INSTANCE = Instance("10.0.0.1", 8080, "DEFAULT", 2.5, True, False, True, {"zone": "a"})
BODIES: dict[str, Any] = {
    "CLEAR_INTENT": ClearIntent(
        Service("public", "DEFAULT_GROUP", "orders"), InstanceKey("10.0.0.1", 8080), ("enabled", "weight")
    ),
    "LIST_SERVICES": ListServices("public", "DEFAULT_GROUP", 2, 50, with_empty=True),
    "PUT_SERVICE": PutService(
        Service("public", "DEFAULT_GROUP", "orders"), ServiceSettings(0.5, {"team": "a"}), "update", 41
    ),
    "OPEN_SESSION": OpenSession("c1", SESSION, "app", "nacos-java", kind="sdk", ip="10.0.0.9", connected_ms=SESSION),
    "VIEW": View(Service("public", "DEFAULT_GROUP", "orders"), 9, (INSTANCE,), True, True, True, SESSION, True),
    "PUSH": View(Service("public", "DEFAULT_GROUP", "orders"), 9, (INSTANCE,), True, True, True, SESSION, True),
    "FAILED": Failed(31009, "not confirmed", "f", True, 3, ("n2",), ("h:2",), ("c1@n2",)),
    "STATUS": NodeStatus(
        node_id="n1",
        epoch=7,
        seq=5,
        ready=True,
        standing="ready",
        preserved=False,
        sessions=1,
        records=2,
        members=(MemberStatus("n2", "h:3", "h:2", "alive", True, 8, 40, -1),),
        owners=(OwnerStatus("n1", 7, 5, 2, 99, 1),),
        counters={"orders": 3},
        version="0.1.0",
        convergence=(LatencyCounts("told", (5, 50), (3, 2, 1)),),
        durable=DurableStatus("away", 41, 2, True, SESSION, "the link to it has ended"),
        store_members=(StoreMember("h:13", "learner"),),
    ),
    "PEER_DIGEST": Digest(
        node_id="n1",
        epoch=7,
        ready=True,
        leaving=False,
        links=(("h:13", "up"),),
        entries=(DigestEntry("n1", 7, 5, 3, 20, 2, 2**64 - 1, False, True, 4, owner_seq=6, hidden_ms=15_000),),
        started_cold=True,
        members=(("h:13", "n2", "h:12"),),
        sessions=300,
        accusations=(Accusation("n3", 8, 40, refused_to=("n1",), silent_to=("n2", "n4")),),
        preserved=True,
    ),
    "PEER_DELTA": Delta(*("n1", 7, 1, 5, True, 2, 1, 3, True, 9, (b"body", b"")), first=64, length=32, whole=(64, 95)),
    "PEER_DELTA_ACK": DeltaAck("n1", 7, applied=5, pushed=4, upper=6, chunk=2, laggards=("c1",)),
    "PEER_PULL": Pull("n1", 7, have=1, resume=2, full=True, first=64, length=2, sums=(2**64 - 1, 0)),
    "PEER_STORE_OFFERED": StoreOffered("5f0c", 41, stream=SESSION, sent=16),
}
VALUES: dict[str, Any] = {  # by their name in the text
    "Service": Service,
    "InstanceKey": InstanceKey,
    "Instance": Instance,
    "View": View,
    "ServiceSettings": ServiceSettings,
    "CheckerSettings": CheckerSettings,
    "Intent": Intent,
    "Namespace": Namespace,
    "ShownIntent": ShownIntent,
    "DurableRows": DurableRows,
    "ServiceRow": ServiceRow,
    "NamespaceRow": NamespaceRow,
    "IntentRow": IntentRow,
    "InstanceRow": InstanceRow,
    "CatalogEntry": CatalogEntry,
    "NamespaceCount": NamespaceCount,
    "Subscriber": Subscriber,
    "members": MemberStatus,
    "owners": OwnerStatus,
    "convergence": LatencyCounts,
    "durable": DurableStatus,
    "store_members": StoreMember,
    "HttpBeat": HttpBeat,
    "BeatOutcome": BeatOutcome,
    "InstanceChanges": InstanceChanges,
}
PEER_VALUES: dict[str, Any] = {
    "entry": DigestEntry,
    "accusation": Accusation,
    "row": Row,
    "operation": Operation,
    "change": StoredChange,
    "expectation": Expectation,
    "proposal": Proposal,
    "outcome": SettledProposal,
    "stored_instance": StoredInstance,
    "stored_service": StoredService,
    "stored_intent": StoredIntent,
    "stored_namespace": StoredNamespace,
    "http_order": HttpOrder,
    "http_outcome": HttpOutcome,
}


def newest(name: str) -> bytes:
    """The stored frame with the most fields."""
    lengths = {int(key.partition("/")[2]): text for key, text in GROWN.items() if key.partition("/")[0] == name}
    return bytes.fromhex(lengths[max(lengths)])


def sent(name: str, body: Any) -> bytes:
    if name.startswith("PEER_"):
        return encode_peer(PeerTag[name.removeprefix("PEER_")], body)
    return encode(Tag[name], NEWEST[name][2], SESSION, body)


def read(name: str, frame: bytes) -> Any:
    if name.startswith("PEER_"):
        return decode_peer(frame)
    envelope = open_envelope(frame)
    return request_body(envelope) if envelope.tag in REQUESTS else answer_body(envelope)


def written(name: str) -> Fields:
    """The fields of a body as docs/protocol.md has them."""
    if name in ("VIEW", "PUSH"):
        return client_arrays()["View"]
    return peer_arrays()[name.removeprefix("PEER_")] if name.startswith("PEER_") else client_arrays()[name]


@pytest.mark.parametrize("name", NEWEST)
def test_the_newest_stored_frame_is_plain_msgpack_of_the_array_in_the_protocol(name: str) -> None:
    assert newest(name) == msgpack.packb(NEWEST[name])
    assert len(NEWEST[name][-1]) == len(written(name)), "the longest array is the one in the text"


@pytest.mark.parametrize("name", NEWEST)
def test_a_frame_that_has_grown_is_sent_in_these_bytes_and_no_others(name: str) -> None:
    assert sent(name, BODIES[name]) == newest(name)
    assert read(name, newest(name)) == BODIES[name]


@pytest.mark.parametrize("key", GROWN)
def test_every_length_that_was_ever_stored_still_decodes(key: str) -> None:
    name, _, length = key.partition("/")
    frame = bytes.fromhex(GROWN[key])
    assert len(msgpack.unpackb(frame)[-1]) == int(length)
    assert read(name, frame) == shortened(name, int(length))


@pytest.mark.parametrize("name", NEWEST)
def test_a_frame_of_an_older_sender_has_the_defaults_of_the_protocol_for_what_it_lacks(name: str) -> None:
    fields = written(name)
    required = sum(field.default is REQUIRED for field in fields)
    assert required < len(fields), "something was appended"
    for length in range(required, len(fields)):
        array = [*NEWEST[name][:-1], NEWEST[name][-1][:length]]
        assert read(name, msgpack.packb(array)) == shortened(name, length)


def shortened(name: str, length: int) -> Any:
    """The body whose fields from ``length`` on have the defaults of the text."""
    body, fields = msgspec.to_builtins(BODIES[name]), written(name)
    return msgspec.convert([*body[:length], *(field.default for field in fields[length:])], type(BODIES[name]))


@pytest.mark.parametrize("length", range(7, len(ENTRY)))
def test_an_older_entry_of_a_digest_has_the_defaults_of_the_protocol_for_what_it_lacks(length: int) -> None:
    body = NEWEST["PEER_DIGEST"][-1]
    array = [1, 6, [*body[:5], [ENTRY[:length]], *body[6:]]]
    (entry,) = decode_peer(msgpack.packb(array)).entries
    known = [field.name for field in fields_of(DigestEntry)]
    (whole,) = BODIES["PEER_DIGEST"].entries
    defaults = {field.name: field.default for field in peer_arrays()["entry"][length:]}
    assert entry == msgspec.structs.replace(whole, **defaults)
    assert list(defaults) == known[length:]


@pytest.mark.parametrize("tag", [*REQUEST_BODIES, *ANSWER_BODIES])
def test_a_frame_of_a_client_that_has_not_grown_is_sent_in_its_golden_bytes(tag: Tag) -> None:
    if tag.name not in NEWEST:
        body = {**REQUEST_BODIES, **ANSWER_BODIES}[tag]
        assert encode(tag, 7, SESSION, body).hex() == GOLDEN[tag.name]
    assert (tag.name in NEWEST) == (len(msgpack.unpackb(bytes.fromhex(GOLDEN[tag.name]))[4]) < len(fields(tag)))


@pytest.mark.parametrize("tag", PEER_BODY_VALUES)
def test_a_frame_of_a_peer_that_has_not_grown_is_sent_in_its_golden_bytes(tag: PeerTag) -> None:
    name = f"PEER_{tag.name}"
    if name not in NEWEST:
        assert encode_peer(tag, PEER_BODY_VALUES[tag]).hex() == GOLDEN[name]
    assert (name in NEWEST) == (len(msgpack.unpackb(bytes.fromhex(GOLDEN[name]))[2]) < len(fields_of(PEER_BODIES[tag])))


def fields(tag: Tag) -> Fields:
    return fields_of({**REQUESTS, **ANSWERS}[tag])


@pytest.mark.parametrize("tag", [*REQUESTS, *ANSWERS])
def test_the_protocol_names_every_field_of_a_clients_frame_in_order_with_its_default(tag: int) -> None:
    name = "View" if tag in (Tag.VIEW, Tag.PUSH) else Tag(tag).name
    assert client_arrays()[name] == fields(Tag(tag))


@pytest.mark.parametrize("tag", PEER_BODIES)
def test_the_protocol_names_every_field_of_a_peers_frame_in_order_with_its_default(tag: int) -> None:
    assert peer_arrays()[PeerTag(tag).name] == fields_of(PEER_BODIES[tag])


@pytest.mark.parametrize("name", [*VALUES, *PEER_VALUES])
def test_the_protocol_names_every_field_of_a_value_in_order_with_its_default(name: str) -> None:
    text = client_arrays() if name in VALUES else peer_arrays()
    assert text[name] == fields_of({**VALUES, **PEER_VALUES}[name])
