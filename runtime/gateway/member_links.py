"""What one node cannot know alone is asked of every living member, each at its own client port.

Owns: links to the other members, made when somebody asks and let go a minute after the last question. Members that do
not answer in time are left out, and the log names them: an answer about most of a cluster is better than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from loguru import logger

from rollbook.errors import RollbookError
from rollbook.orders import CallBody
from rollbook.status import MemberStatus, NodeStatus
from rollbook.wire import GetStatus
from runtime.gateway.http_views import AsksNode

_LOG = logger.bind(actor="http")
ANSWER_MS = 2_000  # of a member; one that hangs must not cost the caller much
IDLE_MS = 60_000
GOODBYE_SECONDS_MAX = 0.2  # of the 0.8 s that a gateway has to end
_LIVING = ("alive", "suspect")


class MemberLink(Protocol):
    """The part of NodeLink that is needed of a link to a member."""

    def start(self) -> None: ...

    async def ask(self, body: CallBody, timeout_ms: int = 0) -> Any: ...

    async def stop(self) -> None: ...


class Ask(Protocol):
    """A question to one member."""

    async def __call__(self, body: CallBody, /) -> Any: ...


Talk = Callable[[Ask], Awaitable[Any]]


class MemberAnswer(NamedTuple):
    member: MemberStatus
    body: Any


class _KeptMember:
    def __init__(self, link: MemberLink) -> None:
        self.link = link
        self.asked_ms = 0
        self.questions = 0  # under way


class MemberLinks:
    """``dial`` makes the link to a client address. Every method is called on the loop."""

    def __init__(self, own: AsksNode, dial: Callable[[str], MemberLink], now_ms: Callable[[], int]) -> None:
        self._own = own
        self._dial = dial
        self._now_ms = now_ms
        self._kept: dict[str, _KeptMember] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    async def own_status(self) -> NodeStatus:
        """What the own node says of itself, and of all members."""
        status: NodeStatus = await self._own.ask(GetStatus())
        return status

    async def ask_all(self, body: CallBody) -> list[MemberAnswer]:
        """The answers of the living, the own node's first. Raises what the own node says."""
        return await self.each(lambda ask: ask(body))

    async def each(self, talk: Talk) -> list[MemberAnswer]:
        """Likewise where one question leads to the next: ``talk`` is given whom to ask."""
        members = (await self.own_status()).members
        own = next(member for member in members if member.state == "self")
        others = [one for one in members if one.state in _LIVING and one.client_address]
        answers = await asyncio.gather(talk(self._own.ask), *(self._talk(one, talk) for one in others))
        found = [MemberAnswer(own, answers[0])]
        return found + [answer for answer in answers[1:] if answer is not None]

    def look(self) -> None:
        """Let go what nobody has asked for a minute."""
        before_ms = self._now_ms() - IDLE_MS
        for address, kept in list(self._kept.items()):
            if not kept.questions and kept.asked_ms < before_ms:
                del self._kept[address]
                self._end(kept.link)

    async def stop(self) -> None:
        """A member that hangs does not hold up the goodbye to the own node."""
        kept, self._kept = self._kept, {}
        for one in kept.values():
            self._end(one.link)
        if self._ending:
            await asyncio.wait(self._ending, timeout=GOODBYE_SECONDS_MAX)

    def _end(self, link: MemberLink) -> None:
        task = asyncio.get_running_loop().create_task(link.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _talk(self, member: MemberStatus, talk: Talk) -> MemberAnswer | None:
        kept = self._link_to(member.client_address)

        async def ask(body: CallBody) -> Any:
            return await kept.link.ask(body, ANSWER_MS)

        kept.questions += 1
        try:
            return MemberAnswer(member, await talk(ask))
        except RollbookError as error:
            fields = {"node_id": member.node_id, "address": member.client_address, "reason": error.message}
            _LOG.bind(**fields).warning("a member did not answer")
            return None
        finally:
            kept.questions -= 1
            kept.asked_ms = self._now_ms()

    def _link_to(self, address: str) -> _KeptMember:
        kept = self._kept.get(address)
        if kept is None:
            kept = self._kept[address] = _KeptMember(self._dial(address))
            kept.link.start()
        return kept
