"""What has touched subscribed services and has not been told to all their subscribers yet: behind the pushed watermark.

Per topic there are three steps, each a few numbers per origin, however many changes pass: ``touched`` since the last
view; ``shown`` in a view, while the telling of an earlier one is still under way; and ``telling``, which ends when
every delivery that was behind at its view has acknowledged that one or a newer one, was cut, or is gone. A view that
changes nothing for a subscriber counts as told.

Nothing here sends. PushActor says what happens, and takes a report when there is one to make.
"""

from __future__ import annotations

from actors.messages.distro import OwnersPushed
from actors.messages.values import LAGGARDS_MAX, Origin
from actors.push_table import PushDelivery, PushTopic
from rollbook.model import Service

LowestSeqs = dict[Origin, int]


class OpenTopic:
    """One topic that somebody has yet to be told of."""

    __slots__ = ("holding", "shown", "since_ms", "telling", "touched", "version")

    def __init__(self) -> None:
        self.touched: LowestSeqs = {}
        self.shown: LowestSeqs = {}
        self.telling: LowestSeqs = {}
        self.holding: dict[PushDelivery, None] = {}  # who has yet to acknowledge
        self.version = 0  # of the view that ``telling`` began with
        self.since_ms = 0  # when it began

    def steps(self) -> tuple[LowestSeqs, LowestSeqs, LowestSeqs]:
        return (self.touched, self.shown, self.telling)


