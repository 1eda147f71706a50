"""The rules of membership above ten members: SWIM with Lifeguard's local health. Pure; actors/probing.py acts by them.

Each beat a node probes one member, so what it costs does not grow with the cluster. Who does not answer is accused, and
accusations travel in digests. They name the heartbeat counter that the accuser last heard: only the owner raises that,
so a higher counter refutes every accusation of an earlier one. Nobody is hidden for an accusation alone: it shortens
the silence after which an owner is hidden, once several nodes have found the same for themselves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from actors.links import REFUSED, SILENT
from actors.liveness import Leases
from actors.messages.peers import Accusation
from actors.messages.values import Origin

ACCUSERS_MAX = 8  # remembered of one origin; more change nothing
ACCUSATIONS_PER_DIGEST = 16  # a digest must not grow with what is broken; who was told least often comes first


class SwimPatience(Protocol):
    """The members section of configs/defaults.toml, as far as it is about accusations."""

    @property
    def swim_members_min(self) -> int: ...

    @property
    def gossip_round_ms(self) -> int: ...

    @property
    def accusers_refused(self) -> int: ...

    @property
    def accusers_silent(self) -> int: ...

    @property
    def suspicion_ms(self) -> int: ...

    @property
    def suspicion_stretch(self) -> int: ...

    @property
    def health_max(self) -> int: ...


def gossip_ms(patience: SwimPatience, members: int) -> int:
    """How much older than it is a heartbeat may look because digests go to three members a round, not to all."""
    if members <= patience.swim_members_min:
        return 0
    return patience.gossip_round_ms * math.ceil(math.log2(members / 5))


def suspicion_ms(patience: SwimPatience, members: int, accusers: int) -> int:
    """How long accusations must stand unrefuted: the longest for one accuser, the shortest for enough of them."""
    shortest = patience.suspicion_ms * max(1.0, math.log10(members))
    longest = shortest * patience.suspicion_stretch
    share = math.log(max(1, accusers)) / math.log(max(2, patience.accusers_silent))
    return int(max(shortest, longest - (longest - shortest) * share))


class LocalHealth:
    """How far this node should trust its own ears: 0 is well. Who hears badly waits longer before it accuses."""

    def __init__(self, health_max: int) -> None:
        self._max = health_max
        self.score = 0

    def note(self, change: int) -> None:
        self.score = min(self._max, max(0, self.score + change))

    def stretched(self, time_ms: int) -> int:
        return time_ms * (self.score + 1)


class ProbeRing:
    """Every candidate has its turn once a round, in an order that chance changes each time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._round: list[str] = []

    def next(self, candidates: Collection[str]) -> str | None:
        while self._round:
            turn = self._round.pop()
            if turn in candidates:
                return turn
        self._round = sorted(candidates)
        self._chance.shuffle(self._round)
        return self._round.pop() if self._round else None


class Charge(NamedTuple):
    """What one node says of one origin."""

    heartbeat: int
    how: str  # REFUSED or SILENT


class Suspicion(msgspec.Struct):
    """One origin that somebody cannot reach."""

    began_at_ms: int
    charges: dict[str, Charge]  # by accuser, this node included
    own_since_ms: int | None = None  # what was raised before then is no answer to this node's own accusation
    times_told: int = 0


