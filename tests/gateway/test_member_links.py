"""Links to all members, made when somebody asks, against nodes that a script plays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollbook.errors import ClusterUnreachable, Refused, RequestTimeout, RollbookError
from rollbook.known_clients import ClientShown, GetClient
from rollbook.orders import CallBody
from rollbook.status import MemberStatus, NodeStatus
from rollbook.wire import GetStatus
from runtime.gateway.member_links import ANSWER_MS, IDLE_MS, MemberLinks

QUESTION = GetClient("c")


def member(number: int, state: str, address: str | None = None) -> MemberStatus:
    where = f"h{number}:2" if address is None else address
    return MemberStatus(f"n{number}", f"h{number}:3", where, state, True, 7, 40)


class PlayedNode:
    """Answers with its own name, or as it was told."""

    def __init__(self, name: str, members: tuple[MemberStatus, ...] = ()) -> None:
        self.name = name
        self.has_given_up = False
        self.error: RollbookError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.timeouts: list[int] = []
        self.life: list[str] = []
        self._members = members

    async def ask(self, body: CallBody, timeout_ms: int = 0) -> Any:
        if isinstance(body, GetStatus):
            return NodeStatus(self.name, 7, 1, True, "ready", False, 0, 0, self._members)
        self.timeouts.append(timeout_ms)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return ClientShown(self.name)

    def start(self) -> None:
        self.life.append("start")

    async def stop(self) -> None:
        await self.gate.wait()
        self.life.append("stop")


class PlayedCluster:
    def __init__(self, *others: MemberStatus) -> None:
        self.now_ms = 0
        self.own = PlayedNode("n0", (member(0, "self"), *others))
        self.dialled: dict[str, PlayedNode] = {}
        self.links = MemberLinks(self.own, self._dial, lambda: self.now_ms)

    def _dial(self, address: str) -> PlayedNode:
        assert address not in self.dialled, "one link to each"
        played = self.dialled[address] = PlayedNode(address)
        return played

    async def answers(self) -> list[tuple[str, str]]:
        return [(each.member.node_id, each.body.client_id) for each in await self.links.ask_all(QUESTION)]


def test_the_living_are_asked_and_the_own_node_answers_first() -> None:
    async def run() -> None:
        dead = (member(3, "hidden"), member(4, "left"), member(5, "unreachable"), member(6, "alive", ""))
        cluster = PlayedCluster(member(1, "alive"), member(2, "suspect"), *dead)
        assert await cluster.answers() == [("n0", "n0"), ("n1", "h1:2"), ("n2", "h2:2")]
        assert await cluster.answers() == [("n0", "n0"), ("n1", "h1:2"), ("n2", "h2:2")]
        assert [played.life for played in cluster.dialled.values()] == [["start"], ["start"]]
        assert cluster.dialled["h1:2"].timeouts == [ANSWER_MS] * 2
        await cluster.links.stop()
        assert [played.life for played in cluster.dialled.values()] == [["start", "stop"]] * 2

    asyncio.run(run())


def test_who_does_not_answer_is_left_out_but_the_own_node_must() -> None:
    async def run() -> None:
        cluster = PlayedCluster(member(1, "alive"), member(2, "alive"))
        await cluster.answers()
        cluster.dialled["h1:2"].error = RequestTimeout("too late")
        assert await cluster.answers() == [("n0", "n0"), ("n2", "h2:2")]
        cluster.own.error = Refused("no")
        with pytest.raises(Refused):
            await cluster.answers()
        cluster.own.error = ClusterUnreachable("it is away")
        with pytest.raises(ClusterUnreachable):
            await cluster.answers()

    asyncio.run(run())


def test_a_link_is_let_go_a_minute_after_the_last_question_and_not_during_one() -> None:
    async def run() -> None:
        cluster = PlayedCluster(member(1, "alive"))
        await cluster.answers()
        cluster.now_ms = IDLE_MS
        cluster.links.look()
        assert len(cluster.links) == 1
        cluster.dialled["h1:2"].gate.clear()
        asking = asyncio.create_task(cluster.answers())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cluster.now_ms = 3 * IDLE_MS
        cluster.links.look()
        assert len(cluster.links) == 1, "somebody is asking"
        cluster.dialled["h1:2"].gate.set()
        await asking
        cluster.now_ms += IDLE_MS + 1
        cluster.links.look()
        assert len(cluster.links) == 0
        await cluster.links.stop()
        assert cluster.dialled["h1:2"].life == ["start", "stop"]

    asyncio.run(run())


def test_a_member_that_hangs_does_not_hold_up_the_end() -> None:
    async def run() -> None:
        cluster = PlayedCluster(member(1, "alive"), member(2, "alive"))
        await cluster.answers()
        hanging, other = cluster.dialled["h1:2"], cluster.dialled["h2:2"]
        hanging.gate.clear()
        await cluster.links.stop()
        assert (hanging.life, other.life) == (["start"], ["start", "stop"])
        hanging.gate.set()

    asyncio.run(run())
