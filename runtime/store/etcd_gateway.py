"""The wire to etcd: its version 3 calls as JSON over HTTP, one connection per thread, the next member if one is lost.

In this JSON bytes are base64, 64-bit numbers are strings and what is zero is left out; the structs here undo all three.
What goes wrong is one of three, and which one it is decides what became of a write: ``NotSent`` (nothing left this
process), ``NoAnswer`` (something did), ``Refusal`` (etcd said no).
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from runtime.store.etcd_settings import EtcdSettings
from runtime.store.port import FateUnknown, StoreFault, TooLarge, Unavailable

ANSWER_SHOWN_LENGTH_MAX = 200

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder()


class EtcdAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where etcd is and as whom. ``key_prefix`` keeps several clusters apart in one etcd."""

    endpoints: tuple[str, ...]  # "http://127.0.0.1:2379"; the nearest first
    key_prefix: str
    authority_file: str = ""  # PEM; the three of them only for https
    certificate_file: str = ""
    key_file: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:  # a password has no place in a log
        return f"EtcdAccess(endpoints={self.endpoints!r}, key_prefix={self.key_prefix!r}, user={self.user!r})"


class AnswerHeader(msgspec.Struct):
    cluster_id: str = ""
    member_id: str = ""
    revision: int = 0


class KeyValue(msgspec.Struct):
    key: bytes
    value: bytes = b""
    mod_revision: int = 0


class RangeAnswer(msgspec.Struct):
    header: AnswerHeader
    kvs: list[KeyValue] = []
    more: bool = False


class KeyEvent(msgspec.Struct):
    kv: KeyValue
    type: str = "PUT"


class WatchAnswer(msgspec.Struct):
    header: AnswerHeader = msgspec.field(default_factory=AnswerHeader)
    created: bool = False
    canceled: bool = False
    cancel_reason: str = ""
    compact_revision: int = 0
    fragment: bool = False
    events: list[KeyEvent] = []


class StreamError(msgspec.Struct):
    message: str = ""


class WatchLine(msgspec.Struct):
    """One line of the stream of a watch."""

    result: WatchAnswer | None = None
    error: StreamError | None = None


class _ErrorAnswer(msgspec.Struct):
    message: str = ""
    code: int = 0


class _TokenAnswer(msgspec.Struct):
    token: str = ""


class StatusAnswer(msgspec.Struct):
    """Of one member, which asks nobody else for it. ``errors``: no leader, and the alarms that were raised."""

    header: AnswerHeader
    version: str = ""
    leader: str = ""
    errors: list[str] = []

    @property
    def has_no_space(self) -> bool:
        return any("alarm:NOSPACE" in error for error in self.errors)


class PlainAnswer(msgspec.Struct):
    """For calls whose success says it all."""


def answer_decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind, strict=False)


RANGE_ANSWER = answer_decoder(RangeAnswer)
WATCH_LINE = answer_decoder(WatchLine)
STATUS_ANSWER = answer_decoder(StatusAnswer)
PLAIN_ANSWER = answer_decoder(PlainAnswer)
_ERROR_ANSWER = answer_decoder(_ErrorAnswer)
_TOKEN_ANSWER = answer_decoder(_TokenAnswer)


class NotSent(Exception):
    """Nothing of this request left this process."""


class NoAnswer(Exception):
    """The request, or a part of it, was sent. What came of it nobody here knows."""


