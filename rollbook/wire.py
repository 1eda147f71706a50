"""Frames between a client and a node (docs/protocol.md is the same thing in prose).

One message is one ZeroMQ frame that holds one msgpack array ``[version, tag, correlation, session, body]``. Tags
and body fields are only appended; a reader ignores what stands behind the fields it knows and fills missing ones
with their defaults. ``correlation`` is chosen by the asker and comes back in the answer; messages that answer
nothing carry 0. ``session`` is the number of the session on this connection; numbers are unique per connection.
What orders about durable data and their answers hold is in durable_bodies.py, rows of backups in kept_rows.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from rollbook.catalog import (
    Catalog,
    CountServices,
    FindServices,
    ListCatalog,
    ListSubscribers,
    ServicesCounted,
    ServicesFound,
    Subscribers,
)
from rollbook.codec import UnpackLimits, pack, typed, unpack
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
    WithdrawPersistent,
)
from rollbook.errors import Code, RemoteProtocolError
from rollbook.http_clients import Beaten, Beats, HttpPatch, HttpPublish, HttpWithdraw
from rollbook.kept_rows import DurablePage, ReadDurable, RestoreRows
from rollbook.known_clients import (
    ClientShown,
    ClientsListed,
    GetClient,
    ListClients,
    ListPublications,
    ListPublishers,
    ListSubscriptions,
    PublicationsListed,
    PublishersListed,
    SubscriptionsListed,
)
from rollbook.model import Instance, InstanceKey, Service, View
from rollbook.status import NodeStatus
from rollbook.tags import Tag as Tag  # all of the protocol is found here

WIRE_VERSION = 1
FRAME_BYTES_MAX = 256 * 1024  # one record is at most 128 KiB
INSTANCES_PER_RECORD_MAX = 1_000
RECORD_BYTES_MAX = 128 * 1024
PAGE_SIZE_MAX = 1_000
NUMBER_MAX = 1 << 60  # of a session, an epoch, a stamp: higher ones follow, and they must fit into 64 bits too
LIMITS = UnpackLimits(FRAME_BYTES_MAX, array_length_max=4_096, map_length_max=1_024, containers_max=16_384)
ANSWER_BYTES_MAX = 16 * 1024 * 1024  # a view holds the records of many clients
ANSWER_LIMITS = UnpackLimits(
    ANSWER_BYTES_MAX,
    array_length_max=262_144,
    map_length_max=1_024,
    containers_max=600_000,  # an instance is an array and its metadata a map
)

Wait = Literal["node", "cluster", "subscribers"]
PublishMode = Literal["add", "replace"]
SessionKind = Literal["native", "sdk", "gateway"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class OpenSession(msgspec.Struct, frozen=True, array_like=True):
    """``session`` is higher than every earlier one of this client: max(last + 1, wall clock ms).

    A gateway opens sessions of kind ``sdk`` for those that speak other protocols to it, each with the ``ip`` of its
    client, and one of kind ``gateway`` for itself, which publishes nothing. A connection that is lost takes native
    sessions with it; what others published stays for the grace of their kind, for their clients may live.
    """

    client_id: str
    session: int
    app: str = ""
    agent: str = ""
    kind: SessionKind = "native"
    ip: str = ""  # empty: of the connection
    connected_ms: int = 0  # kind ``sdk``: when its client has connected, by the wall clock; 0: nobody says


class CloseSession(msgspec.Struct, frozen=True, array_like=True):
    """``leave`` removes what the session publishes at once; ``moved`` keeps it for the newer session to take over."""

    reason: Literal["leave", "moved"] = "leave"


class Publish(msgspec.Struct, frozen=True, array_like=True):
    """``add`` puts instances beside those this session publishes for the service; ``replace`` puts them in their place.

    A redo carries the stamp of its first acknowledgement, or the lower one that a redo was answered with, so that it
    keeps its rank among clients that publish the same instance key. With ``wait`` cluster the answer comes when every
    living member has it, with ``wait`` subscribers when every subscriber on each of them has acknowledged the list that
    shows it, at most after ``wait_ms``.
    """

    service: Service
    instances: tuple[Instance, ...]
    mode: PublishMode = "add"
    wait: Wait = "node"
    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    stamp: int = 0


class Withdraw(msgspec.Struct, frozen=True, array_like=True):
    """Remove these instances of this client, or all of the service when ``keys`` is empty."""

    service: Service
    keys: tuple[InstanceKey, ...] = ()
    wait: Wait = "node"
    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class Query(msgspec.Struct, frozen=True, array_like=True):
    service: Service
    clusters: str = ""  # comma list; empty means every cluster


class Subscribe(msgspec.Struct, frozen=True, array_like=True):
    """Answered by the view of now; pushes follow. A second one for the same service replaces the filter."""

    service: Service
    clusters: str = ""


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True):
    service: Service


class ListServices(msgspec.Struct, frozen=True, array_like=True):
    """Services of one group that have a publisher, sorted by name; ``page`` counts from 1. ``with_empty``: also those
    that have settings and no publisher."""

    namespace: str
    group: str
    page: int = 1
    size: int = 100
    with_empty: bool = False


class PushAck(msgspec.Struct, frozen=True, array_like=True):
    service: Service
    version: int


class GetStatus(msgspec.Struct, frozen=True, array_like=True):
    """Needs no session, and is answered by a node that is not ready too."""


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Answered from the core, not from the I/O thread: a hung core is seen."""


