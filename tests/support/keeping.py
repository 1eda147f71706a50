"""BeatKeeper under test, node "a", over a real ClientManager: other nodes are links, named after them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from actors.base import Effects, NodeIdentity, Now, Remind, Role, Tell
from actors.beat_keeper import BeatKeeper, BeatsSettings
from actors.client_manager import ClientManager, ClientsSettings
from actors.http_records import http_key
from actors.messages.beats import ForwardReceived, HttpOrdersAdmitted, HttpRecordsHeld, NodesJudged
from actors.messages.clients import PersistentServicesChanged
from actors.messages.distro import PeersChanged
from actors.messages.index import RecordsChanged
from actors.messages.io import SendToPeers
from actors.messages.peers import Forwarded, ForwardSettled, HttpOrder, HttpOutcome
from actors.messages.values import Order, Origin, Peer, Record, Route
from actors.peer_frames import decode_peer
from actors.records import make_record
from rollbook.http_clients import Beats, HttpBeat, HttpPublish, HttpWithdraw
from rollbook.model import Instance, Service
from tests.support.settings import settings_of

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
ONE = Instance("10.0.0.1", 80)
WALL_MS = 1_700_000_000_000
START_MS = 1_000_000
EPOCH = 7  # of every node


class KeeperBench:
    def __init__(self, node_id: str = "a", **overrides: Any) -> None:
        identity = NodeIdentity(node_id, EPOCH, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.keeper = BeatKeeper(identity, settings_of("beats", BeatsSettings, **overrides), random.Random(1))
        self.clients = ClientManager(identity, settings_of("clients", ClientsSettings), random.Random(1))
        self.ms = START_MS
        self.answers: dict[int, Any] = {}  # by correlation
        self.sent: list[tuple[str, Any]] = []  # (link, body)
        self.made: list[Record] = []
        self._node_id = node_id
        self._judged = NodesJudged((node_id,), (), isolated=False, suspended=False)
        self._correlation = 0
        self._reminders: list[tuple[int, Any]] = []
        self._effects(self.keeper.start(self.now))

    @property
    def now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    # -- what is asked, and told

    def ask(self, body: Any) -> int:
        """The number under which the answer will stand."""
        self._correlation += 1
        self.tell(HttpOrdersAdmitted((Order(Route(b"gateway", 1), self._correlation, body),)))
        return self._correlation

    def answer(self, body: Any) -> Any:
        return self.answers.pop(self.ask(body))

    def beat(self, instance: Instance = ONE, *, light: bool = True) -> tuple[str, int]:
        """The outcome and the interval."""
        (outcome,) = self.answer(beats(instance, light=light)).outcomes
        return outcome.word, outcome.interval_ms

    def register(self, instance: Instance = ONE) -> Any:
        return self.answer(HttpPublish(ORDERS, instance))

    def withdraw(self, instance: Instance = ONE) -> Any:
        return self.answer(HttpWithdraw(ORDERS, instance.ip, instance.port))

    def meet(self, *names: str, living: Iterable[str] = ()) -> None:
        """These nodes can be reached and take clients in; ``living`` are heard as well."""
        self.tell(PeersChanged(tuple(Peer(name, EPOCH, name) for name in names), names))
        self.keepers(self._node_id, *names, *living)

    def keepers(self, *names: str, suspended: bool = False, isolated: bool = False) -> None:
        self._judged = NodesJudged(tuple(sorted(names)), tuple(sorted(names)), isolated, suspended)
        self.tell(self._judged)

    def hold(self, record: Record) -> None:
        self.tell(HttpRecordsHeld((record,)))

    def forwarded(self, link: str, number: int, *orders: HttpOrder, hops: int = 1) -> None:
        self.tell(ForwardReceived(link, Forwarded(number, hops, orders)))

    def settled(self, link: str, number: int, *outcomes: HttpOutcome) -> None:
        self.tell(ForwardReceived(link, ForwardSettled(number, outcomes)))

    def become_persistent(self, service: Service) -> None:
        self._effects(self.clients.handle(PersistentServicesChanged((service,), ()), self.now))

    # -- time

    def run(self, seconds: float, *, suspended: bool = False) -> None:
        """With a judgement each second."""
        end_ms = self.ms + int(seconds * 1_000)
        while self.ms < end_ms:
            self._pass(min(1_000, end_ms - self.ms))
            self.tell(msgspec.structs.replace(self._judged, suspended=suspended))

    def stand_still(self, seconds: float) -> None:
        """What was due meanwhile comes at its end."""
        self.ms += int(seconds * 1_000)
        self._pass(0)

    def _pass(self, duration_ms: int) -> None:
        end_ms = self.ms + duration_ms
        while self._reminders and min(at_ms for at_ms, _ in self._reminders) <= end_ms:
            first = min(self._reminders, key=lambda each: each[0])
            self._reminders.remove(first)
            self.ms = max(self.ms, first[0])
            self.tell(first[1])
        self.ms = end_ms

    # -- what comes of it

    def shown(self, instance: Instance = ONE) -> Instance | None:
        """What this node publishes of this client."""
        record = self.clients.native.records.get(http_key(ORDERS, instance.ip, instance.port))
        return record.instances[0] if record is not None and record.instances else None

    def is_healthy(self) -> bool:
        shown = self.shown()
        assert shown is not None
        return shown.healthy

    def take_sent(self, kind: type[Any]) -> list[tuple[str, Any]]:
        """What has left for other nodes since the last look."""
        taken = [(link, body) for link, body in self.sent if isinstance(body, kind)]
        self.sent = [(link, body) for link, body in self.sent if not isinstance(body, kind)]
        return taken

    def tell(self, message: Any) -> None:
        """Answers of ClientManager are taken in before anything else."""
        mailbox = deque([message])
        while mailbox:
            effects = self.keeper.handle(mailbox.popleft(), self.now)
            self.keeper.check_invariants()
            mailbox.extend(self._effects(effects))

    def _effects(self, effects: Effects) -> list[Any]:
        back: list[Any] = []
        for effect in effects:
            match effect:
                case Remind(delay_ms, message):
                    self._reminders.append((self.ms + delay_ms, message))
                case Tell(Role.CLIENTS, message):
                    made = self.clients.handle(message, self.now)
                    self.clients.check_invariants()
                    back += self._effects(made)
                case Tell(Role.BEATS, message):
                    back.append(message)
                case Tell(Role.INDEX, RecordsChanged() as changed):
                    self.made += changed.records
                    for reply in changed.replies:
                        assert reply.correlation not in self.answers, "a request is answered once"
                        self.answers[reply.correlation] = reply.body
                case Tell(Role.IO, SendToPeers(frames)):
                    self.sent += [(frame.link, decode_peer(frame.payload)) for frame in frames]
                case Tell(Role.DISTRO):
                    continue
                case _:
                    raise AssertionError(f"nobody expects {effect}")
        return back


def beats(*instances: Instance, light: bool = True) -> Beats:
    said = [None if light else instance for instance in instances]
    return Beats(tuple(HttpBeat(ORDERS, each.ip, each.port, full) for each, full in zip(instances, said, strict=True)))


def record_of(
    owner: str, number: int, *instances: Instance, client: Instance = ONE, seq: int = 1, epoch: int = EPOCH
) -> Record:
    """What another node says of this client; no instances: it was withdrawn there."""
    key = http_key(ORDERS, client.ip, client.port)
    return make_record(Origin(owner, epoch), key, number, seq, (WALL_MS << 16) + seq, 45_000, instances)


def order_of(kind: Any, number: int = WALL_MS, instance: Instance | None = None, client: Instance = ONE) -> HttpOrder:
    return HttpOrder(kind, ORDERS, client.ip, client.port, number, instance)
