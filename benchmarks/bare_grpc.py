"""The peer of gRPC registrations: a grpc.aio server that reads the envelope of each request and sends it back, and does
nothing else.

    python -m benchmarks.bare_grpc PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio

from runtime.collector import settle_collector
from runtime.gateway.wire.sdk_pb2 import Payload


async def _echo(asked: Payload, _context: Any) -> Payload:
    return asked


async def serve(port: int) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        _echo,
        request_deserializer=Payload.FromString,
        response_serializer=Payload.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Request", {"request": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    settle_collector()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
