"""The prober of a simulated node: it connects over the simulated network, from the node's own machine.

Instances are listeners there (``SimInstances``), which can be closed, cut off and lose their machine like any other. An
HTTP probe is a connection like a TCP one: what a server answers is the business of the prober's own tests.
"""

from __future__ import annotations

from functools import partial

from actors.base import Role
from actors.messages.health import InstanceProbe, Outcome, ProbeResult, ProbesDone, ProbesOrdered
from runtime.simulation.hosts import How, SimEnd, SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import SimStage


class SimProber:
    """Of one life of one node."""

    def __init__(self, stage: SimStage, network: SimNetwork, host: SimHost, timeout_ms: int) -> None:
        self._stage = stage
        self._network = network
        self._host = host
        self._timeout_us = timeout_ms * 1_000

    def tell(self, message: ProbesOrdered) -> None:
        for probe in message.probes:
            attempt = _SimAttempt(probe, self._stage, self._network)
            self._stage.later(self._timeout_us, partial(attempt.end, "busy", self._timeout_us // 1_000))
            self._network.dial(self._host, f"{probe.host}:{probe.port}", attempt)


class _SimAttempt:
    """One connection. It ends once: when it stands, when it fails, or when its time is up."""

    def __init__(self, probe: InstanceProbe, stage: SimStage, network: SimNetwork) -> None:
        self._probe = probe
        self._stage = stage
        self._network = network
        self._is_over = False

    def end_opened(self, end: SimEnd) -> None:
        self._network.close(end)
        self.end("ok", 1)

    def dial_failed(self, address: str, how: How) -> None:
        self.end("refused" if how == "refused" else "busy", 1)

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        """Nothing that it says counts."""

    def end_closed(self, end: SimEnd, how: How) -> None:
        """Nor when it hangs up: the connection stood."""

    def end(self, outcome: Outcome, duration_ms: int) -> None:
        if not self._is_over:
            self._is_over = True
            self._stage.tell(Role.HEALTH, ProbesDone((ProbeResult(self._probe.number, outcome, duration_ms),)))


class SimInstances:
    """One machine with instances on it: whoever connects is let in."""

    def __init__(self, network: SimNetwork, name: str) -> None:
        self.host = network.host(name)
        self._network = network

    def serve(self, ip: str, *ports: int) -> None:
        for port in ports:
            self._network.listen(self.host, f"{ip}:{port}", self)

    def end_all(self) -> None:
        """Their processes are gone; the machine refuses who comes."""
        self._network.kill(self.host)

    def end_opened(self, end: SimEnd) -> None:
        """Nothing to say."""

    def dial_failed(self, address: str, how: How) -> None:
        raise AssertionError("an instance dials nobody")

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        raise AssertionError("a probe says nothing over TCP")

    def end_closed(self, end: SimEnd, how: How) -> None:
        """A probe takes no longer."""
