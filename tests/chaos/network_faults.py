"""Faults of links: what is sent does not arrive, not always, late, twice or in another order.

Each is made from a victim and a chance, draws all it needs at once, and says what it will do; ``act`` does it, and
undoes it whatever happens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.crowds import HelperProcess
from tests.chaos.field import Field
from tests.chaos.firewall import Drop, both_ways
from tests.chaos.nodes import ChaosNode


class Fault(NamedTuple):
    kind: str
    what: str
    nodes: tuple[str, ...]
    act: Callable[[int], None]  # is handed the number of the fault


def loss(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """Packets of one node get lost, to and from other nodes and clients alike."""
    percent, seconds = chance.choice((5, 10, 20, 30)), chance.uniform(4, 10)
    others = [node.place.address for node in field.others(victim)] + field.client_addresses()

    def act(number: int) -> None:
        field.drop(number, *both_ways([victim.place.address], others, percent))
        try:
            field.pause(seconds)
        finally:
            field.drop(number)

    return Fault("loss", f"{percent} % of the packets of {victim.name} for {seconds:.1f} s", (victim.name,), act)


def one_way(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """What a node sends to one other, or to all other nodes, does not arrive; the way back is open."""
    targets = field.others(victim) if chance.random() < 0.5 else [chance.choice(field.others(victim))]
    seconds = chance.uniform(4, 15)
    ways = [(victim, target) for target in targets]
    if chance.random() < 0.5:
        ways = [(target, source) for source, target in ways]
    what = ", ".join(f"{source.name} to {target.name}" for source, target in ways)
    return Fault("one_way", f"cut for {seconds:.1f} s: {what}", (victim.name,), _cut(field, ways, seconds))


def partition(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """A minority of nodes and all others do not reach each other; clients reach everyone."""
    others = field.others(victim)
    size = chance.randint(0, (len(field.nodes) - 1) // 2 - 1)
    minority = [victim, *chance.sample(others, size)]
    majority = [node for node in others if node not in minority]
    seconds = chance.uniform(5, max(6.0, field.longest_s / 2))
    ways = [way for one in minority for two in majority for way in ((one, two), (two, one))]
    names = tuple(node.name for node in minority)
    return Fault("partition", f"{' '.join(names)} alone for {seconds:.1f} s", names, _cut(field, ways, seconds))


def isolation(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """One node reaches nobody, clients included."""
    seconds = chance.uniform(3, max(6.0, field.longest_s / 2))
    ways = [way for other in field.others(victim) for way in ((victim, other), (other, victim))]

    def act(number: int) -> None:
        clients = both_ways([victim.place.address], field.client_addresses())
        nodes = both_ways([victim.place.address], [node.place.address for node in field.others(victim)])
        for source, target in ways:
            field.count_cut(source, target, 1)
        field.drop(number, *clients, *nodes)
        try:
            field.pause(seconds)
        finally:
            field.mend(number, ways)

    return Fault("isolation", f"{victim.name} reaches nobody for {seconds:.1f} s", (victim.name,), act)


def clients_cut(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """The clients of one machine do not reach a node, which all others do."""
    place, seconds = chance.choice(field.world.clients), chance.uniform(2, 10)

    def act(number: int) -> None:
        field.drop(number, *both_ways([victim.place.address], [place.address]))
        try:
            field.pause(seconds)
        finally:
            field.drop(number)

    return Fault("clients_cut", f"{place.name} and {victim.name} apart for {seconds:.1f} s", (victim.name,), act)


def syn_only(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """First both ways are cut, so that connections end; then the victim alone cannot open new ones."""
    targets = field.others(victim)
    ways = [way for target in targets for way in ((victim, target), (target, victim))]
    seconds = chance.uniform(5, 10)

    def act(number: int) -> None:
        field.cut(number, ways)
        try:
            field.pause(4.0)
        finally:
            field.mend(number, ways)
        field.drop(number, Drop((victim.place.address,), tuple(node.place.address for node in targets), only_syn=True))
        try:
            field.pause(seconds)
        finally:
            field.drop(number)

    what = f"{victim.name} cut off for 4 s, then unable to dial for {seconds:.1f} s"
    return Fault("syn_only", what, (victim.name,), act)


def blackhole(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """The victim has no way to one other node."""
    target, seconds = chance.choice(field.others(victim)), chance.uniform(4, 15)

    def act(number: int) -> None:
        field.count_cut(victim, target, 1)
        field.world.blackhole(victim.place, target.place)
        try:
            field.pause(seconds)
        finally:
            field.world.no_blackhole(victim.place, target.place)
            field.count_cut(victim, target, -1)

    what = f"{victim.name} has no route to {target.name} for {seconds:.1f} s"
    return Fault("blackhole", what, (victim.name,), act)


def delay(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """A slow line: delay, jitter that lets packets overtake each other, duplicates and some loss."""
    delay_ms, jitter_ms, seconds = chance.choice((5, 30, 100)), chance.choice((0, 20, 60)), chance.uniform(5, 15)
    loss_percent, duplicate_percent, seed = chance.choice((0, 2)), chance.choice((0, 2, 10)), chance.getrandbits(32)
    figures = [delay_ms, jitter_ms, loss_percent, duplicate_percent, seed]

    def act(number: int) -> None:
        place, device = victim.place, f"slow{number}"
        log = field.world.folder / f"{device}.log"
        relay = HelperProcess(place, log, "relay", place.namespace, field.world.switch, device, *map(str, figures))
        try:
            relay.wait_for("ready")
            field.world.route_through(place, device)
            field.pause(seconds)
        finally:
            field.world.route_straight(place)
            relay.end()

    what = f"{victim.name} behind {delay_ms} + 0-{jitter_ms} ms, {loss_percent} % lost, {duplicate_percent} % twice"
    return Fault("delay", f"{what}, for {seconds:.1f} s", (victim.name,), act)


def _cut(field: Field, ways: list[tuple[ChaosNode, ChaosNode]], seconds: float) -> Callable[[int], None]:
    def act(number: int) -> None:
        field.cut(number, ways)
        try:
            field.pause(seconds)
        finally:
            field.mend(number, ways)

    return act
