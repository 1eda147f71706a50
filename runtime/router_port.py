"""The links that others opened: one ROUTER, which of its routing ids lives on which file descriptor, and who has gone.

ZeroMQ does not say that a connection has closed, so three facts are put together. The monitor reports the file
descriptor of a closed connection; ``SRCFD`` of a link's first frame ties the link to a descriptor; a frame that must be
deliverable (``ROUTER_MANDATORY``) proves whether the routing table still has the link. Descriptors are reused at once,
so a closed one makes all links that ever spoke on it suspects, and only the routing table decides.

Frames that a link left behind may be read after it was reported closed. They must not open it again: nobody would ever
report it a second time. So closed links are remembered, and a frame of one counts only if it is deliverable again.
"""

from __future__ import annotations

from enum import Enum

import msgspec
import zmq

from runtime.connection_watch import ConnectionWatch
from runtime.edge import IoSettings
from runtime.monitor import read_events

_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE_NOBLOCK = int(zmq.SNDMORE | zmq.NOBLOCK)
_RCVMORE = int(zmq.RCVMORE)


class Sending(Enum):
    """What became of a message."""

    SENT = "sent"
    UNREAD = "unread"  # its queue is full: the other side does not read, or not so fast
    GONE = "gone"


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One message of a link."""

    link: bytes
    parts: list[bytes]
    ip: str


class _Suspect:
    """A link whose descriptor was closed while the routing table may still have it."""

    __slots__ = ("next_probe_ms", "since_ms")

    def __init__(self, now_ms: int) -> None:
        self.since_ms = now_ms
        self.next_probe_ms = now_ms


class RouterPort:
    """Reads, sends and watches one ROUTER. Every method is called by the I/O thread."""

    def __init__(
        self,
        name: str,
        socket: zmq.Socket[bytes],
        monitor: zmq.Socket[bytes],
        probe: bytes,
        settings: IoSettings,
        connections_max: int,
    ) -> None:
        self.counters: dict[str, int] = {}
        self.socket = socket
        self.monitor = monitor
        self._name = name
        self._probe = probe
        self._settings = settings
        self._parts_max = settings.message_parts_max
        # The plain methods: the convenience layer above them costs as much as the call itself.
        self._receive = super(zmq.Socket, socket).recv
        self._send = super(zmq.Socket, socket).send
        self._option = super(zmq.Socket, socket).get
        self._ip_of: dict[bytes, str] = {}  # links that are tied to a descriptor
        self._descriptor_of: dict[bytes, int] = {}
        self._links_on: dict[int, set[bytes]] = {}
        self._closed_descriptors: set[int] = set()
        self._suspects: dict[bytes, _Suspect] = {}
        self._closed_at: dict[bytes, int] = {}  # in order of time
        self._watch = ConnectionWatch(settings, connections_max, self._count)
        self._heard: set[bytes] = set()  # links that something came from since the last look
        self._skipped_parts = 0  # above 0: in the middle of a message that has too many
        self._skipped_link = b""

    def receive(self, now_ms: int) -> Arrival | None:
        """The next message, or None if there is none now. Arrivals of closed links are skipped."""
        while True:
            if self._skipped_parts and not self._skip_parts():
                return None
            try:
                link = self._receive(_NOBLOCK)
            except zmq.Again:
                return None
            self._heard.add(link)
            frame = self._receive(_NOBLOCK, False)  # not copied: so it knows whether more parts follow
            parts = [frame.bytes]
            ip = self._ip_of.get(link)
            if ip is None:
                ip = self._identify(link, frame, now_ms)
            if frame.more:
                self._receive_more(link, parts)
            if ip is not None:
                return Arrival(link, parts, ip)
            self._count("frames_of_closed_links")

    def _receive_more(self, link: bytes, parts: list[bytes]) -> None:
        """The further parts of a message, as many as are looked at."""
        while self._option(_RCVMORE):
            if len(parts) == self._parts_max:
                self._skipped_parts, self._skipped_link = 1, link
                return
            parts.append(self._receive(_NOBLOCK))

    def send(self, parts: list[bytes]) -> bool:
        """Send to the link that the first part names. False if it is gone or does not read; both are counted."""
        sending = self.offer(parts)
        if sending is Sending.UNREAD:
            self.count_unread()
        return sending is Sending.SENT

    def count_unread(self) -> None:
        """A message is lost."""
        self._count("frames_dropped_unread_by_receiver")

    def offer(self, parts: list[bytes]) -> Sending:
        """Likewise, but what is not read may be offered again."""
        send = self._send
        try:
            if len(parts) == 2:  # nearly all
                send(parts[0], _SNDMORE_NOBLOCK)
                send(parts[1], _NOBLOCK)
                return Sending.SENT
            for part in parts[:-1]:
                send(part, _SNDMORE_NOBLOCK)
            send(parts[-1], _NOBLOCK)
        except zmq.Again:
            return Sending.UNREAD
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._count("frames_dropped_for_closed_links")
            return Sending.GONE
        return Sending.SENT

    def read_monitor(self, now_ms: int) -> None:
        """Take note of opened and closed descriptors; cut connections that are too many."""
        for event in read_events(self.monitor, self._settings.monitor_events_per_round_max):
            if event.kind == zmq.EVENT_ACCEPTED:
                self._closed_descriptors.discard(event.value)
                # Its first message may have been read before.
                self._watch.opened(event.value, now_ms, has_spoken=event.value in self._links_on)
            else:
                self._closed_descriptors.add(event.value)
                self._watch.closed(event.value)
                if event.value not in self._links_on:
                    self._count("connections_without_a_message")
                for link in sorted(self._links_on.get(event.value, ())):
                    self._suspects[link] = _Suspect(now_ms)
        self._watch.make_room()

    def cut_silent(self, now_ms: int) -> None:
        """Cut who has said nothing for too long. Call it when nothing waits to be read."""
        self._watch.cut_silent(now_ms)

    def cut_deaf(self, now_ms: int) -> None:
        """Cut whose machine is gone without a word."""
        self._watch.cut_deaf(now_ms)

    @property
    def connections_cut(self) -> int:
        return self._watch.cuts

    def watch_memory(self, now_ms: int) -> None:
        """Cut who sends messages without end. Call it when everything that waited has been read."""
        if self._watch.is_look_due(now_ms):
            self._watch.look({self._descriptor_of[link] for link in self._heard if link in self._descriptor_of})
            self._heard.clear()

    def probe_suspects(self, now_ms: int) -> list[bytes]:
        """Links that have turned out to be closed since the last call."""
        closed = []
        settings = self._settings
        for link, suspect in list(self._suspects.items()):
            if suspect.next_probe_ms > now_ms:
                continue
            if not self._is_deliverable(link):
                self._forget(link, now_ms)
                closed.append(link)
            elif now_ms - suspect.since_ms < settings.probe_ms_max:
                suspect.next_probe_ms = now_ms + settings.probe_interval_ms
            else:
                # It lives on another descriptor, which its next frame will name. Until then, it stays a suspect.
                suspect.next_probe_ms = now_ms + settings.slow_probe_interval_ms
                self._untie(link)
        return closed

    def next_probe_ms(self) -> int | None:
        """When ``probe_suspects`` wants to be called."""
        if not self._suspects:
            return None
        return min(suspect.next_probe_ms for suspect in self._suspects.values())

    def _skip_parts(self) -> bool:
        """Drop a slice of a message that has too many parts; whether that was the last one."""
        for _ in range(self._settings.message_parts_per_round_max):
            if not self._option(_RCVMORE):
                self._skipped_parts = 0
                return True
            self._receive(_NOBLOCK)
            self._skipped_parts += 1
        descriptor = self._descriptor_of.get(self._skipped_link)
        if self._skipped_parts > self._settings.message_parts_cut_max and descriptor is not None:
            self._watch.cut(descriptor, "connections_cut_too_many_parts")
        return False

    def _identify(self, link: bytes, frame: zmq.Frame, now_ms: int) -> str | None:
        """Tie a link to its descriptor at its first frame; None if the frame was left behind by a closed link."""
        try:
            descriptor = int(frame.get(zmq.SRCFD))
            ip = str(frame.get("Peer-Address"))
        except zmq.ZMQError:
            # ZMTP 1 and 2, or bytes that look like it: libzmq reads them, but could not tell when they are gone.
            self._count("frames_of_old_protocols")
            return None
        is_doubtful = descriptor in self._closed_descriptors
        if (is_doubtful or link in self._closed_at) and not self._is_deliverable(link):
            return None
        self._closed_at.pop(link, None)
        self._ip_of[link] = ip
        self._descriptor_of[link] = descriptor
        self._links_on.setdefault(descriptor, set()).add(link)
        self._watch.spoke(descriptor)
        if is_doubtful:
            self._suspects[link] = _Suspect(now_ms)
        else:
            self._suspects.pop(link, None)
        return ip

    def _is_deliverable(self, link: bytes) -> bool:
        try:
            self._send(link, _SNDMORE_NOBLOCK)
            self._send(self._probe, _NOBLOCK)
        except zmq.Again:
            return True  # it exists and does not read
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        self._count("probes_delivered")
        return True

    def _forget(self, link: bytes, now_ms: int) -> None:
        self._untie(link)
        del self._suspects[link]
        self._closed_at[link] = now_ms
        oldest = next(iter(self._closed_at))
        while now_ms - self._closed_at[oldest] > self._settings.closed_link_memory_ms:
            del self._closed_at[oldest]
            oldest = next(iter(self._closed_at))

    def _untie(self, link: bytes) -> None:
        self._ip_of.pop(link, None)
        descriptor = self._descriptor_of.pop(link, None)
        if descriptor is not None:
            links = self._links_on[descriptor]
            links.discard(link)
            if not links:
                del self._links_on[descriptor]

    def _count(self, what: str) -> None:
        name = f"{self._name}_{what}"
        self.counters[name] = self.counters.get(name, 0) + 1
