"""The composition root: the only place that knows which actors a node consists of and what each is given."""

from __future__ import annotations

import gc
import json
import os
import random
from pathlib import Path

import msgspec

from actors.base import Behaviour, NodeIdentity, Role
from actors.client_manager import ClientManager
from actors.connection_manager import ConnectionManager
from actors.distro_sync_actor import DistroSyncActor
from actors.index_manager import IndexManager
from actors.member_manager import MemberManager
from actors.messages.members import LeaveOrdered, MembersListed
from actors.push_actor import PushActor
from actors.verify_timer import VerifyTimer
from rollbook.errors import SettingsError
from runtime.clock import system_now
from runtime.descriptors import descriptor_shares, raise_descriptor_limit
from runtime.handover import EXIT_FAILED
from runtime.io_thread import IoThread
from runtime.members_file import WATCH_INTERVAL_MS, MembersFileWatch
from runtime.settings import Settings, configured_members
from runtime.store import NodeStore, StoreUnusable
from runtime.threads import Ending, ThreadStage

LEAVE_MARGIN_MS = 1_000  # after the time a leave is given, the node ends anyway
# A young collection per 50,000 objects instead of 700, and what start-up made is never looked at again: p99 is a third.
GC_THRESHOLDS = (50_000, 20, 100)


class Node:
    """One life of one node. ``start``, ``wait`` for its ending, ``stop``."""

    def __init__(self, settings: Settings) -> None:
        """Takes the data directory and the ports; whoever has one of them keeps it, and this raises."""
        self._settings = settings
        self._members = configured_members(settings.node)
        chance = random.Random(os.urandom(32))
        self._store = NodeStore.open(Path(settings.node.data_directory), settings.members.lease_ms / 1000)
        try:
            self.identity = _identity(settings, self._store, chance)
            raise_descriptor_limit(settings.io.sockets_max)
            self._shares = descriptor_shares(settings.io)
            self._io = IoThread(settings.node.bound_client_address, settings.node.bound_peer_address, settings.io)
        except BaseException:
            self._store.close()
            raise
        self._stage = ThreadStage(self.identity.node_id, self._io.put)
        sessions_max = min(settings.connections.sessions_max, self._shares.sessions)
        connections = msgspec.structs.replace(settings.connections, sessions_max=sessions_max)
        fitting = msgspec.structs.replace(settings, connections=connections)
        self._behaviours = _behaviours(self.identity, fitting, chance)

    def start(self) -> None:
        """Everything that is told something starts before those who tell it. StoreUnusable before anything runs."""
        self._write_state()
        self._stage.start(self._behaviours)
        self._io.start(self._stage.tell, self._stage.fail)
        if self._members:
            self._stage.tell(Role.MEMBERS, MembersListed(self._members))
        if self._settings.node.members_file:
            self._watch(Path(self._settings.node.members_file))
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
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
            self._store.raise_epoch_floor(ending.epoch_floor)
        self._stage.stop()
        self._io.stop()
        try:
            self._store.remove_state()
        except StoreUnusable as error:  # a disk that failed while the node ran, and did not need it
            self._stage.log.warning("{}", error)
        self._store.close()
        self._stage.log.info("ended: {}", ending.reason)

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
        self._store.write_state(json.dumps(state) + "\n")


def _identity(settings: Settings, store: NodeStore, chance: random.Random) -> NodeIdentity:
    return NodeIdentity(
        node_id=store.node_id(),
        epoch=store.next_epoch(system_now().wall_ms, chance.getrandbits(16)),
        cluster_name=settings.node.cluster_name,
        peer_address=settings.node.advertised_peer_address,
        client_address=settings.node.advertised_client_address,
        standalone=settings.node.is_standalone,
        requests_in_flight_max=settings.io.requests_in_flight_per_session_max,
    )


def _behaviours(identity: NodeIdentity, settings: Settings, chance: random.Random) -> list[Behaviour]:
    """Each with a source of chance of its own: actors run on different threads."""

    def own() -> random.Random:
        return random.Random(chance.getrandbits(64))

    return [
        VerifyTimer(identity, settings.verify, own()),
        PushActor(identity, settings.push, own()),
        DistroSyncActor(identity, settings.distro, own()),
        IndexManager(identity, settings.index, own()),
        ClientManager(identity, settings.clients, own()),
        ConnectionManager(identity, settings.connections, own()),
        MemberManager(identity, settings.members, own()),
    ]