class UntoldTouches:
    def __init__(self, interval_ms: int, laggard_ms: int) -> None:
        self.topics: dict[Service, OpenTopic] = {}
        self.lowest: LowestSeqs = {}  # over all topics; too low for the origins in ``_rising``
        self._interval_ms = interval_ms
        self._laggard_ms = laggard_ms
        self._number = 0  # of the last batch of touches taken in
        self._rising: dict[Origin, None] = {}
        self._is_news = False
        self._quiet_until_ms = 0
        self._look_ms: int | None = None  # when to see whether somebody has become a laggard
        self._laggards: dict[Origin, tuple[str, ...]] = {}  # as last reported

    # -- what happens

    def touch(self, service: Service, origin: Origin, seq: int) -> None:
        entry = self.topics.get(service)
        if entry is None:
            entry = self.topics[service] = OpenTopic()
        _lower(entry.touched, origin, seq)
        if seq <= self.lowest.get(origin, seq):
            self.lowest[origin] = seq
            self._rising.pop(origin, None)  # it is exactly this

    def taken_in(self, number: int, *, wholly: bool) -> None:
        """All of one batch; not ``wholly`` if nobody subscribes to some of it any more, so that it is told already."""
        self._number = number
        self._is_news = self._is_news or not wholly

    def viewed(self, topic: PushTopic, now_ms: int) -> None:
        """A view has come that shows every touch up to now."""
        entry = self.topics.get(topic.service)
        if entry is None:
            return
        for origin, seq in entry.touched.items():
            _lower(entry.shown, origin, seq)
        entry.touched = {}
        if not entry.holding:
            self._tell_next(topic, entry, now_ms)

    def acknowledged(self, delivery: PushDelivery, now_ms: int) -> None:
        entry = self.topics.get(delivery.topic.service)
        if entry is not None and (delivery.version >= entry.version or not delivery.is_behind):
            self._let_go(delivery, entry, now_ms)

    def given_up(self, delivery: PushDelivery, now_ms: int) -> None:
        """Its subscriber is gone or cut: nobody waits for it."""
        entry = self.topics.get(delivery.topic.service)
        if entry is not None:
            self._let_go(delivery, entry, now_ms)

    def forget(self, service: Service) -> None:
        """Its last subscriber has left."""
        entry = self.topics.pop(service, None)
        for step in entry.steps() if entry is not None else ():
            self._release(step)

    # -- what is to be told

    def due_ms(self) -> int | None:
        """When to ask for a report."""
        news_ms = self._quiet_until_ms if self._rising or self._is_news else None
        if news_ms is None or self._look_ms is None:
            return self._look_ms if news_ms is None else news_ms
        return min(news_ms, self._look_ms)

    def report(self, now_ms: int) -> OwnersPushed | None:
        """What is due by now; None if a look at the laggards finds nothing new."""
        has_news = bool(self._rising or self._is_news) and now_ms >= self._quiet_until_ms
        laggards = self._laggards
        if self._look_ms is not None and now_ms >= self._look_ms:
            laggards = self._look(now_ms)
        if not has_news and laggards == self._laggards:
            return None
        self._settle()
        self._is_news = False
        self._quiet_until_ms = now_ms + self._interval_ms
        self._laggards = {origin: clients for origin, clients in laggards.items() if origin in self.lowest}
        return OwnersPushed(self._number, tuple(sorted(self.lowest.items())), tuple(sorted(self._laggards.items())))

    def check_invariants(self) -> None:
        for service, entry in self.topics.items():
            assert any(entry.steps()), f"{service} is open for nothing"
            assert bool(entry.telling) == bool(entry.holding), "what is being told waits for somebody"
            assert entry.telling or not entry.shown, "what was shown is told next"
            for delivery in entry.holding:
                assert delivery.topic.service == service
                assert delivery.topic.deliveries[delivery.subscriber.route] is delivery, "who is gone is waited for"
                assert delivery.is_behind, "who has everything is waited for"
                assert delivery.subscriber.state != "cut", "who was cut is waited for"
        truth = self._lowest_of(None)
        assert truth.keys() <= self.lowest.keys(), "an origin is held up and nobody knows"
        for origin, seq in self.lowest.items():
            assert origin in self._rising or truth[origin] == seq, "the lowest seq is wrong"
        assert self._look_ms is not None or not any(entry.holding for entry in self.topics.values())

    # -- how

    def _tell_next(self, topic: PushTopic, entry: OpenTopic, now_ms: int) -> None:
        """What was shown meanwhile is told now: to whoever is behind, at once if nobody is."""
        assert topic.view is not None, "nothing is shown before a view has come"
        entry.telling, entry.shown = entry.shown, {}
        entry.version, entry.since_ms = topic.view.version, now_ms
        entry.holding = {
            delivery: None
            for delivery in topic.deliveries.values()
            if delivery.is_behind and delivery.subscriber.state != "cut"
        }
        if not entry.holding:
            self._told(topic.service, entry)
        elif self._look_ms is None:
            self._look_ms = now_ms + self._laggard_ms

    def _let_go(self, delivery: PushDelivery, entry: OpenTopic, now_ms: int) -> None:
        if delivery not in entry.holding:
            return
        del entry.holding[delivery]
        if entry.holding:
            return
        self._told(delivery.topic.service, entry)
        if entry.shown:
            self._tell_next(delivery.topic, entry, now_ms)

    def _told(self, service: Service, entry: OpenTopic) -> None:
        self._release(entry.telling)
        entry.telling = {}
        if not entry.touched and not entry.shown:
            del self.topics[service]

    def _release(self, seqs: LowestSeqs) -> None:
        """These hold nothing up any more; what else does is counted when it is told, for it costs a pass."""
        for origin, seq in seqs.items():
            if seq <= self.lowest.get(origin, seq):
                self._rising[origin] = None

    def _settle(self) -> None:
        if self._rising:
            found = self._lowest_of(self._rising)
            for origin in self._rising:
                self.lowest.pop(origin, None)
            self.lowest |= found
            self._rising = {}

    def _lowest_of(self, origins: dict[Origin, None] | None) -> LowestSeqs:
        """Over all topics, of these origins (None: of all)."""
        found: LowestSeqs = {}
        for entry in self.topics.values():
            for step in entry.steps():
                for origin, seq in step.items():
                    if origins is None or origin in origins:
                        _lower(found, origin, seq)
        return found

    def _look(self, now_ms: int) -> dict[Origin, tuple[str, ...]]:
        """Who has held up which origin for long; and when to look again."""
        waiting = [entry for entry in self.topics.values() if entry.holding]
        self._look_ms = now_ms + self._laggard_ms if waiting else None
        late = [entry for entry in waiting if now_ms - entry.since_ms >= self._laggard_ms]
        found: dict[Origin, tuple[str, ...]] = {}
        for origin in sorted({origin for entry in late for origin in entry.telling}):
            holders = sorted(
                (entry.telling[origin], entry.since_ms, place)
                for place, entry in enumerate(late)
                if origin in entry.telling
            )
            clients: dict[str, None] = {}
            for _, _, place in holders:
                clients |= dict.fromkeys(delivery.subscriber.client for delivery in late[place].holding)
                if len(clients) >= LAGGARDS_MAX:
                    break
            found[origin] = tuple(clients)[:LAGGARDS_MAX]
        return found


def _lower(seqs: LowestSeqs, origin: Origin, seq: int) -> None:
    if seq < seqs.get(origin, seq + 1):
        seqs[origin] = seq
