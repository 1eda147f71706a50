"""One round: a world, nodes, applications, observers, faults, then silence, and the verdict on all that was seen."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.chaos.clock_shim import ClockShim
from tests.chaos.crowds import Crowd, Eyes, HelperProcess, end_all
from tests.chaos.eyes import EyesSpec
from tests.chaos.field import READY_S_MAX, Field
from tests.chaos.journal import NOW, Journal, merged
from tests.chaos.nemesis import Nemesis
from tests.chaos.nodes import ChaosNode
from tests.chaos.relay import enter_namespace
from tests.chaos.stalls import StallMeter
from tests.chaos.verdict import Verdict
from tests.chaos.workload import WorkloadSpec
from tests.chaos.world import Place, World
from tests.support.history import MemorySeen, write_history
from tests.support.real_cluster import until

_SERVICES = tuple(f"service-{number}" for number in range(12))
_LOOK_MS = 300
_STILL_S = 20.0  # without faults and orders: so long may be listed what died with its node
_TEND_S = 0.5
_LONGEST_S = 40.0
_SHORT_ROUND_MINUTES = 4
_CALM_S = 3.0  # before the first fault


class RoundSettings(msgspec.Struct, frozen=True):
    nodes: int
    minutes: float
    seed: int
    kinds: tuple[str, ...]
    crowds: int = 4
    clients_per_crowd: int = 46
    mortal_crowds: int = 2
    clients_per_mortal: int = 12
    subscribers_per_crowd: int = 8
    orders_per_second: float = 8.0  # of one crowd


class ChaosRound:
    """``with ChaosRound(...) as round: round.run()``; it enters its namespaces, so it needs a process of its own."""

    def __init__(self, settings: RoundSettings, world: World, tell: Callable[[str], None]) -> None:
        self.stalls = StallMeter()
        self._settings = settings
        self._world = world
        self._tell = tell
        self._history = world.folder / "history"
        self._history.mkdir()
        self._journal = Journal(self._history / "round.jsonl")
        shim = ClockShim(world.folder) if "clock" in settings.kinds else None
        self._nodes = [ChaosNode(place, world, shim) for place in world.nodes]
        self._mortals: list[Crowd] = []
        self._helpers: list[HelperProcess] = []
        self._removals: list[str] = []
        longest_s = _LONGEST_S if settings.minutes >= _SHORT_ROUND_MINUTES else _LONGEST_S / 5
        self._field = Field(world, self._nodes, self._mortals, self._journal, longest_s)
        self._tending = threading.Thread(target=self._tend, name="tending", daemon=True)
        self._done = threading.Event()

    def __enter__(self) -> ChaosRound:
        return self

    def __exit__(self, *_: object) -> None:
        self._field.over.set()
        self._done.set()
        end_all([*self._helpers, *self._mortals])
        for node in self._nodes:
            node.close()
        self.stalls.stop()

    def run(self) -> Verdict:
        self._start()
        self._tell(f"faults for {self._settings.minutes:g} min")
        self._field.pause(_CALM_S)
        Nemesis(self._field, self._settings.kinds, self._settings.seed, self._tell).run(self._settings.minutes * 60)
        self._fall_still()
        return self._judge()

    def keep(self, folder: Path) -> None:
        """What whoever studies the round needs: the history, what the nodes said, and which lists got shorter when."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "removals.txt").write_text("".join(f"{line}\n" for line in self._removals))
        write_history(folder / "history.jsonl", merged(self._history.glob("*.jsonl")))
        for log in self._history.glob("*.log"):
            shutil.copy(log, folder / log.name)
        for node in self._nodes:
            with contextlib.suppress(FileNotFoundError):  # it was never started
                shutil.copy(node.log, folder / f"{node.name}.log")

    # Inside

    def _start(self) -> None:
        enter_namespace(self._world.observers.namespace)
        for node in self._nodes:
            node.start()
        until(lambda: all(node.is_ready() for node in self._nodes), READY_S_MAX, "every node is ready")
        self._tell(f"{len(self._nodes)} nodes are ready")
        self._tending.start()
        servers = {node.name: node.client_address for node in self._nodes}
        eyes = EyesSpec(servers, _SERVICES, _SERVICES[:3], _LOOK_MS, str(self._history / "eyes.jsonl"))
        self._helpers.append(Eyes(self._world.observers, eyes))
        crowds = [self._crowd(number, servers) for number in range(self._settings.crowds)]
        self._helpers += crowds
        self._mortals += [self._mortal(number, servers) for number in range(self._settings.mortal_crowds)]
        for process in (*self._helpers, *self._mortals):
            process.wait_for("ready")
        clients = sum(crowd.spec.clients for crowd in (*crowds, *self._mortals))
        self._tell(f"{clients} clients in {len(crowds) + len(self._mortals)} processes are signed in")

    def _crowd(self, number: int, servers: dict[str, str]) -> Crowd:
        settings = self._settings
        return self._begin(f"w{number}", number, settings.clients_per_crowd, settings.subscribers_per_crowd, servers)

    def _mortal(self, number: int, servers: dict[str, str]) -> Crowd:
        return self._begin(f"m{number}g1", 20 + 100 * number, self._settings.clients_per_mortal, 2, servers)

    def _begin(self, name: str, number: int, clients: int, subscribers: int, servers: dict[str, str]) -> Crowd:
        settings, place = self._settings, self._place_of(number)
        journal = str(self._history / f"{name}.jsonl")
        share = settings.orders_per_second * clients / settings.clients_per_crowd
        spec = WorkloadSpec(
            name, number, clients, subscribers, _SERVICES, servers, share, settings.seed * 1_000 + number, journal
        )
        return Crowd(place, spec)

    def _place_of(self, number: int) -> Place:
        places: Sequence[Place] = self._world.clients
        return places[number % len(places)]

    def _tend(self) -> None:
        """What a service manager does: start again what ended. And look at memory."""
        while not self._done.wait(_TEND_S):
            for node in self._nodes:
                resident_kib = node.resident_kib()
                if resident_kib is not None:
                    self._journal.note(MemorySeen(NOW, node.name, resident_kib))
                if not node.held and node.has_ended():
                    words = node.last_words()
                    self._field.complain(f"{node.name} ended with {node.ended()} though no fault asks it to: {words}")
                    node.start()

    def _fall_still(self) -> None:
        self._tell("no more faults")
        for node in self._nodes:
            self._field.until_ready(node)
        crowds = [helper for helper in (*self._helpers, *self._mortals) if isinstance(helper, Crowd)]
        for crowd in crowds:
            crowd.say("still")
        for crowd in crowds:
            crowd.wait_for("still")
        threading.Event().wait(_STILL_S)

    def _judge(self) -> Verdict:
        self._done.set()
        end_all([*self._helpers, *self._mortals])
        self._helpers.clear()
        self._mortals.clear()
        verdict = Verdict([node.name for node in self._nodes])
        for event in merged(self._history.glob("*.jsonl")):
            verdict.see(event)
        verdict.conclude(self._field.complaints, self.stalls.stalls)
        self._removals = verdict.removals
        return verdict