class SetLogLevel(msgspec.Struct, frozen=True, array_like=True):
    """What the logs of the asked node say from now on, until it ends: this level and all above it."""

    level: LogLevel


class SessionOpened(msgspec.Struct, frozen=True, array_like=True):
    """``majority``: this node hears most of the configured members; ``servers``: client addresses of all members."""

    node_id: str
    epoch: int
    session: int
    requests_in_flight_max: int
    servers: tuple[str, ...] = ()
    majority: bool = True
    warming: bool = False


class SessionEnded(msgspec.Struct, frozen=True, array_like=True):
    """The node closed the session: ``code`` says why, ``session`` is the highest one it knows for the client."""

    code: int
    message: str
    session: int = 0


class Done(msgspec.Struct, frozen=True, array_like=True):
    """The order is in this node's index. ``seq`` is the version of the record, ``stamp`` what a redo hands in."""

    epoch: int = 0
    seq: int = 0
    stamp: int = 0


class Services(msgspec.Struct, frozen=True, array_like=True):
    total: int
    names: tuple[str, ...]


class Failed(msgspec.Struct, frozen=True, array_like=True):
    """``session``: the highest known one (SESSION_STALE). ``nodes``: who has not confirmed (NOT_CONFIRMED),
    ``subscribers``: as far as known, which clients. ``servers``: where to try instead (NOT_READY, NODE_LEAVING,
    OVER_LIMIT)."""

    code: int
    message: str
    field: str = ""
    retryable: bool = False
    session: int = 0
    nodes: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    subscribers: tuple[str, ...] = ()


class MoveAdvised(msgspec.Struct, frozen=True, array_like=True):
    """Open a session at one of ``servers``, redo there, then close this one with reason ``moved``.

    ``isolated``: move only to a node that reports a majority; ``leaving``: this node is about to end; ``rebalance``.
    """

    reason: Literal["leaving", "isolated", "rebalance"]
    servers: tuple[str, ...] = ()


class ServersListed(msgspec.Struct, frozen=True, array_like=True):
    """The client addresses of the members, one of which this session has not been told: forget the earlier ones."""

    servers: tuple[str, ...]


class Pong(msgspec.Struct, frozen=True, array_like=True):
    pass


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """Asks nothing and wants no answer: its delivery tells the node that the connection still stands."""


