"""The composition root: the only place that knows which actors a node consists of and what each is given."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from actors.base import Behaviour, NodeIdentity, Role, StoreKind
from actors.beat_keeper import BeatKeeper
from actors.client_manager import ClientManager
from actors.connection_manager import ConnectionManager
from actors.distro_sync_actor import DistroSyncActor
from actors.health_checker import HealthChecker
from actors.home_follower import HomeFollower
from actors.home_server import HomeServer
from actors.index_manager import IndexManager
from actors.member_manager import MemberManager
from actors.messages.members import LeaveOrdered, MembersListed
from actors.messages.store import MemberSeen, StoreMembersSeen
from actors.persistent_store import PersistentStore
from actors.push_actor import PushActor
from actors.verify_timer import VerifyTimer
from rollbook.errors import SettingsError
from runtime.clock import system_now
from runtime.collector import settle_collector
from runtime.descriptors import descriptor_shares, raise_descriptor_limit
from runtime.handover import EXIT_FAILED
from runtime.io_thread import IoThread
from runtime.local_socket import LocalSocket
from runtime.members_file import WATCH_INTERVAL_MS, MembersFileWatch
from runtime.node_store import NodeStore, StoreUnusable
from runtime.prober import ProberThread
from runtime.settings import Settings, configured_members, store_kind
from runtime.store.opening import open_census, open_store
from runtime.store_port import StorePort
from runtime.threads import Ending, ThreadStage

LEAVE_MARGIN_MS = 1_000  # after the time a leave is given, the node ends anyway


class Node:
    """One life of one node. ``start``, ``wait`` for its ending, ``stop``."""

    def __init__(self, settings: Settings) -> None:
        """Takes the data directory, the store and the ports; whoever has one of them keeps it, and this raises."""
        self._settings = settings
        self._members = configured_members(settings.node)
        chance = random.Random(os.urandom(32))
        with ExitStack() as undo:
            directory = Path(settings.node.data_directory)
            self._directory = NodeStore.open(directory, settings.members.lease_ms / 1000)
            undo.callback(self._directory.close)
            kind = store_kind(settings)
            self.identity = _identity(settings, self._directory, kind, chance)
            raise_descriptor_limit(settings.io.sockets_max)
            self._shares = descriptor_shares(settings.io)
            self._store = open_store(settings, kind, self._store_failed)
            if self._store is not None:
                undo.callback(self._store.close)
            self._census = open_census(settings, kind, self._members_seen, self._store_failed)
            self._local_socket = LocalSocket(directory) if settings.gateway.enabled else None
            local_endpoint = "" if self._local_socket is None else self._local_socket.endpoint
            if self._local_socket is not None:
                undo.callback(self._local_socket.close)
            addresses = (settings.node.bound_client_address, settings.node.bound_peer_address)
            self._io = IoThread(*addresses, settings.io, kind, local_endpoint)
            undo.pop_all()
        self._prober = ProberThread(settings.health, self._shares.probes)
        self._ports: dict[Role, Callable[[Any], None]] = {Role.IO: self._io.put, Role.PROBER: self._prober.put}
        self._store_port = None
        if self._store is not None:
            self._store_port = StorePort(self._store, settings.store)
            self._ports[Role.STORE] = self._store_port.put
        self._stage = ThreadStage(self.identity.node_id, self._ports)
        sessions_max = min(settings.connections.sessions_max, self._shares.sessions)
        connections = msgspec.structs.replace(settings.connections, sessions_max=sessions_max)
        fitting = msgspec.structs.replace(settings, connections=connections)
        store_id = "" if self._store is None else self._store.identity
        self._behaviours = _behaviours(self.identity, fitting, store_id, chance)

    def start(self) -> None:
        """Everything that is told something starts before those who tell it. StoreUnusable before anything runs."""
        self._write_state()
        if self._store_port is not None:
            self._store_port.start(self._stage.tell, self._stage.timers.call_after, self._stage.fail)
        self._prober.start(self._stage.tell, self._stage.fail)
        self._stage.start(self._behaviours)
        if self._census is not None:
            self._census.start()
        self._io.start(self._stage.tell, self._stage.fail)
        if self._members:
            self._stage.tell(Role.MEMBERS, MembersListed(self._members))
        if self._settings.node.members_file:
            self._watch(Path(self._settings.node.members_file))
        settle_collector()
        if self._shares.sessions < self._settings.connections.sessions_max:
            self._stage.log.warning(
                "the system allows this process {} open files: at most {} sessions, not {}; raise ulimit -n for more",
                *(self._shares.limit, self._shares.sessions, self._settings.connections.sessions_max),
            )
        self._stage.log.info(
            "started: clients at {}, peers at {}", self.identity.client_address, self.identity.peer_address
        )

    def leave(self) -> None:
        """Begin to leave in good order; ``wait`` returns when it is done. From any thread."""
        self._stage.tell(Role.MEMBERS, LeaveOrdered())
        too_late = Ending(EXIT_FAILED, "leaving took too long")
        self._stage.timers.call_after(
            self._settings.members.leave_timeout_ms + LEAVE_MARGIN_MS, lambda: self._stage.end(too_late)
        )

    def wait(self) -> Ending:
        """Block until the node ends."""
        return self._stage.wait()

    def stop(self, ending: Ending) -> None:
        """In reverse order: actors finish what they hold, then the last frames leave."""
        if ending.epoch_floor:
            self._directory.raise_epoch_floor(ending.epoch_floor)
        self._stage.stop()
        self._prober.close()
        if self._census is not None:
            self._census.close()
        if self._store_port is not None:
            self._store_port.close()
        self._io.stop()
        if self._local_socket is not None:
            self._local_socket.remove()
            self._local_socket.close()
        if self._store is not None:
            self._store.close()  # last: a disk that hangs holds up nobody else
        try:
            self._directory.remove_state()
        except StoreUnusable as error:  # a disk that failed while the node ran, and did not need it
            self._stage.log.warning("{}", error)
        self._directory.close()
        self._stage.log.info("ended: {}", ending.reason)

    def _members_seen(self, members: tuple[MemberSeen, ...]) -> None:
        self._stage.tell(Role.PERSISTENT, StoreMembersSeen(members))

    def _store_failed(self, failure: BaseException) -> None:
        self._stage.fail("store", failure)

    def _watch(self, path: Path) -> None:
        def changed(addresses: tuple[str, ...]) -> None:
            self._stage.log.info("the members file names {}", ", ".join(addresses))
            self._stage.tell(Role.MEMBERS, MembersListed(addresses))

        def refused(error: SettingsError) -> None:
            self._stage.log.warning("{}; the last list stays in force", error.message)

        watch = MembersFileWatch(path, changed, refused)

        def look_again() -> None:
            watch.look()
            self._stage.timers.call_after(WATCH_INTERVAL_MS, look_again)

        look_again()

    def _write_state(self) -> None:
        """For scripts: which process serves which addresses."""
        state = {
            "pid": os.getpid(),
            "node_id": self.identity.node_id,
            "epoch": self.identity.epoch,
            "client_address": self.identity.client_address,
            "peer_address": self.identity.peer_address,
        }
        self._directory.write_state(json.dumps(state) + "\n")


def _identity(settings: Settings, directory: NodeStore, store: StoreKind, chance: random.Random) -> NodeIdentity:
    return NodeIdentity(
        node_id=directory.node_id(),
        epoch=directory.next_epoch(system_now().wall_ms, chance.getrandbits(16)),
        cluster_name=settings.node.cluster_name,
        peer_address=settings.node.advertised_peer_address,
        client_address=settings.node.advertised_client_address,
        standalone=settings.node.is_standalone,
        requests_in_flight_max=settings.io.requests_in_flight_per_session_max,
        store=store,
    )


def _behaviours(identity: NodeIdentity, settings: Settings, store_id: str, chance: random.Random) -> list[Behaviour]:
    """Each with a source of chance of its own: actors run on different threads. ``store_id``: of the store that is kept
    here, if any."""

    def own() -> random.Random:
        return random.Random(chance.getrandbits(64))

    behaviours: list[Behaviour] = [
        VerifyTimer(identity, settings.verify, own()),
        PushActor(identity, settings.push, own()),
        HealthChecker(identity, settings.health, own()),
        PersistentStore(identity, settings.persistent, own()),
        DistroSyncActor(identity, settings.distro, own()),
        IndexManager(identity, settings.index, own()),
        BeatKeeper(identity, settings.beats, own()),
        ClientManager(identity, settings.clients, own()),
        ConnectionManager(identity, settings.connections, own()),
        MemberManager(identity, settings.members, own()),
    ]
    match identity.store:
        case "home":
            behaviours.append(HomeServer(identity, settings.home, store_id, own()))
        case "away":
            behaviours.append(HomeFollower(identity, settings.home, own()))
    return behaviours
