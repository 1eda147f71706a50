"""The edge of a node: frames become typed messages; what is wrong with them is answered and counted.

Pure: no socket, no thread, no clock. The ZeroMQ I/O (runtime/io_thread.py) and the simulated one feed the same classes.
Owns: the windows of requests in flight, the counts of bad frames per link. Tells: ClientManager (orders, one batch),
ConnectionManager (sessions, status), PushActor (acknowledgements, links heard again), and for peers MemberManager,
DistroSyncActor, BeatKeeper and who serves or follows the store of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from actors.base import Role, StatusRequested, StoreKind, Tell
from actors.messages.beats import ForwardReceived
from actors.messages.clients import OrdersReceived
from actors.messages.connections import SessionCloseRequested, SessionRequested
from actors.messages.distro import DeltaAcknowledged, DeltaReceived, PullReceived
from actors.messages.io import AnswerClients, ClientFrame, PushToClients
from actors.messages.members import PeerFrameReceived
from actors.messages.peers import (
    Delta,
    DeltaAck,
    Forwarded,
    ForwardSettled,
    Pull,
    StoreCut,
    StoreFollow,
    StoreNews,
    StoreNewsAck,
    StoreOffered,
    StorePropose,
    StoreSettled,
)
from actors.messages.push import Acknowledgement, PushesAcknowledged, SubscriberHeard
from actors.messages.store import StoreFrameReceived
from actors.messages.values import Order, Route
from actors.peer_frames import decode_peer
from rollbook.codec import unpack
from rollbook.errors import RETRYABLE, Code, RemoteProtocolError
from rollbook.status import NodeStatus
from rollbook.wire import LIMITS, Failed, Tag, encode, open_envelope, request_body

_TAGS_FOR_THE_STORE = frozenset(
    map(
        int,
        (
            Tag.PUBLISH_PERSISTENT,
            Tag.WITHDRAW_PERSISTENT,
            Tag.PUT_SERVICE,
            Tag.DELETE_SERVICE,
            Tag.PUT_NAMESPACE,
            Tag.DELETE_NAMESPACE,
            Tag.SET_INTENT,
            Tag.CLEAR_INTENT,
            Tag.RESTORE_ROWS,
            Tag.SET_HEALTH,
        ),
    )
)
_TAGS_FOR_KEEPERS = frozenset(map(int, (Tag.HTTP_PUBLISH, Tag.HTTP_WITHDRAW, Tag.HTTP_PATCH, Tag.BEATS)))
_TAGS_FOR_OTHERS = _TAGS_FOR_THE_STORE | _TAGS_FOR_KEEPERS  # which may be other nodes
_TAGS_OF_ORDERS = _TAGS_FOR_OTHERS | frozenset(
    map(
        int,
        (
            Tag.PUBLISH,
            Tag.WITHDRAW,
            Tag.QUERY,
            Tag.SUBSCRIBE,
            Tag.UNSUBSCRIBE,
            Tag.LIST_SERVICES,
            Tag.FIND_SERVICES,
            Tag.LIST_CATALOG,
            Tag.COUNT_SERVICES,
            Tag.LIST_SUBSCRIBERS,
            Tag.LIST_CLIENTS,
            Tag.GET_CLIENT,
            Tag.LIST_PUBLICATIONS,
            Tag.LIST_SUBSCRIPTIONS,
            Tag.LIST_PUBLISHERS,
            Tag.SET_LOG_LEVEL,
            Tag.GET_SERVICE,
            Tag.LIST_NAMESPACES,
            Tag.READ_DURABLE,
            Tag.PING,
        ),
    )
)

_TAGS_THAT_MAY_WAIT = frozenset(map(int, (Tag.PUBLISH, Tag.WITHDRAW)))


class IoSettings(msgspec.Struct, frozen=True):
    """Section ``io`` of the settings."""

    requests_in_flight_per_session_max: int
    requests_in_flight_max: int
    drain_frames_max: int
    client_silence_ms: int
    peer_heartbeat_ms: int
    peer_heartbeat_timeout_ms: int
    peer_connect_timeout_ms: int
    peer_reconnect_ms: int
    peer_reconnect_ms_max: int
    handshake_timeout_ms: int
    probe_interval_ms: int
    probe_ms_max: int
    sockets_max: int
    invalid_frames_per_link_max: int
    waits_in_flight_max: int
    message_parts_max: int
    message_parts_per_round_max: int
    message_parts_cut_max: int
    unread_bytes_per_connection_max: int
    memory_step_bytes_max: int
    memory_look_interval_ms: int
    closed_link_memory_ms: int
    slow_probe_interval_ms: int
    monitor_events_per_round_max: int
    descriptors_reserved: int
    listen_backlog_max: int
    linger_ms: int
    peer_frames_queued_max: int
    gateway_frames_queued_max: int
    gateway_bytes_unsent_max: int
    peer_retransmit_ms_max: int
    first_message_ms_max: int


class _ClientLink:
    """What the edge remembers of one client connection."""

    __slots__ = ("delimited", "invalid_frames", "is_gateway", "windows")

    def __init__(self) -> None:
        self.windows: dict[int, _Window] = {}  # by session number; only sessions with requests in flight
        self.invalid_frames = 0
        self.delimited = False  # it speaks as a REQ socket: an empty frame before each message
        self.is_gateway = False  # it has said so


class _Window:
    """The requests in flight of one session; ``waits`` of them wait for others, as far as is known."""

    __slots__ = ("requests", "route", "waits")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.requests = 0
        self.waits = 0


class ClientEdge:
    """Everything clients send passes here, one frame at a time, and leaves in batches."""

    def __init__(self, settings: IoSettings) -> None:
        self.counters: dict[str, int] = {}
        self._window_max = settings.requests_in_flight_per_session_max
        self._in_flight_max = settings.requests_in_flight_max
        self._waits_max = settings.waits_in_flight_max
        self._invalid_max = settings.invalid_frames_per_link_max
        self._in_flight = 0
        self._waits_in_flight = 0
        self._links: dict[bytes, _ClientLink] = {}
        self._watched: set[bytes] = set()
        self._orders: list[Order] = []
        self._to_connections: list[Tell] = []
        self._to_push: list[Tell] = []
        self._acknowledgements: list[Acknowledgement] = []
        self._refusals: list[ClientFrame] = []

    @property
    def saturated(self) -> bool:
        """Clients must not be read until answers have gone out. Callers that wait for others keep nobody busy, so they
        are counted apart: a silent member would hold up everybody else for seconds."""
        busy = self._in_flight - self._waits_in_flight
        return busy >= self._in_flight_max or self._waits_in_flight >= self._waits_max

    def receive(self, link: bytes, parts: Sequence[bytes], ip: str) -> None:
        """Take one message of a client, without its routing id; never raises for what it contains."""
        state = self._links.get(link)
        if state is None:
            state = self._links[link] = _ClientLink()
        if self._watched and link in self._watched:
            self._watched.discard(link)
            self._to_push.append(Tell(Role.PUSH, SubscriberHeard(link)))
        if state.invalid_frames >= self._invalid_max:
            self._count("client_frames_dropped_unread")
            return
        payload = b""
        try:
            payload = parts[0] if len(parts) == 1 else _payload(state, parts)
            envelope = open_envelope(payload)
            tag, correlation, session = envelope.tag, envelope.correlation, envelope.session
            body = request_body(envelope)
        except RemoteProtocolError as error:
            self._refuse_frame(link, state, payload, error)
            return
        if tag in _TAGS_OF_ORDERS:
            window = self._admit(link, state, session, correlation)
            if window is not None:
                self._orders.append(Order(window.route, correlation, body))
                if tag in _TAGS_FOR_OTHERS or (tag in _TAGS_THAT_MAY_WAIT and body.wait != "node"):
                    window.waits += 1
                    self._waits_in_flight += 1
        elif tag == Tag.PUSH_ACK:
            self._acknowledgements.append(Acknowledgement(Route(link, session), body.service, body.version))
        else:
            window = self._admit(link, state, body.session if tag == Tag.OPEN_SESSION else session, correlation)
            if window is not None:
                state.is_gateway = state.is_gateway or (tag == Tag.OPEN_SESSION and body.kind == "gateway")
                about_session = _session_message(tag, window.route, correlation, body, ip)
                self._to_connections.append(Tell(Role.CONNECTIONS, about_session))

    def drain(self) -> list[Tell]:
        """Everything since the last call. Orders stand before sessions, so that no close overtakes an order."""
        tells: list[Tell] = []
        if self._orders:
            tells.append(Tell(Role.CLIENTS, OrdersReceived(tuple(self._orders))))
            self._orders.clear()
        for waiting in (self._to_connections, self._to_push):
            tells.extend(waiting)
            waiting.clear()
        if self._acknowledgements:
            tells.append(Tell(Role.PUSH, PushesAcknowledged(tuple(self._acknowledgements))))
            self._acknowledgements.clear()
        if self._refusals:
            tells.append(Tell(Role.IO, PushToClients(tuple(self._refusals))))
            self._refusals.clear()
        return tells

    def answered(self, frames: Iterable[ClientFrame]) -> None:
        """These requests have left their windows."""
        for frame in frames:
            link, session = frame.route
            state = self._links.get(link)
            window = state.windows.get(session) if state is not None else None
            if state is None or window is None:
                continue  # the link was closed and its windows forgotten
            self._in_flight -= 1
            window.requests -= 1
            if window.waits > window.requests:  # an answer does not say what it answers: others count as answered first
                window.waits -= 1
                self._waits_in_flight -= 1
            if not window.requests:
                del state.windows[session]

    def watch(self, links: Iterable[bytes]) -> None:
        """Say once when one of these links is heard again."""
        self._watched.update(link for link in links if link in self._links)

    def close(self, link: bytes) -> None:
        """The connection is gone: forget its windows, counts and watch."""
        self._watched.discard(link)
        state = self._links.pop(link, None)
        if state is not None:
            self._in_flight -= sum(window.requests for window in state.windows.values())
            self._waits_in_flight -= sum(window.waits for window in state.windows.values())

    def is_gateway(self, link: bytes) -> bool:
        """Whether it carries the sessions of many clients."""
        state = self._links.get(link)
        return state is not None and state.is_gateway

    def parts_of(self, frame: ClientFrame) -> list[bytes]:
        """What to hand to the ROUTER for this frame: a REQ socket wants its empty delimiter back."""
        state = self._links.get(frame.route.link)
        if state is not None and state.delimited:
            return [frame.route.link, b"", frame.payload]
        return [frame.route.link, frame.payload]

    def answer_status(self, asked: StatusRequested, more_counters: dict[str, int]) -> AnswerClients:
        """The end of the chain of a status question: add what the edge counts, and answer."""
        counters = {
            **asked.parts.get("counters", {}),
            **self.counters,
            **more_counters,
            "requests_in_flight": self._in_flight,
        }
        known = {name: asked.parts[name] for name in NodeStatus.__struct_fields__ if name in asked.parts}
        status = NodeStatus(**{**known, "counters": dict(sorted(counters.items()))})
        payload = encode(Tag.STATUS, asked.correlation, asked.session, status)
        return AnswerClients((ClientFrame(Route(asked.link, asked.session), payload),))

    def _admit(self, link: bytes, state: _ClientLink, session: int, correlation: int) -> _Window | None:
        window = state.windows.get(session)
        if window is None:
            window = state.windows[session] = _Window(Route(link, session))
        elif window.requests >= self._window_max:
            self._count("client_requests_over_limit")
            sentence = f"more than {self._window_max} requests of this session are in flight"
            self._refuse(window.route, correlation, Code.OVER_LIMIT, sentence)
            return None
        window.requests += 1
        self._in_flight += 1
        return window

    def _refuse_frame(self, link: bytes, state: _ClientLink, payload: bytes, error: RemoteProtocolError) -> None:
        state.invalid_frames += 1
        self._count(f"client_frames_{_reason(error)}")
        correlation, session = _asker(payload)
        self._refuse(Route(link, session), correlation, error.code, error.message, error.field)

    def _refuse(self, route: Route, correlation: int, code: int, sentence: str, field: str = "") -> None:
        failed = Failed(int(code), sentence, field, code in RETRYABLE)
        self._refusals.append(ClientFrame(route, encode(Tag.FAILED, correlation, route.session, failed)))

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


class PeerEdge:
    """Everything other nodes send passes here."""

    def __init__(self, settings: IoSettings, store: StoreKind = "none") -> None:
        self.counters: dict[str, int] = {}
        self._store = store
        self._invalid_max = settings.invalid_frames_per_link_max
        self._invalid_frames: dict[str, int] = {}

    def receive(self, link: str, parts: Sequence[bytes], dialled_here: bool) -> list[Tell]:
        """Take one message of a peer, without a routing id; never raises for what it contains."""
        if self._invalid_frames and self._invalid_frames.get(link, 0) >= self._invalid_max:
            self._count("peer_frames_dropped_unread")
            return []
        try:
            if len(parts) != 1:
                raise RemoteProtocolError("a message is exactly one frame", field="frame")
            body = decode_peer(parts[0])
        except RemoteProtocolError as error:
            self._invalid_frames[link] = self._invalid_frames.get(link, 0) + 1
            self._count(f"peer_frames_{_reason(error)}")
            return []
        return self._tells(link, body, dialled_here)

    def _tells(self, link: str, body: Any, dialled_here: bool) -> list[Tell]:
        match body:
            case Delta():
                return [Tell(Role.DISTRO, DeltaReceived(link, body))]
            case DeltaAck():
                return [Tell(Role.DISTRO, DeltaAcknowledged(link, body))]
            case Pull():
                return [Tell(Role.DISTRO, PullReceived(link, body))]
            case Forwarded() | ForwardSettled():
                return [Tell(Role.BEATS, ForwardReceived(link, body))]
            case StoreFollow() | StoreNewsAck() | StorePropose():
                return self._store_tells("home", Role.HOME, StoreFrameReceived(link, body))
            case StoreOffered() | StoreCut() | StoreNews() | StoreSettled():
                return self._store_tells("away", Role.STORE, StoreFrameReceived(link, body))
            case _:  # decode_peer hands out nothing but the bodies of actors/messages/peers.py
                return [Tell(Role.MEMBERS, PeerFrameReceived(link, dialled_here, body))]

    def _store_tells(self, store: StoreKind, role: Role, message: StoreFrameReceived) -> list[Tell]:
        """Members may disagree on who keeps the store; what is for another kind of node is dropped."""
        if self._store == store:
            return [Tell(role, message)]
        self._count("peer_frames_of_the_store_dropped")
        return []

    def close(self, link: str) -> None:
        """The link is gone: forget its count."""
        self._invalid_frames.pop(link, None)

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _payload(state: _ClientLink, parts: Sequence[bytes]) -> bytes:
    """The message in several parts: only the empty frame of a REQ socket may stand before it."""
    if len(parts) == 2 and not parts[0]:
        state.delimited = True
        return parts[1]
    raise RemoteProtocolError("a message is exactly one frame", field="frame")


def _session_message(tag: int, route: Route, correlation: int, body: Any, ip: str) -> Any:
    if tag == Tag.OPEN_SESSION:
        return SessionRequested(route, correlation, ip, body)
    if tag == Tag.CLOSE_SESSION:
        return SessionCloseRequested(route, correlation, body.reason)
    return StatusRequested(route.link, route.session, correlation)


def _asker(payload: bytes) -> tuple[int, int]:
    """Correlation and session of a bad frame, as far as they can be read; 0 otherwise."""
    try:
        value = unpack(payload, LIMITS)
    except RemoteProtocolError:
        return 0, 0
    if type(value) is not list:
        return 0, 0
    correlation, session = (item if type(item) is int else 0 for item in [*value[2:4], 0, 0][:2])
    return correlation, session


def _reason(error: RemoteProtocolError) -> str:
    return Code(error.code).name.lower()
