"""When PushActor asks for the view of a touched service: at once, then at most once per interval.

Owns what is to be asked for and whether an answer is still to come. There is one question at a time, and it has a
limit: building many views must not hold up registrations. A touch while the view is asked for costs nothing, for the
view will show it; one in the quiet time after a push waits for its end, however many follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from actors.messages.index import ViewsWanted
from actors.push_table import PushAgenda, PushTopic
from rollbook.model import Service

VIEWS_WANTED_MAX = 256  # per question


class ViewQuestions:
    def __init__(self, agenda: PushAgenda, interval_ms: int) -> None:
        self._agenda = agenda
        self._interval_ms = interval_ms
        self._wanted: dict[Service, None] = {}  # to be asked for
        self._is_asking = False

    def touch(self, topic: PushTopic, now_ms: int) -> None:
        if topic.asked or topic.dirty:
            return  # A view that will show this touch is on its way or due.
        if now_ms < topic.quiet_until_ms:
            topic.dirty = True
            self._agenda.schedule(topic.service, topic.quiet_until_ms)
        else:
            self.want(topic)

    def want(self, topic: PushTopic) -> None:
        topic.asked, topic.dirty = True, False
        self._wanted[topic.service] = None

    def forget(self, service: Service) -> None:
        """Its last subscriber has left."""
        self._wanted.pop(service, None)

    def take(self) -> ViewsWanted | None:
        """The next question, unless there is none, or one is not answered yet."""
        if not self._wanted or self._is_asking:
            return None
        services = tuple(islice(self._wanted, VIEWS_WANTED_MAX))
        for service in services:
            del self._wanted[service]
        self._is_asking = True
        return ViewsWanted(services)

    def answered(self) -> None:
        self._is_asking = False

    def rest(self, topic: PushTopic, now_ms: int) -> None:
        """What it shows has been news to somebody: its quiet time begins."""
        topic.quiet_until_ms = now_ms + self._interval_ms

    def check_invariants(self, topics: Mapping[Service, PushTopic]) -> None:
        assert self._wanted.keys() <= topics.keys(), "a view is wanted for nobody"
        assert not self._wanted or self._is_asking, "a view is wanted and nobody is asked"
        for service, topic in topics.items():
            assert not (topic.asked and topic.dirty)
            assert not topic.dirty or service in self._agenda, "nobody looks after a touched service"
            assert topic.asked or service not in self._wanted
