"""Frames of every released version stay decodable for ever: stored bytes, and the values they must give.

A new message gets a new line in golden_frames.json; an old line never changes. A message that has grown since has its
newest bytes in golden_grown.json (test_grown_frames.py).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from actors.messages.peers import (
    PEER_BODIES,
    Delta,
    DeltaAck,
    Digest,
    Forwarded,
    ForwardSettled,
    Goodbye,
    Hello,
    HttpOrder,
    HttpOutcome,
    LinkPing,
    LinkPong,
    PeerRefused,
    PeerTag,
    ProbeAnswered,
    ProbeAsked,
    Pull,
    SettledProposal,
    StoreCut,
    StoreFollow,
    StoreNews,
    StoreNewsAck,
    StoreOffered,
    StorePropose,
    StoreSettled,
    Welcome,
)
from actors.messages.store import NOTHING, Expectation, Operation, Proposal, Row, StoredChange
from actors.messages.values import DigestEntry, Origin, RecordKey, Trail
from actors.peer_frames import decode_peer, encode_peer
from actors.records import make_record, read_record
from actors.succession import trail_of
from rollbook.catalog import (
    Catalog,
    CatalogEntry,
    CountServices,
    FindServices,
    ListCatalog,
    ListSubscribers,
    NamespaceCount,
    ServicesCounted,
    ServicesFound,
    Subscriber,
    Subscribers,
)
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    Namespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    ServiceShown,
    SetHealth,
    SetIntent,
    ShownIntent,
    WithdrawPersistent,
)
from rollbook.http_clients import (
    Beaten,
    BeatOutcome,
    Beats,
    HttpBeat,
    HttpPatch,
    HttpPublish,
    HttpWithdraw,
    InstanceChanges,
)
from rollbook.kept_rows import (
    DurablePage,
    DurableRows,
    InstanceRow,
    IntentRow,
    NamespaceRow,
    ReadDurable,
    RestoreRows,
    ServiceRow,
)
from rollbook.known_clients import (
    ClientShown,
    ClientsListed,
    GetClient,
    ListClients,
    ListPublications,
    ListPublishers,
    ListSubscriptions,
    Publication,
    PublicationsListed,
    Publisher,
    PublishersListed,
    SubscriptionsListed,
)
from rollbook.model import Instance, InstanceKey, Service, View
from rollbook.status import MemberStatus, NodeStatus, OwnerStatus
from rollbook.wire import (
    ANSWERS,
    REQUESTS,
    CloseSession,
    Done,
    Failed,
    GetStatus,
    ListServices,
    MoveAdvised,
    OpenSession,
    Ping,
    Pong,
    Probe,
    Publish,
    PushAck,
    Query,
    ServersListed,
    Services,
    SessionEnded,
    SessionOpened,
    SetLogLevel,
    Subscribe,
    Tag,
    Unsubscribe,
    Withdraw,
    answer_body,
    encode,
    open_envelope,
    request_body,
)

GOLDEN = json.loads(Path(__file__).with_name("golden_frames.json").read_text())
GOLDEN_RECORD = json.loads(Path(__file__).with_name("golden_record.json").read_text())
SINCE_MS = 1_700_000_000_000
SERVICE = Service("public", "DEFAULT_GROUP", "orders")
INSTANCE = Instance("10.0.0.1", 8080, "DEFAULT", 2.5, True, False, True, {"zone": "a"})
KEPT = msgspec.structs.replace(INSTANCE, ephemeral=False)
ROW_KEY = "instance public DEFAULT_GROUP orders 10.0.0.1 8080 DEFAULT"
VIEW = View(SERVICE, 9, (INSTANCE,), True, True)
CHECKER = CheckerSettings("http", False, 9_000, "/health", "a:1|b:2", 204)
SETTINGS = ServiceSettings(0.5, {"team": "a"}, {"DEFAULT": CHECKER, "EAST": CheckerSettings()})
INTENT = Intent(False, 0.5, {"zone": "b"})
PROD = Namespace("prod", "production", "of the shop")
WRITTEN_BY = ("c1", 1_700_000_000_000)
KEPT_ROWS = DurableRows(
    (ServiceRow(SERVICE, SETTINGS, *WRITTEN_BY),),
    (NamespaceRow(PROD, *WRITTEN_BY),),
    (InstanceRow(SERVICE, KEPT, *WRITTEN_BY, 1_700_000_000_000),),
    (IntentRow(SERVICE, KEPT.key, Intent(enabled=False), "kept 1700000000000", *WRITTEN_BY, 1_700_000_600_000),),
)
CHANGES = InstanceChanges(0.5, False, {"zone": "b"})
ENTRY = DigestEntry("n1", 7, 5, 3, 20, 2, 2**64 - 1, False, True, 4)

REQUEST_BODIES: dict[Tag, Any] = {
    Tag.OPEN_SESSION: OpenSession("c1", 1_700_000_000_000, "app", "python"),
    Tag.CLOSE_SESSION: CloseSession("moved"),
    Tag.PUBLISH: Publish(SERVICE, (INSTANCE,), "replace", "cluster", 500, 77),
    Tag.WITHDRAW: Withdraw(SERVICE, (InstanceKey("10.0.0.1", 8080),), "cluster", 500),
    Tag.QUERY: Query(SERVICE, "a,b"),
    Tag.SUBSCRIBE: Subscribe(SERVICE, "a"),
    Tag.UNSUBSCRIBE: Unsubscribe(SERVICE),
    Tag.LIST_SERVICES: ListServices("public", "DEFAULT_GROUP", 2, 50),
    Tag.PUSH_ACK: PushAck(SERVICE, 9),
    Tag.GET_STATUS: GetStatus(),
    Tag.PING: Ping(),
    Tag.PUBLISH_PERSISTENT: PublishPersistent(SERVICE, (KEPT,)),
    Tag.WITHDRAW_PERSISTENT: WithdrawPersistent(SERVICE, (InstanceKey("10.0.0.1", 8080),)),
    Tag.PUT_SERVICE: PutService(SERVICE, SETTINGS, "update"),
    Tag.DELETE_SERVICE: DeleteService(SERVICE),
    Tag.GET_SERVICE: GetService(SERVICE),
    Tag.PUT_NAMESPACE: PutNamespace(PROD, "create"),
    Tag.DELETE_NAMESPACE: DeleteNamespace("prod"),
    Tag.LIST_NAMESPACES: ListNamespaces(),
    Tag.SET_INTENT: SetIntent(SERVICE, KEPT.key, INTENT, 600_000),
    Tag.CLEAR_INTENT: ClearIntent(SERVICE, KEPT.key),
    Tag.READ_DURABLE: ReadDurable(41, 2_000, True),
    Tag.RESTORE_ROWS: RestoreRows(KEPT_ROWS),
    Tag.SET_HEALTH: SetHealth(SERVICE, KEPT.key, False),
    Tag.HTTP_PUBLISH: HttpPublish(SERVICE, INSTANCE, "update"),
    Tag.HTTP_WITHDRAW: HttpWithdraw(SERVICE, "10.0.0.1", 8080),
    Tag.HTTP_PATCH: HttpPatch(SERVICE, "10.0.0.1", 8080, CHANGES),
    Tag.BEATS: Beats((HttpBeat(SERVICE, "10.0.0.1", 8080), HttpBeat(SERVICE, "10.0.0.1", 8080, INSTANCE))),
    Tag.FIND_SERVICES: FindServices("public", "*", "or*", 500, 7),
    Tag.LIST_CATALOG: ListCatalog("public", "g*", "*or*", 200, 50, False),
    Tag.COUNT_SERVICES: CountServices(),
    Tag.LIST_SUBSCRIBERS: ListSubscribers(SERVICE, 10, 50),
    Tag.LIST_CLIENTS: ListClients("c1", 50),
    Tag.GET_CLIENT: GetClient("c1"),
    Tag.LIST_PUBLICATIONS: ListPublications("c1", SERVICE, 50),
    Tag.LIST_SUBSCRIPTIONS: ListSubscriptions("c1", SERVICE, 50),
    Tag.LIST_PUBLISHERS: ListPublishers(SERVICE, "c1", 50),
    Tag.SET_LOG_LEVEL: SetLogLevel("WARNING"),
}
ANSWER_BODIES: dict[Tag, Any] = {
    Tag.SESSION_OPENED: SessionOpened("n1", 7, 1_700_000_000_000, 256, ("h:1", "h:2"), False, True),
    Tag.SESSION_ENDED: SessionEnded(31003, "superseded", 8),
    Tag.DONE: Done(7, 5, 77),
    Tag.VIEW: VIEW,
    Tag.SERVICES: Services(2, ("a", "b")),
    Tag.PUSH: VIEW,
    Tag.FAILED: Failed(300, "not ready", "f", True, 3, ("n2",), ("h:2",)),
    Tag.MOVE_ADVISED: MoveAdvised("leaving", ("h:2",)),
    Tag.STATUS: NodeStatus(
        "n1",
        7,
        5,
        True,
        "ready",
        False,
        1,
        2,
        (MemberStatus("n2", "h:3", "h:2", "alive", True, 8, 40, 1),),
        (OwnerStatus("n1", 7, 5, 2, 99, 1),),
        {"orders": 3},
        "0.1.0",
    ),
    Tag.PONG: Pong(),
    Tag.PROBE: Probe(),
    Tag.SERVERS: ServersListed(("h:2", "h:12")),
    Tag.SERVICE_SHOWN: ServiceShown(
        *(SERVICE, SETTINGS, "c1", 1_700_000_000_000, 41, 2),
        (
            ShownIntent(KEPT.key, Intent(enabled=False), "c2", 1_700_000_000_001, 1_700_000_600_001),
            ShownIntent(KEPT.key, Intent(weight=0.5), "c3", 1_700_000_000_002, 0, False),
        ),
    ),
    Tag.NAMESPACES: Namespaces((PROD, Namespace("public", "public", "built in"))),
    Tag.DURABLE_PAGE: DurablePage("5f0c", 41, 2_000, 2_004, KEPT_ROWS, True, 1, 1_700_000_000_000),
    Tag.BEATEN: Beaten((BeatOutcome("renewed", 5_000), BeatOutcome("refused", 0, 20002, "not so", "ip")), True),
    Tag.SERVICES_FOUND: ServicesFound(9, False, 2, (("g", "a"),), (("g", "b"),), True),
    Tag.CATALOG: Catalog(3, (CatalogEntry("g", "a", 1, 3, 2, 0.5), CatalogEntry("g", "b")), True),
    Tag.SERVICES_COUNTED: ServicesCounted(3, 5, (NamespaceCount("prod", 1, 2), NamespaceCount("public", 2, 3))),
    Tag.SUBSCRIBERS: Subscribers(2, (Subscriber("c1", "10.0.0.1", "app", "python"), Subscriber("c2"))),
    Tag.CLIENTS_LISTED: ClientsListed(("c2", "c3"), "c3"),
    Tag.CLIENT_SHOWN: ClientShown("c1", "sdk", "10.0.0.1", "app", "python", 3, 1_700_000_000_000),
    Tag.PUBLICATIONS_LISTED: PublicationsListed((Publication(SERVICE, (KEPT.key,)),), SERVICE),
    Tag.SUBSCRIPTIONS_LISTED: SubscriptionsListed((SERVICE,), SERVICE),
    Tag.PUBLISHERS_LISTED: PublishersListed((Publisher("c1", (KEPT.key,)),), "c1"),
}
PEER_BODY_VALUES: dict[PeerTag, Any] = {
    PeerTag.HELLO: Hello("rollbook", "n1", 7, "h:3", "h:2", "h:13"),
    PeerTag.WELCOME: Welcome("n2", 8, "h:13", "h:12", 7),
    PeerTag.REFUSED: PeerRefused(31011, "another cluster"),
    PeerTag.PING: LinkPing(4),
    PeerTag.PONG: LinkPong(4),
    PeerTag.DIGEST: Digest("n1", 7, True, False, (("h:13", "up"),), (ENTRY,), True, (("h:13", "n2", "h:12"),)),
    PeerTag.DELTA: Delta("n1", 7, 1, 5, True, 2, 1, 3, True, 9, (b"body", b"")),
    PeerTag.DELTA_ACK: DeltaAck("n1", 7, 5, 4, 6, 2),
    PeerTag.PULL: Pull("n1", 7, 1, 2, True),
    PeerTag.GOODBYE: Goodbye("n1", 7),
    PeerTag.PROBE_ASKED: ProbeAsked(9, "n2"),
    PeerTag.PROBE_ANSWERED: ProbeAnswered(9, "n2", True),
    PeerTag.STORE_OFFERED: StoreOffered("5f0c", 41),
    PeerTag.STORE_FOLLOW: StoreFollow(1_700_000_000_000, NOTHING, ""),
    PeerTag.STORE_CUT: StoreCut(
        *(1_700_000_000_000, 1, "5f0c", 41, True), (Row("fence n1", b"1", 40), Row(ROW_KEY, b"\x97\x01", 41))
    ),
    PeerTag.STORE_NEWS: StoreNews(
        *(1_700_000_000_000, 2, 43), (StoredChange(42, (Operation("fence n1", b"2"), Operation(ROW_KEY, None))),)
    ),
    PeerTag.STORE_NEWS_ACK: StoreNewsAck(1_700_000_000_000, 2),
    PeerTag.STORE_PROPOSE: StorePropose(
        (
            Proposal(3, (Operation(ROW_KEY, b"\x97\x01"),), (Expectation("fence n1", 42),)),
            Proposal(4, (Operation("fence n2", b"5"),)),
        )
    ),
    PeerTag.STORE_SETTLED: StoreSettled(
        (SettledProposal(3, True, 44), SettledProposal(4, False, 0, "unavailable", "the disk is full"))
    ),
    PeerTag.FORWARDED: Forwarded(
        *(1_700_000_000_000, 1),
        (
            HttpOrder("register", SERVICE, "10.0.0.1", 8080, 1_700_000_000_000, INSTANCE),
            HttpOrder("patch", SERVICE, "10.0.0.1", 8080, 1_700_000_000_000, None, CHANGES),
        ),
    ),
    PeerTag.FORWARD_SETTLED: ForwardSettled(
        1_700_000_000_000,
        (
            HttpOutcome("done", 5_000, 0, "", "", False, "n1", 7, 5, 77),
            HttpOutcome("refused", 0, 503, "too many", "service", True),
        ),
    ),
}


def test_every_tag_has_a_golden_frame() -> None:
    assert set(REQUEST_BODIES) == set(REQUESTS)
    assert set(ANSWER_BODIES) == set(ANSWERS)
    assert set(PEER_BODY_VALUES) == set(PEER_BODIES)
    names = [tag.name for tag in (*REQUEST_BODIES, *ANSWER_BODIES)]
    names += [f"PEER_{tag.name}" for tag in PEER_BODY_VALUES]
    assert sorted(names) == sorted(GOLDEN)


@pytest.mark.parametrize("tag", REQUEST_BODIES)
def test_a_stored_request_still_decodes_to_its_value(tag: Tag) -> None:
    envelope = open_envelope(bytes.fromhex(GOLDEN[tag.name]))
    assert (envelope.tag, envelope.correlation, envelope.session) == (tag, 7, 1_700_000_000_000)
    assert request_body(envelope) == REQUEST_BODIES[tag]


@pytest.mark.parametrize("tag", ANSWER_BODIES)
def test_a_stored_answer_still_decodes_to_its_value(tag: Tag) -> None:
    envelope = open_envelope(bytes.fromhex(GOLDEN[tag.name]))
    assert answer_body(envelope) == ANSWER_BODIES[tag]


@pytest.mark.parametrize("tag", PEER_BODY_VALUES)
def test_a_stored_peer_frame_still_decodes_to_its_value(tag: PeerTag) -> None:
    assert decode_peer(bytes.fromhex(GOLDEN[f"PEER_{tag.name}"])) == PEER_BODY_VALUES[tag]


def test_the_bytes_and_the_hash_of_a_record_are_those_of_every_other_node() -> None:
    """Two nodes that hash differently would see damage in every record of the other."""
    record = make_record(Origin("n1", 7), RecordKey("c1", SERVICE), 5, 3, 77, 15_000, (INSTANCE,))
    assert record.body.hex() == GOLDEN_RECORD["body"]
    assert record.digest == GOLDEN_RECORD["digest"]
    assert read_record(Origin("n1", 7), record.body) == record


def test_a_record_with_a_trail_has_these_bytes_and_its_kin_is_what_the_protocol_says() -> None:
    golden = GOLDEN_RECORD["with_trail"]
    named = hashlib.blake2b(msgpack.packb(["10.0.0.9", "app", "nacos-java"]), digest_size=6, key=b"rollbook kin 1")
    first = trail_of(OpenSession("c1", 5, "app", "nacos-java", "sdk", "10.0.0.9", SINCE_MS), "10.0.0.9", SINCE_MS)
    assert first == Trail(int.from_bytes(named.digest(), "little"), SINCE_MS)
    trail = Trail(golden["kin"], SINCE_MS, SINCE_MS + 9, (InstanceKey("10.0.0.1", 1),))
    assert first.kin == trail.kin
    record = make_record(Origin("n1", 7), RecordKey("c1", SERVICE), 5, 3, 77, 15_000, (INSTANCE,), trail)
    assert (record.body.hex(), record.digest) == (golden["body"], golden["digest"])
    assert read_record(Origin("n1", 7), record.body) == record


@pytest.mark.parametrize("tag", [*REQUEST_BODIES, *ANSWER_BODIES])
def test_what_is_sent_today_is_read_back_as_it_was(tag: Tag) -> None:
    body = {**REQUEST_BODIES, **ANSWER_BODIES}[tag]
    reader = request_body if tag in REQUEST_BODIES else answer_body
    assert reader(open_envelope(encode(tag, 7, 3, body))) == body


@pytest.mark.parametrize("tag", PEER_BODY_VALUES)
def test_what_is_sent_to_a_peer_today_is_read_back_as_it_was(tag: PeerTag) -> None:
    assert decode_peer(encode_peer(tag, PEER_BODY_VALUES[tag])) == PEER_BODY_VALUES[tag]


@pytest.mark.parametrize("tag", [Tag.PUBLISH, Tag.QUERY, Tag.OPEN_SESSION])
def test_fields_of_a_later_version_are_ignored_and_missing_ones_take_their_defaults(tag: Tag) -> None:
    plain = msgspec.msgpack.decode(encode(tag, 7, 3, REQUEST_BODIES[tag]))
    longer = [*plain[:4], [*plain[4], "later", 1], "and more"]
    assert request_body(open_envelope(msgspec.msgpack.encode(longer))) == REQUEST_BODIES[tag]
    shorter = [*plain[:4], plain[4][:2]]
    body = request_body(open_envelope(msgspec.msgpack.encode(shorter)))
    defaults = [field.default for field in msgspec.structs.fields(type(body))[2:]]
    assert [getattr(body, field.name) for field in msgspec.structs.fields(type(body))[2:]] == defaults