class Suspicions:
    """Who accuses whom. Only the newest epoch of an owner that is known here can be accused."""

    def __init__(self, node_id: str, leases: Leases, patience: SwimPatience) -> None:
        self._node_id = node_id
        self._leases = leases
        self._patience = patience
        self._table: dict[Origin, Suspicion] = {}

    def accuse(self, origin: Origin, how: str, since_ms: int, now_ms: int) -> bool:
        """This node has not been able to reach it since then. True if it did not say so before."""
        life = self._leases.lives.get(origin)
        if life is None or not self._is_accusable(origin) or life.heard_at_ms > since_ms:
            return False
        suspicion = self._table.setdefault(origin, Suspicion(now_ms, {}))
        is_news = suspicion.own_since_ms is None
        if is_news:
            suspicion.own_since_ms = since_ms
        before = suspicion.charges.get(self._node_id)
        stronger = REFUSED if how == REFUSED or (before is not None and before.how == REFUSED) else SILENT
        suspicion.charges[self._node_id] = Charge(life.counter, stronger)
        return is_news

    def acquit(self, origin: Origin, proven_at_ms: int) -> None:
        """It has answered what was sent then, so what this node said of it before is no longer so."""
        suspicion = self._table.get(origin)
        if suspicion is None or suspicion.own_since_ms is None or proven_at_ms < suspicion.own_since_ms:
            return
        suspicion.own_since_ms = None
        del suspicion.charges[self._node_id]
        self._tidy(origin, suspicion)

    def hear(self, accusations: Iterable[Accusation], members: Mapping[str, object], now_ms: int) -> None:
        """Take over what a digest says, less what has been refuted and what this node said itself."""
        for accusation in accusations:
            origin = accusation.origin
            life = self._leases.lives.get(origin)
            if life is None or accusation.heartbeat < life.counter or not self._is_accusable(origin):
                continue
            suspicion = self._table.setdefault(origin, Suspicion(now_ms, {}))
            for accusers, how in ((accusation.refused_to, REFUSED), (accusation.silent_to, SILENT)):
                for accuser in accusers:
                    if accuser in members and accuser not in (self._node_id, origin.owner):
                        self._charge(suspicion, accuser, Charge(accusation.heartbeat, how))
            self._tidy(origin, suspicion)

    def review(self) -> None:
        """At each beat: what a heartbeat has refuted is gone, and who is no longer judged is forgotten."""
        for origin, suspicion in list(self._table.items()):
            life = self._leases.lives.get(origin)
            if life is None or not self._is_accusable(origin):
                del self._table[origin]
                continue
            self._review_own(suspicion, life.counter, life.heard_at_ms)
            refuted = [accuser for accuser, charge in suspicion.charges.items() if charge.heartbeat < life.counter]
            for accuser in refuted:
                del suspicion.charges[accuser]
            self._tidy(origin, suspicion)

    def is_suspect(self, origin: Origin) -> bool:
        suspicion, life = self._table.get(origin), self._leases.lives.get(origin)
        if suspicion is None or life is None:
            return False
        if suspicion.own_since_ms is not None and life.heard_at_ms <= suspicion.own_since_ms:
            return True
        return any(charge.heartbeat >= life.counter for charge in suspicion.charges.values())

    def accused(self) -> set[str]:
        """Owners that somebody cannot reach."""
        return {origin.owner for origin in self._table}

    def verdict(self, origin: Origin, members: int, witnesses: Callable[[], int], now_ms: int) -> str:
        """REFUSED: enough nodes found its process gone. SILENT: enough nodes have got no answer for long enough.
        Empty: neither. ``witnesses``: living members that could accuse it, this node included."""
        suspicion = self._table.get(origin)
        if suspicion is None:
            return ""
        accusers = len(suspicion.charges)
        refused = sum(charge.how == REFUSED for charge in suspicion.charges.values())
        if refused >= self._patience.accusers_refused:
            return REFUSED
        stands_for_ms = now_ms - suspicion.began_at_ms
        is_enough = accusers >= min(self._patience.accusers_silent, witnesses())
        return SILENT if is_enough and stands_for_ms >= suspicion_ms(self._patience, members, accusers) else ""

    def told(self) -> tuple[Accusation, ...]:
        """For a digest, of each origin what its accusers say at the highest counter that was heard."""
        turn = sorted(self._table.items(), key=lambda item: (item[1].times_told, item[0]))[:ACCUSATIONS_PER_DIGEST]
        for _, suspicion in turn:
            suspicion.times_told += 1
        return tuple(_accusation(origin, suspicion) for origin, suspicion in turn)

    def check_invariants(self) -> None:
        for suspicion in self._table.values():
            assert suspicion.charges, "who is suspected has an accuser"
            assert len(suspicion.charges) <= ACCUSERS_MAX + 1, "accusers have a limit"
            is_own = self._node_id in suspicion.charges
            assert is_own == (suspicion.own_since_ms is not None), "an own accusation has a beginning"

    def _is_accusable(self, origin: Origin) -> bool:
        return origin == self._leases.newest(origin.owner) and not self._leases.has_left(origin)

    def _charge(self, suspicion: Suspicion, accuser: str, charge: Charge) -> None:
        before = suspicion.charges.get(accuser)
        if before is None and len(suspicion.charges) >= ACCUSERS_MAX:
            return
        if before is None or charge.heartbeat >= before.heartbeat:
            suspicion.charges[accuser] = charge

    def _review_own(self, suspicion: Suspicion, counter: int, heard_at_ms: int) -> None:
        """A heartbeat that was raised before this node's evidence, and came late, is no answer to it."""
        if suspicion.own_since_ms is None:
            return
        if heard_at_ms > suspicion.own_since_ms:
            suspicion.own_since_ms = None
            del suspicion.charges[self._node_id]
        else:
            suspicion.charges[self._node_id] = suspicion.charges[self._node_id]._replace(heartbeat=counter)

    def _tidy(self, origin: Origin, suspicion: Suspicion) -> None:
        if not suspicion.charges:
            del self._table[origin]


def _accusation(origin: Origin, suspicion: Suspicion) -> Accusation:
    heartbeat = max(charge.heartbeat for charge in suspicion.charges.values())
    current = sorted((name, charge.how) for name, charge in suspicion.charges.items() if charge.heartbeat == heartbeat)
    refused = tuple(name for name, how in current if how == REFUSED)
    silent = tuple(name for name, how in current if how == SILENT)
    return Accusation(*origin, heartbeat, refused, silent)