class Refusal(Exception):
    """etcd answered, and it is not what was asked for."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code  # of gRPC; -1: no answer of etcd's interface at all
        self.sentence = sentence


NO_SPACE = "etcdserver: mvcc: database space exceeded"
COMPACTED = "etcdserver: mvcc: required revision has been compacted"
NOT_YET = "etcdserver: mvcc: required revision is a future revision"
_INVALID_TOKEN = "etcdserver: invalid auth token"
_TOO_LARGE = ("etcdserver: request is too large", "etcdserver: too many operations in txn request")

# Said before the change is proposed, or by every member alike instead of applying it. Whatever is not here may have
# been applied: time-outs, a member that stops, and also NO_SPACE, which etcd says after it has applied a change.
_NEVER_APPLIED = frozenset(
    {
        "etcdserver: no leader",  # to requests that say they need one
        "etcdserver: too many requests",
        "etcdserver: not capable",
        "etcdserver: corrupt cluster",
        "etcdserver: permission denied",
        "etcdserver: user name is empty",
        "etcdserver: revision of auth store is old",
        "etcdserver: rpc not supported for learner",
        _INVALID_TOKEN,
    }
)
_INVALID_ARGUMENT = 3


def fault_of_write(trouble: NotSent | NoAnswer | Refusal) -> StoreFault:
    """What the caller of a write is told."""
    match trouble:
        case NotSent():
            return Unavailable(str(trouble))
        case NoAnswer():
            return FateUnknown(str(trouble))
        case Refusal(sentence=sentence) if sentence in _TOO_LARGE:
            return TooLarge(f"etcd does not take this much at once: {sentence}", "operations")
        case Refusal(sentence=sentence) if sentence in _NEVER_APPLIED:
            return Unavailable(f"etcd refused: {sentence}")
        case Refusal(code=code, sentence=sentence) if code == _INVALID_ARGUMENT:
            return StoreFault(f"etcd refused: {sentence}")
    return FateUnknown(f"etcd answered: {trouble.sentence}")


def encode_request(request: dict[str, object]) -> bytes:
    return _ENCODER.encode(request)


class Endpoints:
    """Which member is spoken to now. Shared: what one thread learns about a member, the others need not."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self.urls = urls
        self.current = 0
        self._lock = threading.Lock()

    def leave(self, index: int) -> None:
        """This member did not work."""
        with self._lock:
            if self.current == index:
                self.current = (index + 1) % len(self.urls)


def tls_context(access: EtcdAccess) -> ssl.SSLContext | None:
    """Read once, before anything starts: None if no endpoint speaks TLS."""
    if not any(url.startswith("https://") for url in access.endpoints):
        return None
    try:
        context = ssl.create_default_context(cafile=access.authority_file or None)
        if access.certificate_file:
            context.load_cert_chain(access.certificate_file, access.key_file or None)
    except OSError as error:
        raise StoreFault(f"the TLS files for etcd cannot be used: {error}") from None
    return context


