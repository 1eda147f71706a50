"""All connections of SDKs: who may have one, who is silent, who is to go elsewhere.

A stream that ends takes its connection with it, and what it published, at once; if the SDK was told to move, what it
published stays for the grace of its kind, for it publishes again elsewhere. A stream that the gateway ends is ended
with an error: SDKs that see a good end go on as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import grpc
import msgspec
from loguru import logger

from rollbook.errors import Code, Refused, RollbookError
from rollbook.wire import MoveAdvised
from runtime.clock import system_now
from runtime.gateway.fuzzy_watch import FuzzyWatches
from runtime.gateway.node_link import NodeLink
from runtime.gateway.sdk_connection import SdkConnection, SdkTransport, session_spec
from runtime.gateway.sdk_messages import SetupRequest
from runtime.gateway.sdk_stream import SdkStream
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.settings import GatewaySettings

_LOG = logger.bind(actor="grpc")
_NATIVE_PORT_OFFSET = 2  # from the HTTP port, which is the one that SDKs know
# What ours can do. SDKs that are not told so use HTTP for persistent instances, and do not watch patterns.
ABILITIES = {"supportPersistentInstanceByGrpc": True, "fuzzyWatch": True, "lock": False, "mcp": False, "agent": False}
_SETUP_ACK = msgspec.json.encode({"headers": {}, "abilityTable": ABILITIES, "module": "internal"})
_OF_A_PROBE = b'"module":"internal"'


class SdkConnections:
    """Every method is called on the loop."""

    def __init__(
        self,
        link: NodeLink,
        lists: ServiceLists,
        watches: FuzzyWatches,
        settings: GatewaySettings,
        chance: random.Random,
    ) -> None:
        self._link = link
        self._lists = lists
        self._watches = watches
        self._settings = settings
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._by_transport: dict[str, SdkConnection] = {}
        self._being_set_up: dict[str, asyncio.Future[None]] = {}
        self._streams: dict[SdkStream, SdkTransport] = {}
        self._per_address: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._named_ms = 0  # two connections of one transport have two names
        self._looked = self._loop.time()
        self._look_timer: asyncio.TimerHandle | None = None
        self._isolated_since = 0.0
        self._isolated_until = 0.0
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._by_transport)

    @property
    def streams(self) -> int:
        return len(self._streams)

    def all(self) -> list[SdkConnection]:
        """In order of setup."""
        return list(self._by_transport.values())

    def start(self) -> None:
        self._link.on_resumed = self._on_resumed
        self._look_timer = self._loop.call_later(1.0, self._look)

    def end(self) -> None:
        """The gateway ends: SDKs go elsewhere, and what they published stays for the grace of their kind."""
        self._is_ending = True
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._watches.stop()
        for stream in self._streams:
            stream.end(grpc.StatusCode.UNAVAILABLE, "the gateway ends")

    async def farewell(self) -> None:
        """Returns when the node has heard of those that had gone before."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.leave_timeout_ms / 2_000)

    # -- streams come and go

    def admit(self, stream: SdkStream, peer: SdkTransport) -> None:
        """Refused if there are too many."""
        settings = self._settings
        if self._is_ending:
            raise Refused("the gateway ends", code=Code.NODE_LEAVING)
        if len(self._streams) >= settings.streams_max:
            raise Refused(f"this gateway has {settings.streams_max} streams", code=Code.OVER_LIMIT)
        if self._per_address[peer.ip] >= settings.streams_per_address_max:
            raise Refused(f"{peer.ip} has {settings.streams_per_address_max} streams", code=Code.OVER_LIMIT)
        self._streams[stream] = peer
        self._per_address[peer.ip] += 1

    async def set_up(self, stream: SdkStream, peer: SdkTransport, setup: SetupRequest) -> None:
        """The SDK has said who it is. What the transport was before is over. Raises what the node says."""
        transport = peer.name
        promise = self._being_set_up.setdefault(transport, self._loop.create_future())
        try:
            self._replace(transport, stream)
            self._named_ms = max(self._named_ms + 1, system_now().wall_ms)
            session = await self._link.open(session_spec(peer, self._named_ms, setup))
            if stream.ended.done() or stream not in self._streams:
                self._run(session.close("leave"))
                return
            resumption = self._link.resumption
            connection = SdkConnection(
                peer, setup, stream, session, self._lists, resumption, self._settings, self._loop.time()
            )
            session.on_push = connection.subscriptions.pushed
            session.on_repeated = connection.subscriptions.repeated
            session.on_ended = lambda error: self._on_session_ended(connection, error)
            session.on_advice = lambda advice: self._on_advice(connection, advice)
            self._replace(transport, stream)
            self._by_transport[transport] = connection
            if setup.ability_table is not None:
                stream.tell("ack", "SetupAckRequest", _SETUP_ACK)
        finally:
            if not promise.done():
                promise.set_result(None)
            self._being_set_up.pop(transport, None)

    def gone(self, stream: SdkStream) -> None:
        """The stream has ended, whoever ended it."""
        stream.close()
        peer = self._streams.pop(stream, None)
        if peer is None:
            return
        self._per_address[peer.ip] -= 1
        if not self._per_address[peer.ip]:
            del self._per_address[peer.ip]
        connection = self._by_transport.get(peer.name)
        if connection is not None and connection.stream is stream:
            self._drop(connection)

    async def of(self, transport: str) -> SdkConnection | None:
        """Whoever has just said who it is on its stream may ask before that is known here."""
        promise = self._being_set_up.get(transport)
        if promise is not None:
            await asyncio.shield(promise)
        return self._by_transport.get(transport)

    def heard(self, connection: SdkConnection) -> None:
        connection.heard = self._loop.time()

    def at(self, transport: str) -> SdkConnection | None:
        return self._by_transport.get(transport)

    def _replace(self, transport: str, stream: SdkStream) -> None:
        connection = self._by_transport.get(transport)
        if connection is None:
            return
        self._drop(connection)
        if connection.stream is not stream:
            connection.stream.end(grpc.StatusCode.ABORTED, "another stream took the place of this one")

    def _drop(self, connection: SdkConnection) -> None:
        del self._by_transport[connection.peer.name]
        connection.close()
        self._watches.gone(connection.stream)
        if self._is_ending:
            return
        is_moving = self._loop.time() < connection.moves_until
        self._run(connection.session.close("moved" if is_moving else "leave"))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_resumed(self) -> None:
        for connection in self.all():
            self._run(connection.subscriptions.resume())

    def _on_session_ended(self, connection: SdkConnection, error: RollbookError) -> None:
        if not self._is_ending and not self._link.has_given_up:  # then one line stands for all
            _LOG.bind(client=connection.id, reason=error.message).info("the node has ended a session")
        connection.stream.end(grpc.StatusCode.UNAVAILABLE, error.message)

    # -- who is silent

    def _look(self) -> None:
        settings, now = self._settings, self._loop.time()
        interval = settings.detect_interval_ms / 1000
        has_stalled = now - self._looked > 2 * interval
        self._looked = now
        self._look_timer = self._loop.call_later(interval, self._look)
        if has_stalled:
            return  # what they said meanwhile is yet to be read
        for connection in self._by_transport.values():
            if not connection.is_probed and now - connection.heard >= settings.silent_ms / 1000:
                self._probe(connection)

    def _probe(self, connection: SdkConnection) -> None:
        connection.is_probed = True
        asked = self._loop.time()

        def on_answer(is_alive: bool) -> None:
            connection.is_probed = False
            if not is_alive and connection.heard < asked:
                _LOG.bind(client=connection.id).info("an SDK is silent: its stream ends")
                connection.stream.end(grpc.StatusCode.UNAVAILABLE, "the connection was silent")

        timeout_ms = self._settings.detect_answer_ms
        connection.stream.ask("probe", "ClientDetectionRequest", _OF_A_PROBE, timeout_ms, on_answer)

    # -- who is to go elsewhere

    def advise(self, connection: SdkConnection, servers: tuple[str, ...]) -> bool:
        """On the word of a person. False if this SDK does not know the message."""
        if connection.moves_when_asked:
            self._ask_to_move(connection, servers)
        return connection.moves_when_asked

    def _on_advice(self, connection: SdkConnection, advice: MoveAdvised) -> None:
        now = self._loop.time()
        if connection.moves_when_asked:
            self._ask_to_move(connection, advice.servers)
            return
        if advice.reason == "rebalance":
            return  # some watch again only after half a minute, which no balance is worth
        if advice.reason == "isolated":
            if now >= self._isolated_until:
                self._isolated_since = now
            self._isolated_until = now + self._settings.isolation_ms / 1000
            if connection.opened > self._isolated_since:
                return  # it came while this node was isolated already, so it has found no better one
        spread = self._chance.uniform(0, self._settings.move_spread_ms / 1000)
        self._loop.call_later(spread, self._move, connection)

    def _ask_to_move(self, connection: SdkConnection, servers: tuple[str, ...]) -> None:
        """If it has nowhere to go, it stays."""
        connection.moves_until = self._loop.time() + self._settings.move_ms / 1000
        fields: dict[str, object] = {"connectionId": connection.id, "module": "internal"}
        if servers:
            host, _, port = self._chance.choice(servers).rpartition(":")
            fields |= {"serverIp": host.strip("[]"), "serverPort": str(int(port) - _NATIVE_PORT_OFFSET)}
        body = msgspec.json.encode(fields)[1:-1]
        connection.stream.ask("move", "ConnectResetRequest", body, self._settings.move_ms, _nothing)

    def _move(self, connection: SdkConnection) -> None:
        if self._by_transport.get(connection.peer.name) is connection:
            connection.moves_until = self._loop.time() + self._settings.move_ms / 1000
            connection.stream.end(grpc.StatusCode.UNAVAILABLE, "the node wants you elsewhere")


def _nothing(_: bool) -> None:
    """Whether it moves is its own decision."""