REQUESTS: dict[int, type[Any]] = {
    Tag.OPEN_SESSION: OpenSession,
    Tag.CLOSE_SESSION: CloseSession,
    Tag.PUBLISH: Publish,
    Tag.WITHDRAW: Withdraw,
    Tag.QUERY: Query,
    Tag.SUBSCRIBE: Subscribe,
    Tag.UNSUBSCRIBE: Unsubscribe,
    Tag.LIST_SERVICES: ListServices,
    Tag.PUSH_ACK: PushAck,
    Tag.GET_STATUS: GetStatus,
    Tag.PING: Ping,
    Tag.PUBLISH_PERSISTENT: PublishPersistent,
    Tag.WITHDRAW_PERSISTENT: WithdrawPersistent,
    Tag.PUT_SERVICE: PutService,
    Tag.DELETE_SERVICE: DeleteService,
    Tag.GET_SERVICE: GetService,
    Tag.PUT_NAMESPACE: PutNamespace,
    Tag.DELETE_NAMESPACE: DeleteNamespace,
    Tag.LIST_NAMESPACES: ListNamespaces,
    Tag.SET_INTENT: SetIntent,
    Tag.CLEAR_INTENT: ClearIntent,
    Tag.READ_DURABLE: ReadDurable,
    Tag.RESTORE_ROWS: RestoreRows,
    Tag.SET_HEALTH: SetHealth,
    Tag.HTTP_PUBLISH: HttpPublish,
    Tag.HTTP_WITHDRAW: HttpWithdraw,
    Tag.HTTP_PATCH: HttpPatch,
    Tag.BEATS: Beats,
    Tag.FIND_SERVICES: FindServices,
    Tag.LIST_CATALOG: ListCatalog,
    Tag.COUNT_SERVICES: CountServices,
    Tag.LIST_SUBSCRIBERS: ListSubscribers,
    Tag.LIST_CLIENTS: ListClients,
    Tag.GET_CLIENT: GetClient,
    Tag.LIST_PUBLICATIONS: ListPublications,
    Tag.LIST_SUBSCRIPTIONS: ListSubscriptions,
    Tag.LIST_PUBLISHERS: ListPublishers,
    Tag.SET_LOG_LEVEL: SetLogLevel,
}
ANSWERS: dict[int, type[Any]] = {
    Tag.SESSION_OPENED: SessionOpened,
    Tag.SESSION_ENDED: SessionEnded,
    Tag.DONE: Done,
    Tag.VIEW: View,
    Tag.SERVICES: Services,
    Tag.PUSH: View,
    Tag.FAILED: Failed,
    Tag.MOVE_ADVISED: MoveAdvised,
    Tag.STATUS: NodeStatus,
    Tag.PONG: Pong,
    Tag.PROBE: Probe,
    Tag.SERVERS: ServersListed,
    Tag.SERVICE_SHOWN: ServiceShown,
    Tag.NAMESPACES: Namespaces,
    Tag.DURABLE_PAGE: DurablePage,
    Tag.BEATEN: Beaten,
    Tag.SERVICES_FOUND: ServicesFound,
    Tag.CATALOG: Catalog,
    Tag.SERVICES_COUNTED: ServicesCounted,
    Tag.SUBSCRIBERS: Subscribers,
    Tag.CLIENTS_LISTED: ClientsListed,
    Tag.CLIENT_SHOWN: ClientShown,
    Tag.PUBLICATIONS_LISTED: PublicationsListed,
    Tag.SUBSCRIPTIONS_LISTED: SubscriptionsListed,
    Tag.PUBLISHERS_LISTED: PublishersListed,
}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A frame whose outer shape is right; ``body`` is still plain values."""

    tag: int
    correlation: int
    session: int
    body: Any


def encode(tag: int, correlation: int, session: int, body: object) -> bytes:
    """One frame. ``body`` is a struct of this module, or ``msgspec.Raw`` bytes that were encoded once for many."""
    return pack((WIRE_VERSION, tag, correlation, session, body))


def open_envelope(payload: bytes, limits: UnpackLimits = LIMITS) -> Envelope:
    """Check the outer shape; RemoteProtocolError names what is wrong with it. A client hands in ANSWER_LIMITS."""
    value = unpack(payload, limits)
    if type(value) is not list or len(value) < 5:
        raise RemoteProtocolError("a message is an array [version, tag, correlation, session, body]", field="envelope")
    version, tag, correlation, session, body = value[:5]
    if type(version) is not int or type(tag) is not int or type(correlation) is not int or type(session) is not int:
        raise RemoteProtocolError("version, tag, correlation and session are integers", field="envelope")
    if version != WIRE_VERSION:
        raise RemoteProtocolError(
            f"protocol version {version} is not spoken here; this side speaks {WIRE_VERSION}",
            code=Code.VERSION_UNSUPPORTED,
            field="version",
        )
    return Envelope(tag, correlation, session, body)


def request_body(envelope: Envelope) -> Any:
    """The typed body of a client's message; RemoteProtocolError names the field."""
    return _body(envelope, REQUESTS)


def answer_body(envelope: Envelope) -> Any:
    """The typed body of a node's message; RemoteProtocolError names the field."""
    return _body(envelope, ANSWERS)


def _body(envelope: Envelope, kinds: dict[int, type[Any]]) -> Any:
    kind = kinds.get(envelope.tag)
    if kind is None:
        raise RemoteProtocolError(f"tag {envelope.tag} is unknown here", code=Code.TAG_UNKNOWN, field="tag")
    return typed(envelope.body, kind)
