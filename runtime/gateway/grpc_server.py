"""The gRPC side of the gateway: grpc.aio on the gateway's loop, and the order in which a request is looked at.

Every request is JSON in an envelope that names its type (wire/sdk.proto), asked for itself; the stream of the same
transport says who asks, and carries what the server asks and tells.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec
from loguru import logger

from rollbook.errors import Code, Refused, RollbookError
from runtime.clock import system_now
from runtime.endpoints import AddressUnusable
from runtime.gateway.listening import listen
from runtime.gateway.naming_requests import STARTING_TEXT, NamingRequests
from runtime.gateway.node_link import NodeLink
from runtime.gateway.other_modules import answer_of_other_modules
from runtime.gateway.plan import GatewayPlan
from runtime.gateway.sdk_connection import SdkTransport, connection_id, peer_of
from runtime.gateway.sdk_connections import SdkConnections
from runtime.gateway.sdk_messages import (
    FAILURE,
    NO_HANDLER,
    NOT_READABLE,
    STARTING,
    UNREGISTERED,
    SdkAnswer,
    SetupRequest,
    StreamResponse,
    doubtful,
    payload,
    read_body,
    read_payload,
    succeeded,
)
from runtime.gateway.sdk_stream import SdkStream, StreamContext
from runtime.gateway.tls import GatewayTls
from runtime.gateway.wire.sdk_pb2 import Payload
from runtime.text_files import shown

_LOG = logger.bind(actor="grpc")
MESSAGE_BYTES_MAX = 10 * 1024 * 1024  # what SDKs are set to
GRACE_SECONDS = 0.2  # for calls in progress at the end
_OPTIONS = {
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
    # Some SDKs ping every minute, also without a call; a server that counts that as abuse cuts them off.
    "grpc.http2.min_recv_ping_interval_without_data_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_ping_strikes": 0,
    "grpc.max_concurrent_streams": 512,  # of one transport: a stream, and more requests than its session may have
    "grpc.max_connection_idle_ms": 300_000,  # a transport without a stream is no SDK's
    "grpc.server_handshake_timeout_ms": 10_000,  # one that does not begin to speak is nobody's
}
_HEALTH_CHECK = "HealthCheckRequest"
_UNREGISTERED_TEXT = "Connection is unregistered."


class GrpcServer:
    """Make it on the loop. Binds in the constructor."""

    def __init__(
        self,
        plan: GatewayPlan,
        tls: GatewayTls | None,
        link: NodeLink,
        connections: SdkConnections,
        naming: NamingRequests,
    ) -> None:
        self._link = link
        self._connections = connections
        self._naming = naming
        self._numbers = itertools.count(system_now().wall_ms * 1_000)  # those of no other gateway either
        self._setup_seconds = plan.settings.setup_ms / 1000
        options = [
            *_OPTIONS.items(),
            ("grpc.so_reuseport", int(plan.shares_ports)),
            ("grpc.max_allowed_incoming_connections", plan.settings.grpc_connections_max),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("Request", {"request": _unary(self._request)}),
                grpc.method_handlers_generic_handler("BiRequestStream", {"requestBiStream": _stream(self._serve)}),
            )
        )
        listen(plan, plan.grpc_port, "gRPC").close()  # gRPC itself would tell nobody but its own log why it cannot
        self._bind(plan, tls)

    def _bind(self, plan: GatewayPlan, tls: GatewayTls | None) -> None:
        host = f"[{plan.host}]" if ":" in plan.host and "[" not in plan.host else plan.host
        address = f"{host}:{plan.grpc_port}"
        try:
            if tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError:
            bound = 0
        if not bound:
            raise AddressUnusable(f"cannot listen on {plan.host}:{plan.grpc_port} for gRPC")

    async def start(self) -> None:
        await self._server.start()
        self._connections.start()

    async def stop(self) -> None:
        self._connections.end()
        await self._server.stop(GRACE_SECONDS)
        await self._connections.farewell()

    # -- requests

    async def _request(self, asked: Payload, context: StreamContext) -> Payload:
        kind = asked.metadata.type
        try:
            answer = await self._answer(kind, asked.body.value, context.peer())
        except msgspec.MsgspecError as error:
            answer = doubtful(NOT_READABLE, f"Invalid request: {error}")
        except Exception:
            _LOG.bind(type=shown(kind)).exception("a request failed")
            answer = doubtful(FAILURE, "this request could not be answered")
        return payload(*answer)

    async def _answer(self, kind: str, body: bytes, transport: str) -> SdkAnswer:
        connection = await self._connections.of(transport)
        if connection is None and not self._link.is_up:
            return doubtful(STARTING, STARTING_TEXT)
        if kind == "ServerCheckRequest":
            name = connection.id if connection else connection_id(peer_of(transport), system_now().wall_ms)
            return succeeded("ServerCheckResponse", connectionId=name, supportAbilityNegotiation=True)
        other = answer_of_other_modules(kind)
        if kind != _HEALTH_CHECK and other is None and not self._naming.knows(kind):
            return doubtful(NO_HANDLER, "RequestHandler Not Found")
        if connection is None:
            # To a question after their health some SDKs take every 3xx for a good answer, and never sign in again.
            return doubtful(FAILURE if kind == _HEALTH_CHECK else UNREGISTERED, _UNREGISTERED_TEXT)
        self._connections.heard(connection)
        if kind == _HEALTH_CHECK:
            return succeeded("HealthCheckResponse")
        return other or await self._naming.answer(connection, kind, body)

    # -- streams

    async def _serve(self, messages: AsyncIterator[Payload], context: StreamContext) -> None:
        """As long as the stream lives. It always ends with an error, unless the SDK has ended it."""
        stream, peer = SdkStream(context, self._numbers), peer_of(context.peer())
        try:
            self._connections.admit(stream, peer)
        except Refused as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message)
        tasks = [asyncio.create_task(self._read(messages, stream, peer)), asyncio.create_task(stream.write())]
        try:
            over: tuple[asyncio.Future[Any], ...] = (*tasks, stream.ended)
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.gone(stream)
            for task in tasks:
                task.cancel()
            for failure in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(failure, Exception):
                    _LOG.bind(peer=peer.name).opt(exception=failure).error("a stream failed")
                    stream.end(grpc.StatusCode.INTERNAL, "this stream could not be served")
        if stream.ended.done():
            await context.abort(*stream.ended.result())

    async def _read(self, messages: AsyncIterator[Payload], stream: SdkStream, peer: SdkTransport) -> None:
        """Until the SDK ends the stream. The first message says who it is; what follows are answers."""
        silent = asyncio.get_running_loop().call_later(
            self._setup_seconds, stream.end, grpc.StatusCode.DEADLINE_EXCEEDED, "the stream did not say whose it is"
        )
        try:
            async for message in messages:
                await self._read_one(message, stream, peer)
                connection = self._connections.at(peer.name)
                if connection is not None and connection.stream is stream:
                    silent.cancel()
        finally:
            silent.cancel()

    async def _read_one(self, message: Payload, stream: SdkStream, peer: SdkTransport) -> None:
        kind = message.metadata.type
        try:
            if kind == "ConnectionSetupRequest":
                await self._connections.set_up(stream, peer, read_body(message.body.value, SetupRequest))
                return
            connection = self._connections.at(peer.name)
            if connection is not None:
                self._connections.heard(connection)
            if kind.endswith("Response"):
                stream.answered(read_body(message.body.value, StreamResponse))
            else:
                _LOG.bind(type=shown(kind), peer=peer.name).debug("a message on a stream means nothing")
        except msgspec.MsgspecError as error:
            _LOG.bind(type=shown(kind), peer=peer.name, reason=str(error)).debug(
                "a message on a stream is not readable"
            )
        except RollbookError as error:
            is_crowded = error.code == Code.OVER_LIMIT
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if is_crowded else grpc.StatusCode.UNAVAILABLE
            stream.end(code, error.message)


def _credentials(tls: GatewayTls) -> grpc.ServerCredentials:
    pairs = [(tls.key, tls.certificate)]
    return grpc.ssl_server_credentials(pairs, tls.client_ca or None, require_client_auth=bool(tls.client_ca))


def _unary(behaviour: object) -> grpc.RpcMethodHandler[Payload, Payload]:
    return grpc.unary_unary_rpc_method_handler(
        behaviour,  # type: ignore[arg-type]  # of grpc.aio, which shares the class of its handlers with grpc
        request_deserializer=read_payload,
        response_serializer=Payload.SerializeToString,
    )


def _stream(behaviour: object) -> grpc.RpcMethodHandler[Payload, Payload]:
    return grpc.stream_stream_rpc_method_handler(
        behaviour,  # type: ignore[arg-type]
        request_deserializer=read_payload,
        response_serializer=Payload.SerializeToString,
    )
