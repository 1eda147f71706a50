"""News by UDP for SDKs that poll: whoever has polled with a port of its own is sent what changes until it should have
polled again.

Only a speed-up: a datagram that is lost costs up to one poll. So an answer that does not come is waited for once more,
and then its client is left alone until it polls; that also bounds what anybody can have sent to a stranger's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
from loguru import logger

from rollbook.errors import InvalidField
from rollbook.model import Service, View
from runtime.gateway.service_lists import ServiceLists

POLLS_EVERY_MS = 30_000  # three times what lists say; then the subscription is over
ACK_MS = 10_000
ATTEMPTS_MAX = 2
PUSHES_PER_TURN_MAX = 64  # each takes some 70 us to make; then the loop has its turn, for streams and HTTP live on it
GZIP_FROM_BYTES = 1_024  # SDKs look at the first two bytes
DATAGRAM_BYTES_MAX = 65_507
AGENT_LENGTH_MAX = 128  # of what is shown of it
_LOG = logger.bind(actor="push")

Address = tuple[str, int]
_SUBSCRIBER_AGENTS = {  # from which version on they listen
    "Nacos-Java-Client": (0, 1, 0),
    "Nacos-Go-Client": (0, 1, 0),
    "Nacos-C-Client": (1, 0, 12),
    "Nacos-CSharp-Client": (0, 9, 0),
    "Nacos-DNS": (0, 4, 3),
}
_AGENT = re.compile(r"(Nacos-[A-Za-z]+(?:-Client)?):v?([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def takes_pushes(agent: str) -> bool:
    found = _AGENT.match(agent)
    if found is None:
        return False
    lowest = _SUBSCRIBER_AGENTS.get(found[1])
    return lowest is not None and (int(found[2]), int(found[3]), int(found[4] or 0)) >= lowest


class _UdpSubscriber:
    def __init__(self, clusters: str, agent: str) -> None:
        self.clusters = clusters
        self.agent = agent
        self.until_ms = 0
        self.is_deaf = False  # it did not answer; its next poll says that it is there
        self.unanswered = 0  # the number of the push that is under way; 0: none
        self.timer: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        self.unanswered = 0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _UdpPort(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        del addr  # an answer is known by its number
        self._received(data)

    def error_received(self, exc: Exception) -> None:
        _LOG.bind(reason=str(exc)).debug("a datagram was not taken")  # its push is not answered either


class UdpPush:
    """``start`` on the loop; ``changed`` with every list that has changed, ``look`` now and then."""

    def __init__(
        self, lists: ServiceLists, subscribers_max: int, now_ms: Callable[[], int], *, ack_ms: int = ACK_MS
    ) -> None:
        self._lists = lists
        self._subscribers_max = subscribers_max
        self._now_ms = now_ms
        self._ack_ms = ack_ms
        self._numbers_taken = 0
        self._subscribers: dict[Service, dict[tuple[Address, str], _UdpSubscriber]] = {}
        self._count = 0
        self._unsent: dict[tuple[Service, Address, str], View] = {}  # for a turn of the loop, by subscriber
        self._turn: asyncio.Handle | None = None
        self._waiting: dict[str, _UdpSubscriber] = {}  # for an answer, by the number as text
        self._transports: dict[bool, asyncio.DatagramTransport] = {}  # whether for IPv6
        self.pushes = 0
        self.answers = 0

    def __len__(self) -> int:
        return self._count

    async def start(self, host: str) -> None:
        """A port of the system's choice at this address."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _UdpPort(self.answered), local_addr=(host.strip("[]"), 0)
        )
        self._transports[":" in host] = transport

    def stop(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        for transport in self._transports.values():
            transport.close()
        for subscribers in self._subscribers.values():
            for subscriber in subscribers.values():
                subscriber.settle()

    def subscribers(self, service: Service) -> list[tuple[str, int, str]]:
        """Who has polled lately: ip, port and agent, sorted."""
        found = self._subscribers.get(service, {}).items()
        return sorted({(*address, one.agent) for (address, _), one in found if one.until_ms > self._now_ms()})

    def subscribe(self, service: Service, clusters: str, address: Address, agent: str = "") -> None:
        """Until it should have polled again. Above the limit nobody is added: they poll."""
        subscribers = self._subscribers.setdefault(service, {})
        subscriber = subscribers.get((address, clusters))
        if subscriber is None:
            if self._count >= self._subscribers_max:
                if not subscribers:
                    del self._subscribers[service]
                return
            subscriber = subscribers[(address, clusters)] = _UdpSubscriber(clusters, agent[:AGENT_LENGTH_MAX])
            self._count += 1
        subscriber.until_ms = self._now_ms() + POLLS_EVERY_MS
        subscriber.is_deaf = False

    def changed(self, view: View) -> None:
        for address, clusters in self._subscribers.get(view.service, {}):
            self._unsent[view.service, address, clusters] = view  # in the place of an older one
        if self._turn is None:
            self._push_some()

    def _push_some(self) -> None:
        now_ms = self._now_ms()
        for service, address, clusters in list(islice(self._unsent, PUSHES_PER_TURN_MAX)):
            view = self._unsent.pop((service, address, clusters))
            subscriber = self._subscribers.get(service, {}).get((address, clusters))
            if subscriber is not None and subscriber.until_ms > now_ms and not subscriber.is_deaf:
                self._push(view, address, subscriber)
        self._turn = asyncio.get_running_loop().call_soon(self._push_some) if self._unsent else None

    def look(self) -> None:
        """Forget who has not polled again."""
        now_ms = self._now_ms()
        for service, subscribers in list(self._subscribers.items()):
            for key, subscriber in list(subscribers.items()):
                if subscriber.until_ms <= now_ms:
                    self._settle(subscriber)
                    del subscribers[key]
                    self._count -= 1
            if not subscribers:
                del self._subscribers[service]

    def answered(self, payload: bytes) -> None:
        """Java sends the number back as a text, Node as a number. What is no answer of ours is nobody's."""
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            value = msgspec.json.decode(payload)
            if isinstance(value, dict) and value.get("type") == "push-ack":
                subscriber = self._waiting.get(str(value.get("lastRefTime")))
                if subscriber is not None:
                    self.answers += 1
                    self._settle(subscriber)

    def _push(self, view: View, address: Address, subscriber: _UdpSubscriber) -> None:
        """In the place of an older list that was not answered yet."""
        self._settle(subscriber)
        number = self._numbers_taken = max(self._numbers_taken + 1, self._now_ms() * 1_000_000)
        try:
            shown = self._lists.encode(view, subscriber.clusters, is_grouped=True).json
        except InvalidField:
            raise AssertionError("the filter was checked when it was subscribed") from None
        payload = msgspec.json.encode({"type": "dom", "data": shown.decode(), "lastRefTime": number})
        if len(payload) >= GZIP_FROM_BYTES:
            payload = gzip.compress(payload, 1, mtime=0)
        if len(payload) > DATAGRAM_BYTES_MAX:
            return  # its next poll brings it
        subscriber.unanswered = number
        self._waiting[str(number)] = subscriber
        self.pushes += 1
        self._send(payload, address, subscriber, ATTEMPTS_MAX)

    def _send(self, payload: bytes, address: Address, subscriber: _UdpSubscriber, attempts: int) -> None:
        if attempts == 0:
            self._settle(subscriber)
            subscriber.is_deaf = True
            return
        transport = self._transports.get(":" in address[0])
        if transport is not None:
            transport.sendto(payload, address)
        again = (payload, address, subscriber, attempts - 1)
        subscriber.timer = asyncio.get_running_loop().call_later(self._ack_ms / 1000, self._send, *again)

    def _settle(self, subscriber: _UdpSubscriber) -> None:
        self._waiting.pop(str(subscriber.unanswered), None)
        subscriber.settle()
