"""The gRPC side of the gateway: grpc.aio on the gateway's loop, and what answers each request.

Every request is JSON in an envelope that names its type (wire/sdk.proto).
"""

from __future__ import annotations

import grpc
import grpc.aio
import msgspec

from rollbook.errors import Code
from runtime.endpoints import AddressUnusable
from runtime.gateway.listening import listen
from runtime.gateway.plan import GatewayPlan
from runtime.gateway.wire.sdk_pb2 import Payload

MESSAGE_BYTES_MAX = 10 * 1024 * 1024  # what SDKs are set to
GRACE_SECONDS = 0.2  # for calls in progress at the end


class ServerCheckResponse(msgspec.Struct):
    """Whoever asks gets this without a connection; SDKs ask before they set one up."""

    connectionId: str
    resultCode: int = 200
    errorCode: int = 0
    success: bool = True
    supportAbilityNegotiation: bool = True


class ErrorResponse(msgspec.Struct):
    message: str
    errorCode: int
    resultCode: int = 500
    success: bool = False


class GrpcServer:
    """Make it on the loop. Binds in the constructor."""

    def __init__(self, plan: GatewayPlan) -> None:
        options = [
            ("grpc.so_reuseport", int(plan.shares_ports)),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ]
        self._server = grpc.aio.server(options=options)
        handler = grpc.unary_unary_rpc_method_handler(
            self._request, request_deserializer=Payload.FromString, response_serializer=Payload.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Request", {"request": handler}),))
        listen(plan, plan.grpc_port, "gRPC").close()  # gRPC itself would tell nobody but its own log why it cannot
        address = f"[{plan.host}]" if ":" in plan.host and "[" not in plan.host else plan.host
        try:
            bound = self._server.add_insecure_port(f"{address}:{plan.grpc_port}")
        except RuntimeError:
            bound = 0
        if not bound:
            raise AddressUnusable(f"cannot listen on {plan.host}:{plan.grpc_port} for gRPC")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(GRACE_SECONDS)

    async def _request(self, payload: Payload, context: grpc.aio.ServicerContext[Payload, Payload]) -> Payload:
        match payload.metadata.type:
            case "ServerCheckRequest":
                return _payload(ServerCheckResponse(context.peer()))
            case unknown:
                return _payload(ErrorResponse(f"unknown request type {unknown}", int(Code.PARAMETER_INVALID)))


def _payload(body: msgspec.Struct) -> Payload:
    payload = Payload()
    payload.metadata.type = type(body).__name__
    payload.body.value = msgspec.json.encode(body)
    return payload
