"""IndexManager and PushActor together, with subscribers that lose frames, forget acks and fall silent.

In one session versions never go back in the order in which the node sends, and once all is quiet the last list that a
subscriber has is the node's view. Whenever a change counts as told, every subscriber has a list that is no older.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from actors.base import Behaviour, NodeIdentity, Remind, Role, Tell
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.connections import StandingChanged
from actors.messages.distro import OwnersApplied, OwnersPushed
from actors.messages.index import OwnersVisible, RecordsChanged, SubscribersReleased
from actors.messages.io import PushToClients, WatchLinks
from actors.messages.push import Acknowledgement, PushesAcknowledged, SubscriberHeard
from actors.messages.values import Order, Origin, Route, Standing, Watermark
from actors.push_actor import PushActor, PushSettings
from actors.pushed import PushedWatermarks
from actors.views import live_winners, merge_instances
from rollbook.model import Instance, Service, View, filter_clusters
from rollbook.wire import Subscribe, Tag, Unsubscribe
from tests.support.registry import HERE, THERE, at, instance, opened, record, route
from tests.support.settings import settings_of

SERVICES = [Service("public", "g", f"s{number}") for number in range(4)]
FILTERS = ["", "east", "east,west"]


class ListeningSession:
    """One session's side: what it asked for, the newest list of each service, how well it listens."""

    def __init__(self, number: int) -> None:
        self.route = route(number)
        self.filters: dict[Service, str] = {}
        self.newest: dict[Service, View] = {}
        self.sent_version: dict[Service, int] = {}
        self.deafness = 0.0  # how much of what is sent to it, and of its acks, is lost
        self.answers_due: dict[Service, int] = {}  # of its subscriptions
        self.was_cut = False

    def takes(self, view: View) -> None:
        newest = self.newest.get(view.service)
        if newest is None or newest.version <= view.version:
            self.newest[view.service] = view


