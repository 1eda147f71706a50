"""The connections of one session: the one that serves, the one to come, the one that goes, and those that part.

Owns: which link plays which part. What a part is for, and when it changes hands, is decided in session.py.
"""

from __future__ import annotations

from contextlib import suppress

from rollbook.errors import RemoteProtocolError
from rollbook.link import Link, Request, Stage
from rollbook.numbers import SessionNumbers
from rollbook.orders import Action, Connect, Disconnect, Moment, SessionsChanged
from rollbook.patience import SessionSettings
from rollbook.wire import ANSWER_LIMITS, CloseSession, OpenSession, open_envelope


class Links:
    """It appends what is to be done to ``actions``, which it shares with its session."""

    def __init__(self, actions: list[Action], identity: tuple[str, str, str], settings: SessionSettings) -> None:
        self.current: Link | None = None  # serves
        self.candidate: Link | None = None  # dials and opens, to become current
        self.retiring: Link | None = None  # was current, and stands until its successor has redone everything
        self.parting: list[Link] = []  # have said goodbye, and stand until that was heard
        self.numbers = SessionNumbers()
        self._actions = actions
        self._identity = identity
        self._settings = settings
        self._connections = 0

    def find(self, connection: int) -> Link | None:
        links = (self.current, self.candidate, self.retiring, *self.parting)
        return next((link for link in links if link is not None and link.connection == connection), None)

    def dial(self, server: str, now: Moment) -> None:
        """A new connection for a new session, with a number above all before it."""
        self._connections += 1
        deadline_ms = now.monotonic_ms + self._settings.open_ms
        number = self.numbers.take(now.wall_ms)
        self.candidate = Link(self._connections, server, number, deadline_ms, self._settings.link)
        self._actions.append(Connect(self._connections, server))

    def open(self, link: Link, now: Moment) -> None:
        """The connection stands: ask for the session."""
        client_id, app, agent = self._identity
        link.stage = Stage.OPENING
        link.deadline_ms = now.monotonic_ms + self._settings.open_ms
        self._actions.append(link.ask(Request(OpenSession(client_id, link.session, app, agent), []), now.monotonic_ms))

    def open_above(self, link: Link, highest: int, now: Moment) -> None:
        """The node knows a higher number of this client: ask again above it."""
        self.numbers.learn(highest)
        link.session = self.numbers.take(now.wall_ms)
        self.open(link, now)

    def promote(self, link: Link) -> None:
        """The candidate serves from now on."""
        self.candidate = None
        self.retiring, self.current = self.current, link
        self.tell_sessions()

    def retire(self, now: Moment) -> None:
        """The successor holds everything: the old session may end, and takes nothing with it."""
        if self.retiring is not None:
            self.say_moved(self.retiring, now)
            self.retiring = None
            self.tell_sessions()

    def say_moved(self, link: Link, now: Moment) -> None:
        """A close may overtake the goodbye: with something unread the system resets the connection, and sends nothing
        again that got lost. The node would take the session for dead. So the connection stands until it has answered.
        """
        link.in_flight.clear()
        link.deadline_ms = now.monotonic_ms + self._settings.goodbye_ms
        self._actions.append(link.ask(Request(CloseSession("moved"), []), now.monotonic_ms))
        self.parting.append(link)

    def heard_parting(self, link: Link, payload: bytes) -> None:
        """Nothing else that comes there matters any more."""
        with suppress(RemoteProtocolError):  # it had its say; the deadline ends it
            if open_envelope(payload, ANSWER_LIMITS).correlation in link.in_flight:
                self.part(link)

    def part(self, link: Link) -> None:
        self.parting.remove(link)
        self._actions.append(Disconnect(link.connection))

    def part_overdue(self, now: Moment) -> None:
        for link in [link for link in self.parting if now.monotonic_ms >= link.deadline_ms]:
            self.part(link)

    def hang_up(self) -> None:
        """The end of everything."""
        links = (self.current, self.candidate, self.retiring, *self.parting)
        self._actions += [Disconnect(link.connection) for link in links if link is not None]
        self.current = self.candidate = self.retiring = None
        self.parting.clear()
        self.tell_sessions()

    def tell_sessions(self) -> None:
        live = frozenset(link.session for link in (self.current, self.retiring) if link is not None)
        self._actions.append(SessionsChanged(live, "" if self.current is None else self.current.server))

    def check_invariants(self) -> None:
        links = [link for link in (self.current, self.candidate, self.retiring, *self.parting) if link is not None]
        assert len({link.connection for link in links}) == len(links), "a link plays one part"
        assert len({link.session for link in links}) == len(links), "a number is used once"
        assert self.current is None or self.current.stage is Stage.SERVING
        assert self.candidate is None or self.candidate.stage is not Stage.SERVING
        assert self.retiring is None or self.current is not None, "nothing retires without a successor"
        assert all(len(link.in_flight) == 1 for link in self.parting), "who parts waits for one answer"
