"""Faults of processes and machines: killed, stopped, restarted, with a full disk or a wrong clock."""

from __future__ import annotations

import random

import zmq

from rollbook.transport import dealer
from rollbook.wire import Ping, Tag, encode
from tests.chaos.field import Field
from tests.chaos.network_faults import Fault
from tests.chaos.nodes import ChaosNode

_LEAVE_S_MAX = 10.0
_GIVE_UP_S_MAX = 25.0  # a node waits up to one lease for its data directory
EXIT_UNUSABLE = 2
_HOUR_MS = 3_600_000
_FLOOD_FRAMES = 2_000
_FLOOD_LINGER_MS = 1_000
_ANSWER_MS_MAX = 5_000


def crash(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """kill -9 of the node process; its supervisor starts it again."""

    def act(number: int) -> None:
        field.saw(victim, "crashed")
        victim.kill_process()
        field.pause(0.5)  # or it would look ready because it has not died yet
        field.until_ready(victim)

    return Fault("crash", f"kill -9 of {victim.name}", (victim.name,), act)


def plug(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """Everything of the node is gone at once, for a while: as when somebody pulls the plug."""
    seconds = chance.choice((1.0, 4.0, min(20.0, field.longest_s)))

    def act(number: int) -> None:
        victim.held = True
        field.saw(victim, "crashed")
        victim.kill()
        field.pause(seconds)
        victim.start()
        victim.held = False
        field.until_ready(victim)

    return Fault("plug", f"{victim.name} and its supervisor killed, {seconds:g} s dark", (victim.name,), act)


def orphan(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """kill -9 of the supervisor: its node leaves, and somebody starts both again."""
    seconds = chance.choice((0.1, 1.0, 3.0))

    def act(number: int) -> None:
        victim.held = True
        field.saw(victim, "left")
        victim.kill_supervisor()
        field.pause(seconds)
        victim.start()
        victim.held = False
        field.pause(6.0)  # the old node leaves; the new one waits for its data directory
        field.until_ready(victim)

    return Fault(
        "orphan", f"kill -9 of the supervisor of {victim.name}, started again after {seconds:g} s", (victim.name,), act
    )


def stop(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """SIGSTOP, and SIGCONT after a while."""
    seconds = chance.choice([seconds for seconds in (1.0, 3.0, 8.0, 20.0, 40.0) if seconds <= field.longest_s])

    def act(number: int) -> None:
        field.saw(victim, "paused")
        victim.pause()
        try:
            field.pause(seconds)
        finally:
            victim.resume()
            field.saw(victim, "resumed")

    return Fault("stop", f"{victim.name} stands still for {seconds:g} s", (victim.name,), act)


def flood(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """A client sends far more than any window allows to a node that stands still, and is gone when it goes on."""
    seconds = chance.uniform(1.0, 3.0)

    def act(number: int) -> None:
        try:
            with zmq.Context() as context, dealer(context, victim.client_address) as socket:
                _connect(socket, victim.client_address)
                field.saw(victim, "paused")
                victim.pause()
                for frame in range(_FLOOD_FRAMES):
                    socket.send(encode(Tag.PING, frame, 1, Ping()))
            field.pause(seconds)
        finally:
            victim.resume()
            field.saw(victim, "resumed")

    what = f"{victim.name} stands still for {seconds:.1f} s, and a client leaves {_FLOOD_FRAMES} frames unread"
    return Fault("flood", what, (victim.name,), act)


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    """Until the node has answered something."""
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.LINGER, _FLOOD_LINGER_MS)
    socket.set(zmq.IMMEDIATE, 0)
    socket.connect(f"tcp://{address}")
    socket.send(encode(Tag.PING, 0, 1, Ping()))
    if not socket.poll(_ANSWER_MS_MAX):
        raise RuntimeError(f"{address} did not answer")


def clock(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """The wall clock of a node is wrong: by a step there and back, or to and fro many times."""
    offset_ms = chance.choice((-_HOUR_MS, -30_000, -1_000, 1_000, 30_000, _HOUR_MS))
    times = chance.choice((1, 1, 20))
    seconds = chance.uniform(4, 10)

    def act(number: int) -> None:
        try:
            for _ in range(times):
                victim.shift_clock(offset_ms)
                field.pause(seconds / times / 2 if times > 1 else seconds)
                victim.shift_clock(0)
                field.pause(seconds / times / 2 if times > 1 else 0)
        finally:
            victim.shift_clock(0)

    what = f"wall clock of {victim.name} off by {offset_ms / 1000:+g} s, {times} times within {seconds:.1f} s"
    return Fault("clock", what, (victim.name,), act)


def disk_full(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """No space for the node's data. A node that runs goes on; one that starts says why it cannot, and ends."""

    def act(number: int) -> None:
        victim.held = True
        try:
            victim.fill_disk()
            field.pause(2.0)
            if not victim.is_ready():
                field.complain(f"{victim.name} stopped serving when its disk was full: {victim.last_words()}")
            field.saw(victim, "crashed")
            victim.kill_process()
            _expect_clear_end(field, victim)
        finally:
            victim.free_disk()
            victim.ended()
            if not victim.runs:
                victim.start()
            victim.held = False
        field.until_ready(victim)

    return Fault("disk_full", f"{victim.name} restarts with a full disk", (victim.name,), act)


def _expect_clear_end(field: Field, victim: ChaosNode) -> None:
    if not field.until(victim.has_ended, _GIVE_UP_S_MAX):
        field.complain(f"{victim.name} neither ended nor got ready with a full disk: {victim.last_words()}")
        return
    code, words = victim.ended(), victim.last_words()
    if code != EXIT_UNUSABLE or "No space left on device" not in words:
        field.complain(f"{victim.name} with a full disk ended with {code} and said {words!r}")


def rolling(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """SIGTERM and a new start, one node after the other."""

    def act(number: int) -> None:
        for node in (victim, *field.others(victim)):
            if field.over.is_set():
                return
            node.held = True
            field.saw(node, "left")
            code = node.terminate(_LEAVE_S_MAX)
            if code != 0:
                field.complain(f"{node.name} was asked to leave and ended with {code}: {node.last_words()}")
            node.start()
            node.held = False
            field.until_ready(node)
            field.pause(3.0)

    names = tuple(node.name for node in field.nodes)
    return Fault("rolling", f"every node restarted, {victim.name} first", names, act)


def clients_killed(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """kill -9 of an application process with all its clients; another one takes its place. No node is touched."""
    place = chance.randrange(len(field.mortals))
    seconds = chance.choice((0.0, 2.0))

    def act(number: int) -> None:
        _kill_clients(field, place)
        field.pause(seconds)
        _replace_clients(field, place)

    return Fault("clients_killed", f"kill -9 of application process {place + 1}", (), act)


def both_killed(field: Field, victim: ChaosNode, chance: random.Random) -> Fault:
    """A node and an application process die at once, so that for some clients nobody is left who saw their end."""
    place = chance.randrange(len(field.mortals))
    seconds = max(8.0, field.longest_s / 2)  # longer than it takes the others to be sure

    def act(number: int) -> None:
        victim.held = True
        field.mortals[place].stand()
        field.saw(victim, "crashed")
        victim.kill()
        _kill_clients(field, place)
        field.pause(seconds)
        victim.start()
        victim.held = False
        _replace_clients(field, place)
        field.until_ready(victim)

    what = f"{victim.name} and application process {place + 1} killed at once, {seconds:g} s dark"
    return Fault("both_killed", what, (victim.name,), act)


def _kill_clients(field: Field, place: int) -> None:
    crowd = field.mortals[place]
    crowd.stand()  # so that nobody begins between the reading and the end
    field.saw_killed(crowd.living_clients())
    crowd.kill()


def _replace_clients(field: Field, place: int) -> None:
    field.mortals[place] = field.mortals[place].successor()
    field.mortals[place].wait_for("ready")