class TwoActors:
    """Mailboxes that are served in any order, each first in, first out; I/O is played here."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        push_settings = settings_of("push", PushSettings, in_flight_per_subscriber_max=2)
        self.index = IndexManager(identity, settings_of("index", IndexSettings), self.chance)
        self.push = PushActor(identity, push_settings, self.chance)
        self.actors: dict[Role, Behaviour] = {Role.INDEX: self.index, Role.PUSH: self.push}
        roles = (Role.INDEX, Role.PUSH, Role.IO, Role.DISTRO)
        self.mailboxes: dict[Role, deque[Any]] = {role: deque() for role in roles}
        self.claims = Claims(self)
        self.reminders: list[tuple[int, int, Role, Any]] = []
        self.ms = 0
        self.turns = 0
        self.sessions = {number: ListeningSession(number) for number in range(5)}
        self.links = {session.route.link: session for session in self.sessions.values()}
        self.watched: set[bytes] = set()
        self.seq = 0

    def settle(self, until_ms: int) -> None:
        """Serve every mailbox, and every reminder up to then."""
        while True:
            if ready := [role for role, box in self.mailboxes.items() if box]:
                self.serve(self.chance.choice(ready))
            elif self.reminders and min(self.reminders)[0] <= until_ms:
                due = min(self.reminders)
                self.reminders.remove(due)
                self.ms = max(self.ms, due[0])
                self.mailboxes[due[2]].append(due[3])
            else:
                self.ms = until_ms
                return

    def serve_some(self) -> None:
        """A few turns, so that what happens next crosses what is still on its way."""
        for _ in range(self.chance.randrange(6)):
            if ready := [role for role, box in self.mailboxes.items() if box]:
                self.serve(self.chance.choice(ready))

    def serve(self, role: Role) -> None:
        message = self.mailboxes[role].popleft()
        if role is Role.IO:
            self.transmit(message)
            return
        if role is Role.DISTRO:
            self.claims.hear(message)
            return
        self.turns += 1
        for effect in self.actors[role].handle(message, at(self.ms)):
            if isinstance(effect, Tell):
                self.mailboxes[effect.to].append(effect.message)
            elif isinstance(effect, Remind):
                self.reminders.append((self.ms + effect.delay_ms, self.turns, role, effect.message))
        self.actors[role].check_invariants()
        if role is Role.INDEX:
            self.claims.note(message)
        for session in self.sessions.values():
            known = self.push.subscribers.get(session.route)
            session.was_cut = session.was_cut or (known is not None and known.state == "cut")

    def transmit(self, message: Any) -> None:
        if isinstance(message, WatchLinks):
            self.watched |= set(message.links)
            return
        acknowledgements = []
        for frame in message.frames:
            session = self.links[frame.route.link]
            envelope, view = opened(frame.payload)
            if isinstance(view, View) and envelope.tag == Tag.VIEW:
                session.answers_due[view.service] -= 1
            if not isinstance(view, View) or view.service not in session.filters:
                continue  # An answer of another kind, or a push that an unsubscription has overtaken.
            if isinstance(message, PushToClients):
                assert envelope.tag == Tag.PUSH
                assert view.version >= session.sent_version.get(view.service, 0), "an older list after a newer one"
                if self.chance.random() < session.deafness:
                    continue
                if self.chance.random() >= session.deafness:
                    acknowledgements.append(Acknowledgement(session.route, view.service, view.version))
            session.sent_version[view.service] = view.version
            session.takes(view)
        if acknowledgements:
            self.mailboxes[Role.PUSH].append(PushesAcknowledged(tuple(acknowledgements)))

    def speak(self, session: ListeningSession) -> None:
        """Any frame of a session whose link is watched."""
        if session.route.link in self.watched:
            self.watched.discard(session.route.link)
            self.mailboxes[Role.PUSH].append(SubscriberHeard(session.route.link))

    def something_happens(self) -> None:
        session = self.chance.choice(list(self.sessions.values()))
        service = self.chance.choice(SERVICES)
        match self.chance.randrange(12):
            case 0:
                session.filters[service] = self.chance.choice(FILTERS)
                self.ask(session, Subscribe(service, session.filters[service]))
            case 1:
                self.drop(session, service)
                self.ask(session, Unsubscribe(service))
            case 2:
                self.mailboxes[Role.INDEX].append(SubscribersReleased((session.route,)))
                for known in SERVICES:
                    self.drop(session, known)
            case 3:
                hidden = tuple((origin, 15_000) for origin in (HERE, THERE) if self.chance.random() < 0.3)
                self.mailboxes[Role.INDEX].append(OwnersVisible(hidden))
            case 4:
                self.mailboxes[Role.INDEX].append(StandingChanged(Standing(preserved=self.chance.random() < 0.5)))
            case 5:
                session.deafness = self.chance.choice([0.0, 0.3, 1.0])
            case 6:
                self.speak(session)
            case _:
                self.change(service)

    def ask(self, session: ListeningSession, body: Any) -> None:
        if isinstance(body, Subscribe):
            session.answers_due[body.service] = session.answers_due.get(body.service, 0) + 1
        self.mailboxes[Role.INDEX].append(RecordsChanged(requests=(Order(session.route, 1, body),)))

    def drop(self, session: ListeningSession, service: Service) -> None:
        for table in (session.filters, session.newest, session.sent_version):
            table.pop(service, None)

    def change(self, service: Service) -> None:
        self.seq += 1
        clusters = self.chance.choices(["DEFAULT", "east", "west"], k=self.chance.randrange(3))
        found = [instance(self.chance.randrange(4), cluster) for cluster in clusters]
        client, origin = self.chance.choice("abc"), self.chance.choice([HERE, THERE])
        changed = record(client, *found, service=service, origin=origin, session=self.seq // 5, seq=self.seq)
        watermark = Watermark(origin, self.seq)
        self.mailboxes[Role.INDEX].append(RecordsChanged(records=(changed,), watermarks=(watermark,)))


class Claims:
    """What DistroSyncActor would tell other nodes, and whether it is true."""

    def __init__(self, world: TwoActors) -> None:
        self.world = world
        self.pushed = PushedWatermarks()
        self.lists: dict[Service, list[tuple[Instance, ...]]] = {service: [()] for service in SERVICES}
        self.open: dict[Origin, deque[tuple[int, Service, int]]] = {HERE: deque(), THERE: deque()}
        self.checked = 0

    def note(self, message: Any) -> None:
        """What the node would list, after every turn that may have changed it."""
        index = self.world.index.index
        for service in SERVICES:
            entry = index.entries.get(service)
            records = entry.clients.values() if entry is not None else ()
            self.lists[service].append(merge_instances(live_winners(records, index.filter_of(service)))[0])
        for changed in message.records if isinstance(message, RecordsChanged) else ():
            place = len(self.lists[changed.key.service]) - 1
            self.open[changed.origin].append((changed.seq, changed.key.service, place))

    def hear(self, message: Any) -> None:
        match message:
            case OwnersApplied():
                self.pushed.index(message.watermarks, message.touches)
            case OwnersPushed():
                self.pushed.told(message)
        self.pushed.check_invariants()
        for origin, changes in self.open.items():
            while changes and changes[0][0] <= self.pushed.through(origin):
                _, service, place = changes.popleft()
                for session in self.world.sessions.values():
                    self.check(session, service, place)

    def check(self, session: ListeningSession, service: Service, place: int) -> None:
        if service not in session.newest or session.was_cut or session.answers_due.get(service):
            return
        self.checked += 1
        clusters = frozenset(name for name in session.filters[service].split(",") if name)
        good = [filter_clusters(instances, clusters) for instances in self.lists[service][place:]]
        assert session.newest[service].instances in good, "a change counts as told and this subscriber has not heard"


@pytest.mark.parametrize("seed", range(40))
def test_once_all_is_quiet_every_subscriber_has_the_nodes_view(seed: int) -> None:
    world = TwoActors(seed)
    for _ in range(200):
        world.something_happens()
        if world.chance.random() < 0.5:
            world.settle(world.ms + world.chance.choice([0, 5, 40, 60, 4_000]))
        else:
            world.serve_some()
    for session in world.sessions.values():
        session.deafness = 0.0
    world.settle(world.ms + 60_000)  # Time for every retry and every cut.
    for session in world.sessions.values():
        world.speak(session)
    world.settle(world.ms + 60_000)
    for session in world.sessions.values():
        for service, clusters in session.filters.items():
            view = world.index.index.views.of(world.index.index.entries[service], at(world.ms).wall_ms)
            names = frozenset(name for name in clusters.split(",") if name)
            newest = session.newest[service]
            assert newest.instances == filter_clusters(view.instances, names)
            assert newest.preserved == view.preserved
    assert world.push.counters["push_pending"] == 0
    assert len(world.reminders) <= 1
    assert not any(world.claims.open.values()), "in the end everything is told"


def test_the_world_of_this_test_is_not_a_quiet_one() -> None:
    """The seeds above reach retries, suppressed pushes and cut subscribers, or they would prove little."""
    totals: dict[str, int] = {}
    checked = 0
    for seed in range(10):
        world = TwoActors(seed)
        for _ in range(200):
            world.something_happens()
            world.settle(world.ms + world.chance.choice([0, 5, 40, 4_000]))
        for name, count in world.push.counters.items():
            totals[name] = totals.get(name, 0) + count
        checked += world.claims.checked
    quiet = [name for name, count in totals.items() if not count]
    assert quiet in ([], ["push_pending"])
    assert checked > 200


def test_a_session_that_resubscribes_after_an_end_starts_afresh() -> None:
    world = TwoActors(1)
    session: ListeningSession = world.sessions[0]
    asker: Route = session.route
    for _ in range(2):
        session.filters[SERVICES[0]] = ""
        world.ask(session, Subscribe(SERVICES[0]))
        world.settle(world.ms + 10)
        world.change(SERVICES[0])
        world.settle(world.ms + 100)
        view = world.index.index.entries[SERVICES[0]].view
        assert view is not None
        assert session.newest[SERVICES[0]] == view
        world.mailboxes[Role.INDEX].append(SubscribersReleased((asker,)))
        world.drop(session, SERVICES[0])
        world.settle(world.ms + 10)
    assert world.push.subscribers == {}
