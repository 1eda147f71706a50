"""What applications want to be listed, as far as anybody can know: orders given, orders acknowledged, ends.

A claim is what one client publishes under one instance key of one service. An order that nobody has answered may have
happened or not, so a claim is sure only between orders; an acknowledgement settles every earlier order of that client
for that service too, because a session carries out its orders in the order they were given.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.history import ClientEnded, OrderAnswered, OrderSent

Listed = tuple[str, str]  # service, instance


class Gone(NamedTuple):
    """Since when a claim is over, and how it ended."""

    since_ms: int
    how: str  # withdrawn, closed, killed, vanished


class Claim:
    def __init__(self, client: str, listed: Listed) -> None:
        self.client = client
        self.listed = listed
        self.payload: str | None = None  # as last acknowledged; None: nothing is published
        self.settled_ms = 0
        self.settled_by = 0  # which order
        self.pending: list[tuple[int, str | None]] = []  # (order, what it asks for) not answered yet
        self.said: set[str] = set()  # all payloads that were ever asked for
        self.ended: Gone | None = None  # its client is no more
        self.withdrawn_ms = 0

    @property
    def is_sure(self) -> bool:
        """It was acknowledged, and nothing was ordered since that may have removed it."""
        return self.ended is None and self.payload is not None and all(wish is not None for _, wish in self.pending)

    @property
    def is_possible(self) -> bool:
        return self.ended is None and (self.payload is not None or any(wish is not None for _, wish in self.pending))

    @property
    def is_meant(self) -> bool:
        """What its application means, whether or not anybody has told it so."""
        wishes = [wish for _, wish in self.pending] or [self.payload]
        return self.ended is None and wishes[-1] is not None

    @property
    def payloads(self) -> set[str]:
        """Any of these may be seen now."""
        wishes = (self.payload, *(wish for _, wish in self.pending))
        return {wish for wish in wishes if wish is not None}

    @property
    def gone(self) -> Gone:
        """When it stopped to be possible. Only for a claim that is not."""
        return self.ended or Gone(self.withdrawn_ms, "withdrawn")

    def settle(self, number: int, at_ms: int) -> None:
        done = [wish for order, wish in self.pending if order <= number]
        if not done:
            return
        self.pending = [(order, wish) for order, wish in self.pending if order > number]
        self.payload, self.settled_ms, self.settled_by = done[-1], at_ms, number
        if self.payload is None:
            self.withdrawn_ms = at_ms


class Claims:
    """All of them, by client and by what they claim."""

    def __init__(self) -> None:
        self.of_client: dict[str, dict[Listed, Claim]] = {}
        self.of_listed: dict[Listed, list[Claim]] = {}
        self._open: dict[tuple[str, int], OrderSent] = {}  # orders that nobody has answered

    def sent(self, event: OrderSent) -> None:
        if event.kind == "close":
            for claim in self.of_client.get(event.client, {}).values():
                claim.pending.append((event.number, None))
        if event.kind not in ("publish", "withdraw"):
            return
        self._open[event.client, event.number] = event
        wishes: dict[str, str | None] = dict(event.instances)
        if event.kind == "withdraw":
            held = [key for service, key in self.of_client.get(event.client, {}) if service == event.service]
            wishes = dict.fromkeys(event.instances or held)
        for key, wish in wishes.items():
            claim = self._claim(event.client, (event.service, key))
            claim.pending.append((event.number, wish))
            if wish is not None:
                claim.said.add(wish)

    def answered(self, event: OrderAnswered) -> None:
        order = self._open.pop((event.client, event.number), None)
        if order is None:
            return
        for listed, claim in self.of_client.get(event.client, {}).items():
            if listed[0] != order.service:
                continue
            if not event.error or event.error.startswith("unconfirmed"):
                claim.settle(event.number, event.at_ms)
            elif event.error.startswith("refused"):
                claim.pending = [(number, wish) for number, wish in claim.pending if number != event.number]

    def ended(self, event: ClientEnded) -> None:
        for claim in self.of_client.get(event.client, {}).values():
            claim.ended = claim.gone if not claim.is_possible else Gone(event.at_ms, event.how)

    def on(self, service: str, instance: str) -> list[Claim]:
        return self.of_listed.get((service, instance), [])

    def meant(self, listed: Listed) -> set[str]:
        """The payloads under which it should be listed once nothing is in the way; empty: not at all."""
        return {payload for claim in self.of_listed[listed] if claim.is_meant for payload in claim.payloads}

    def waits_for_cluster(self, event: OrderAnswered) -> bool:
        order = self._open.get((event.client, event.number))
        return order is not None and order.wait == "cluster"

    def _claim(self, client: str, listed: Listed) -> Claim:
        mine = self.of_client.setdefault(client, {})
        if listed not in mine:
            claim = mine[listed] = Claim(client, listed)
            self.of_listed.setdefault(listed, []).append(claim)
        return mine[listed]
