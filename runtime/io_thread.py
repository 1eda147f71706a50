"""The one thread that owns every ZeroMQ socket. It sends, reads, dials and counts; it decides nothing.

Each round: what actors told it, peers, closed connections, beats, then clients, unless too many of their requests are
in flight: then they wait in the kernel. A beat is passed on only after the closed connections of its round, so a node
that was paused learns who is gone before it tells anyone that it lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import zmq
from loguru import logger

from actors.base import Role, StatusRequested, StoreKind, Tell
from actors.messages.clients import BeatPassed
from actors.messages.io import AnswerClients, Beat, DialPeers, LogLevelOrdered, PushToClients, SendToPeers, WatchLinks
from runtime.client_port import ClientPort
from runtime.clock import system_now
from runtime.descriptors import descriptor_shares
from runtime.edge import IoSettings
from runtime.inbox import WakingInbox
from runtime.logs import change_level
from runtime.peer_port import PeerPort
from runtime.sockets import node_context

_LOG = logger.bind(actor="io")
WAIT_MS_MAX = 250
STALL_MS = 500  # a round that comes so late says nothing about how long others took ...
STALL_DOUBT_MS = 1_000  # ... nor does what libzmq's own thread catches up with after it
STOP_SECONDS_MAX = 2.0
CUTS_TOLD_MS = 10_000  # a crowd that is cut is told of no more often


class IoStopOrdered:
    """Do everything that was told before, then close the sockets."""


class IoThread:
    """Binds in the constructor, so that a taken port is known before anything starts."""

    def __init__(
        self,
        client_address: str,
        peer_address: str,
        settings: IoSettings,
        store: StoreKind = "none",
        local_endpoint: str = "",
    ) -> None:
        self._settings = settings
        self._context = node_context()
        self._inbox = WakingInbox()
        self.put = self._inbox.put  # what an actor tells ``Role.IO``; from any thread
        self._is_stopped = False
        self._round_ms = 0
        self._doubtful_until_ms = 0
        self._beats: list[Beat] = []
        self._cuts = 0  # connections that were cut, as far as the log says
        self._next_cuts_ms = 0
        try:
            shares = descriptor_shares(settings)
            self._clients = ClientPort(self._context, client_address, settings, shares.clients, local_endpoint)
            self._peers = PeerPort(self._context, peer_address, settings, shares.peers, store)
        except BaseException:
            self._context.destroy(linger=0)
            self._inbox.close()
            raise
        self._register_sockets()

    def start(self, tell: Callable[[Role, Any], None], fail: Callable[[str, BaseException], None]) -> None:
        """Begin to read. ``tell`` puts a message into an actor's mailbox; ``fail`` ends the process."""
        self._tell = tell
        self._fail = fail
        self._thread = threading.Thread(target=self._run, name="io", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what was told before, close everything, and return when it is done."""
        self.put(IoStopOrdered())
        self._thread.join(timeout=STOP_SECONDS_MAX)
        self._inbox.close()

    def _run(self) -> None:
        try:
            self._round_ms = system_now().monotonic_ms
            while not self._is_stopped:
                self._round()
        except BaseException as failure:
            self._fail("io", failure)
        finally:
            self._context.destroy(self._settings.linger_ms)  # waits until the last frames are out, but no longer

    def _round(self) -> None:
        ready = self._wait()
        now_ms = self._now_ms()
        if self._inbox.wake_end.fileno() in ready:
            self._inbox.take_byte()
        self._clients.send_unsent(now_ms)
        self._perform_inbox()
        self._perform(self._peers.read(ready, now_ms, self._settings.drain_frames_max))
        has_stalled = now_ms < self._doubtful_until_ms
        self._perform(self._peers.read_monitors(ready, now_ms, has_stalled))
        self._perform(self._clients.read_monitor(ready, now_ms, has_stalled))
        self._tell_cuts(now_ms)
        for beat in self._beats:
            self._tell(Role.CLIENTS, BeatPassed(beat.number))
        self._beats.clear()
        if self._clients.router.socket in ready and not self._clients.edge.saturated:
            self._perform(self._clients.read(now_ms, self._settings.drain_frames_max))

    def _wait(self) -> dict[Any, int]:
        """Until a socket, an actor or a probe wants something; never longer than a stall can be told from a wait."""
        self._poll_clients(not self._clients.edge.saturated)
        timeout_ms = self._timeout_ms()
        ready = dict(self._poller.poll(timeout_ms if self._inbox.may_sleep() else 0))
        self._inbox.awake()
        return ready

    def _timeout_ms(self) -> int:
        clients, peers = self._clients, self._peers
        wanted = (peers.next_probe_ms(), clients.router.next_probe_ms(), clients.unsent.due_ms())
        due = [due_ms for due_ms in wanted if due_ms is not None]
        if not due:
            return WAIT_MS_MAX
        return max(0, min(WAIT_MS_MAX, min(due) - system_now().monotonic_ms))

    def _now_ms(self) -> int:
        """The time of this round; takes note if the process did not run for a while."""
        now_ms = system_now().monotonic_ms
        if now_ms - self._round_ms > STALL_MS:
            self._doubtful_until_ms = now_ms + STALL_DOUBT_MS
        self._round_ms = now_ms
        return now_ms

    def _tell_cuts(self, now_ms: int) -> None:
        if now_ms < self._next_cuts_ms:
            return
        cuts = self._clients.router.connections_cut + self._peers.connections_cut
        if cuts > self._cuts:
            self._next_cuts_ms = now_ms + CUTS_TOLD_MS
            _LOG.warning("connections were cut that were too many, silent or endless: {}", cuts - self._cuts)
            self._cuts = cuts

    def _perform_inbox(self) -> None:
        for _ in range(
            len(self._inbox.messages)
        ):  # what is told meanwhile waits for the next round: peers are served in between
            self._handle(self._inbox.messages.popleft())

    def _handle(self, message: Any) -> None:
        match message:
            case AnswerClients(frames):
                self._clients.answer(frames, self._round_ms)
            case PushToClients(frames):
                self._clients.push(frames, self._round_ms)
            case SendToPeers(frames):
                self._peers.send(frames)
            case Beat():
                self._beats.append(message)
            case WatchLinks(links):
                self._clients.edge.watch(links)
            case LogLevelOrdered(level):
                change_level(level)
            case StatusRequested():
                self._clients.answer_status(message, self._peers.counters, self._round_ms)
            case DialPeers(addresses):
                self._perform(self._peers.dial(addresses))
                self._register_sockets()
            case IoStopOrdered():
                self._is_stopped = True
            case _:
                raise TypeError(f"the I/O thread was told {type(message).__name__}")

    def _perform(self, tells: Iterable[Tell]) -> None:
        for role, message in tells:
            if role is Role.IO:
                self._handle(message)
            else:
                self._tell(role, message)

    def _register_sockets(self) -> None:
        self._poller = zmq.Poller()
        self._poller.register(self._inbox.wake_end.fileno(), zmq.POLLIN)
        for watched in (*self._peers.sockets(), self._clients.router.monitor):
            self._poller.register(watched, zmq.POLLIN)
        self._are_clients_polled = False

    def _poll_clients(self, wanted: bool) -> None:
        if wanted == self._are_clients_polled:
            return
        if wanted:
            self._poller.register(self._clients.router.socket, zmq.POLLIN)
        else:
            self._poller.unregister(self._clients.router.socket)
        self._are_clients_polled = wanted
