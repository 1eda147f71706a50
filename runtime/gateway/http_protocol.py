"""Bytes of HTTP connections: how many there are, and how long and how slow each request and its answer may be.

What breaks a bound costs its connection, and nobody else notices. http_calls.py refuses less than is bounded here, in
words.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.gateway.http_calls import BODY_SECONDS_MAX

HEAD_BYTES_MAX = 64 * 1024  # what is read before it is looked at
HEAD_SECONDS_MAX = 10.0
REQUEST_BYTES_MAX = 2 * 1024 * 1024  # the longest body in chunks of one byte, and what belongs to no body
REQUEST_SECONDS_MAX = BODY_SECONDS_MAX + 2.0  # from its head on; whoever was refused has so long to see it
UNREAD_SECONDS_MAX = 30.0  # in which some of an answer must be read ...
UNREAD_BYTES_MIN = 64 * 1024  # ... so much, if there is more: 2 KB/s
FLUSH_SECONDS_MAX = 2.0  # at the end of a connection
_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
)
_TOO_LARGE = (b"431 Request Header Fields Too Large", b"the head is too large")
_TOO_MANY = (b"503 Service Unavailable", b"this gateway has too many connections")


class HttpConnections:
    """How many there are, and from where."""

    def __init__(self, total_max: int, per_address_max: int) -> None:
        self._total_max = total_max
        self._per_address_max = per_address_max
        self._per_address: Counter[str] = Counter()
        self.total = 0

    def opened(self, ip: str) -> bool:
        """False: it is one too many. Whatever is opened is to be ``closed``."""
        self.total += 1
        self._per_address[ip] += 1
        return self.total <= self._total_max and self._per_address[ip] <= self._per_address_max

    def closed(self, ip: str) -> None:
        self.total -= 1
        self._per_address[ip] -= 1
        if not self._per_address[ip]:
            del self._per_address[ip]


class HttpPatience(NamedTuple):
    """With whoever is slow."""

    head_seconds_max: float = HEAD_SECONDS_MAX
    request_seconds_max: float = REQUEST_SECONDS_MAX
    unread_seconds_max: float = UNREAD_SECONDS_MAX


class BoundedConfig(uvicorn.Config):
    """What uvicorn hands to each connection."""

    def __init__(self, app: ASGIApp, connections: HttpConnections, patience: HttpPatience, **options: Any) -> None:
        super().__init__(app, http=BoundedHttpProtocol, **options)
        self.open_connections = connections
        self.patience = patience


class BoundedHttpProtocol(HttpToolsProtocol):
    """Between requests a connection may be silent for as long as the server keeps it alive. Only what does not come at
    once costs a timer."""

    config: BoundedConfig
    _ip = ""
    _request_bytes = 0
    _has_begun = False
    _is_head_read = False
    _arrival_timer: asyncio.TimerHandle | None = None  # of the head, or of what follows it
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ip = self.client[0] if self.client else ""
        if self.config.open_connections.opened(self._ip):
            self._await_arrival()
        else:
            self._refuse(*_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.open_connections.closed(self._ip)
        self._has_arrived()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._request_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._request_bytes > REQUEST_BYTES_MAX:
            self._close()
        elif not self._is_head_read and self._request_bytes > HEAD_BYTES_MAX:
            self._refuse(*_TOO_LARGE)
        elif self._arrival_timer is None and (self._has_begun or self.cycle.response_complete):
            # Empty lines before a request are none, but they are no silence either. Before the first one there is no
            # cycle, and always a timer.
            self._await_arrival()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun = True

    def on_headers_complete(self) -> None:
        self._is_head_read = True
        self._has_arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._has_begun = self._is_head_read = False
        self._request_bytes = 0
        self._has_arrived()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_read()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    # -- what arrives

    def _await_arrival(self) -> None:
        patience = self.config.patience
        seconds = patience.request_seconds_max if self._is_head_read else patience.head_seconds_max
        self._arrival_timer = self.loop.call_later(seconds, self._close)

    def _has_arrived(self) -> None:
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None

    # -- what leaves

    def _await_reader(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(self.config.patience.unread_seconds_max, self._look_at_reader, unread)

    def _look_at_reader(self, unread_before: int) -> None:
        if self.transport.get_write_buffer_size() > unread_before - UNREAD_BYTES_MIN:
            self.transport.abort()
        else:
            self._await_reader()

    def _is_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # -- the end

    def _refuse(self, status: bytes, text: bytes) -> None:
        self.transport.write(_REFUSAL % (status, len(text), text))
        self._close()

    def _close(self) -> None:
        """What has been said may still be read, for a moment."""
        self.transport.close()
        self.loop.call_later(FLUSH_SECONDS_MAX, self.transport.abort)
