"""A small SDK of the original's gRPC protocol, for tests: one channel, one stream, and what came on both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import msgspec

from runtime.gateway.wire.sdk_pb2 import Payload

WAIT_SECONDS = 30.0
JAVA = "Nacos-Java-Client:v3.1.0"
PYTHON = "Nacos-Python-Client:v3.2.0"
Body = dict[str, Any]


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


def payload_of(kind: str, body: Body, headers: dict[str, str] | None = None) -> Payload:
    payload = Payload()
    payload.metadata.type = kind
    payload.metadata.clientIp = "10.9.9.9"
    payload.metadata.headers.update(headers or {})
    payload.body.value = msgspec.json.encode(body)
    return payload


def instance_body(number: int, **fields: Any) -> Body:
    """As the Python SDK writes it."""
    return {
        "instanceId": "",
        "ip": "10.0.0.1",
        "port": number,
        "weight": 1.0,
        "healthy": True,
        "enabled": True,
        "ephemeral": True,
        "clusterName": "DEFAULT",
        "serviceName": "",
        "metadata": {},
        **fields,
    }


class SdkClient:
    """``answers``: what is said on the stream to a message of the server; None stays silent."""

    def __init__(
        self,
        address: str,
        *,
        options: tuple[tuple[str, int], ...] = (),
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        # Without this, clients of one process share a connection.
        options = (("grpc.use_local_subchannel_pool", 1), *options)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._ask = self._channel.unary_unary(
            "/Request/request",
            request_serializer=Payload.SerializeToString,
            response_deserializer=Payload.FromString,
        )
        self._open = self._channel.stream_stream(
            "/BiRequestStream/requestBiStream",
            request_serializer=Payload.SerializeToString,
            response_deserializer=Payload.FromString,
        )
        self._streams: list[Any] = []
        self._readers: list[asyncio.Task[None]] = []
        self.heard: list[tuple[str, Body]] = []
        self.ends: list[grpc.StatusCode] = []
        self.answers: Callable[[str, Body], tuple[str, Body] | None] = success

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for stream in self._streams:
            stream.cancel()
        await self._channel.close()
        await asyncio.gather(*self._readers)

    async def asked(self, kind: str, body: Body, headers: dict[str, str] | None = None) -> tuple[str, Body]:
        """The type and the body of the answer."""
        answer = await self._ask(payload_of(kind, body, headers), timeout=WAIT_SECONDS)
        return answer.metadata.type, msgspec.json.decode(answer.body.value)

    async def asked_with(self, kind: str, text: bytes) -> tuple[str, Body]:
        """Likewise, with a body that need not be JSON."""
        payload = payload_of(kind, {})
        payload.body.value = text
        answer = await self._ask(payload, timeout=WAIT_SECONDS)
        return answer.metadata.type, msgspec.json.decode(answer.body.value)

    async def naming(self, kind: str, service: str, **fields: Any) -> Body:
        """The body of the answer to a request of naming."""
        named = {"namespace": "public", "serviceName": service, "groupName": "DEFAULT_GROUP"}
        return (await self.asked(kind, {"headers": {}, **named, **fields}))[1]

    async def set_up(self, version: str = PYTHON, **fields: Any) -> None:
        """Open the stream and say who this is; with an ability table, wait for the server's."""
        self.open_stream()
        labels = {"source": "sdk", "module": "naming"}
        with contextlib.suppress(grpc.aio.AioRpcError):  # refused before it was said: ``ends`` tells
            await self.say("ConnectionSetupRequest", {"clientVersion": version, "labels": labels, **fields})
        if fields.get("abilityTable") is not None:
            await until(lambda: self.heard or self.ends, "the server tells its abilities")

    async def connected(self, version: str = PYTHON) -> Self:
        await self.set_up(version, abilityTable={})
        return self

    def open_stream(self) -> None:
        self._streams.append(self._open())
        self._readers.append(asyncio.create_task(self._read(self._streams[-1])))

    async def say(self, kind: str, body: Body) -> None:
        await self.say_payload(payload_of(kind, body))

    async def say_payload(self, payload: Payload) -> None:
        await self._streams[-1].write(payload)

    async def say_text(self, kind: str, text: bytes) -> None:
        """Likewise, with a body that need not be JSON."""
        payload = payload_of(kind, {})
        payload.body.value = text
        await self._streams[-1].write(payload)

    async def end_stream(self) -> None:
        await self._streams[-1].done_writing()

    def told(self, kind: str) -> list[Body]:
        return [body for each, body in self.heard if each == kind]

    def lists(self, service: str) -> list[Body]:
        """What was pushed of a service."""
        shown = [body["serviceInfo"] for body in self.told("NotifySubscriberRequest")]
        return [each for each in shown if each["name"] == service]

    async def register(self, service: str, number: int, **fields: Any) -> Body:
        return await self.naming(
            "InstanceRequest", service, type="registerInstance", instance=instance_body(number), **fields
        )

    async def subscribe(self, service: str, clusters: str = "", *, on: bool = True) -> Body:
        return await self.naming("SubscribeServiceRequest", service, subscribe=on, clusters=clusters)

    async def ports(self, service: str, **fields: Any) -> list[int]:
        answer = await self.naming("ServiceQueryRequest", service, cluster="", **fields)
        return [host["port"] for host in answer["serviceInfo"]["hosts"]]

    async def _read(self, stream: Any) -> None:
        try:
            async for message in stream:
                kind, body = message.metadata.type, msgspec.json.decode(message.body.value)
                self.heard.append((kind, body))
                answer = self.answers(kind, body)
                if answer is not None:
                    await stream.write(payload_of(*answer))
            self.ends.append(await stream.code())
        except (grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
            self.ends.append(await stream.code())


def success(kind: str, body: Body) -> tuple[str, Body] | None:
    """As every SDK acknowledges what has a number."""
    if "requestId" not in body:
        return None
    answered = {"resultCode": 200, "errorCode": 0, "message": "", "requestId": body["requestId"]}
    return kind.replace("Request", "Response"), answered