class GatewayLink:
    """One connection at a time. Of one thread; only ``interrupt`` may be called from another."""

    def __init__(
        self, access: EtcdAccess, endpoints: Endpoints, tls: ssl.SSLContext | None, settings: EtcdSettings
    ) -> None:
        self.settings = settings
        self._access = access
        self._endpoints = endpoints
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._index = 0
        self._token = ""

    @property
    def endpoint(self) -> str:
        return self._endpoints.urls[self._index]

    def ask(
        self,
        path: str,
        request: bytes,
        answer: msgspec.json.Decoder[T],
        deadline: float,
        *,
        needs_leader: bool = True,
    ) -> T:
        """One call; NotSent, NoAnswer or Refusal. ``deadline``: of time.monotonic()."""
        try:
            content = self._ask(path, request, deadline, needs_leader=needs_leader)
        except Refusal as refusal:
            if refusal.sentence != _INVALID_TOKEN or not self._access.user:
                raise
            self._token = ""  # they live for minutes, and not beyond a restart of all members
            content = self._ask(path, request, deadline, needs_leader=needs_leader)
        try:
            return answer.decode(content)
        except msgspec.MsgspecError as error:
            self.leave()
            raise NoAnswer(f"{self.endpoint} does not answer as etcd does: {error}") from None

    def stream(self, path: str, request: bytes, deadline: float) -> http.client.HTTPResponse:
        """The answer, line by line; from then on a read waits for as long as it takes."""
        response = self._send(path, request, deadline, self._headers(deadline, needs_leader=True))
        if response.status != http.client.OK:
            self._token = ""
            raise _refusal(self._content_of(response))
        if self._socket is not None:
            self._socket.settimeout(None)
        return response

    def interrupt(self) -> None:
        """End what waits on this connection."""
        if (current := self._socket) is not None:
            try:
                current.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself

    def leave(self) -> None:
        """Speak to another member from now on."""
        self._endpoints.leave(self._index)
        self.close()

    def forget_token(self) -> None:
        self._token = ""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._socket = None

    def _ask(self, path: str, request: bytes, deadline: float, *, needs_leader: bool) -> bytes:
        response = self._send(path, request, deadline, self._headers(deadline, needs_leader=needs_leader))
        content = self._content_of(response)
        if response.status != http.client.OK:
            raise _refusal(content)
        return content

    def _headers(self, deadline: float, *, needs_leader: bool) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if needs_leader:
            headers["Grpc-Metadata-hasleader"] = "true"  # an error at once instead of a time-out after seven seconds
        if self._access.user:
            self._token = self._token or self._new_token(deadline)
            headers["Authorization"] = self._token
        return headers

    def _new_token(self, deadline: float) -> str:
        request = encode_request({"name": self._access.user, "password": self._access.password})
        try:
            response = self._send("/v3/auth/authenticate", request, deadline, {"Content-Type": "application/json"})
            content = self._content_of(response)
        except NoAnswer as error:
            raise NotSent(str(error)) from None
        if response.status != http.client.OK:
            raise NotSent(f"etcd does not let {self._access.user} in: {_refusal(content).sentence}")
        try:
            return _TOKEN_ANSWER.decode(content).token
        except msgspec.MsgspecError as error:
            self.leave()
            raise NotSent(f"{self.endpoint} does not answer as etcd does: {error}") from None

    def _send(self, path: str, request: bytes, deadline: float, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = self._connected(deadline)
        try:
            connection.request("POST", path, request, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None

    def _content_of(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> NoAnswer:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        sentence = f"{self.endpoint}: {reason}"
        self.leave()
        return NoAnswer(sentence)

    def _connected(self, deadline: float) -> http.client.HTTPConnection:
        if self._connection is not None and (self._index != self._endpoints.current or self._has_ended()):
            self.close()
        reasons: list[str] = []
        for _ in self._endpoints.urls:
            if (seconds := deadline - time.monotonic()) <= 0:
                raise NotSent("; ".join(reasons) or "there was no time left to send it")
            if self._connection is None:
                self._index = self._endpoints.current
                try:
                    self._connect(min(seconds, self.settings.connect_ms_max / 1_000))
                except OSError as error:
                    reasons.append(f"{self.endpoint}: {error.strerror or error}")
                    self.leave()
                    continue
            break
        if self._connection is None or self._socket is None:
            raise NotSent("; ".join(reasons))
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        return self._connection

    def _connect(self, seconds: float) -> None:
        url = urlsplit(self.endpoint)
        host, port = url.hostname or "", url.port or 2379
        connection = (
            http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)
            if url.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=seconds)
        )
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection, self._socket = connection, connection.sock

    def _has_ended(self) -> bool:
        """The member closed an idle connection. Seen before sending, it costs nothing; after it, a certain outcome."""
        if self._socket is None or self._socket.fileno() < 0:  # the answer before said that it was the last one
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


def member_status(link: GatewayLink, deadline: float) -> StatusAnswer:
    return link.ask("/v3/maintenance/status", b"{}", STATUS_ANSWER, deadline, needs_leader=False)


def _refusal(content: bytes) -> Refusal:
    try:
        error = _ERROR_ANSWER.decode(content)
    except msgspec.MsgspecError:
        return Refusal(-1, content[:ANSWER_SHOWN_LENGTH_MAX].decode("utf-8", "replace").strip())
    return Refusal(error.code, error.message)
