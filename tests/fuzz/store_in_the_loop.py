"""The store of a node in one loop: it does at once what it is told, and says at once what came of it.

Rows and log are those of the simulation; what no engine takes is refused as every engine refuses it.
"""

from __future__ import annotations

import random
from typing import Any, assert_never

from actors.base import Role, Tell
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    CutTaken,
    FollowEnded,
    FollowOrdered,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
)
from runtime.simulation.store import SimStore
from runtime.store.port import TooLarge, check_proposal


class StoreInTheLoop:
    def __init__(self) -> None:
        self.rows = SimStore(random.Random(1), is_shared=False)
        self._follows: dict[str, int] = {}  # by follower: the last index told

    @property
    def store_id(self) -> str:
        return self.rows.store_id

    def told(self, message: ProposalsMade | FollowOrdered | FollowEnded) -> list[Tell]:
        """What it says to that."""
        match message:
            case ProposalsMade():
                return [tell for proposal in message.proposals for tell in self._proposed(proposal, message.asker)]
            case FollowOrdered():
                return self._followed(message)
            case FollowEnded():
                self._follows.pop(message.follower, None)
                return []
            case _:
                assert_never(message)

    def _proposed(self, proposal: Proposal, asker: str) -> list[Tell]:
        try:
            check_proposal(proposal.operations, proposal.expectations)
        except TooLarge as fault:
            refused = ProposalSettled(proposal.number, None, "too_large", str(fault))
            return [_said(asker, ProposalsSettled((refused,), asker))]
        settled = ProposalSettled(proposal.number, self.rows.write(proposal))
        return [_said(asker, ProposalsSettled((settled,), asker)), *self._news()]

    def _followed(self, order: FollowOrdered) -> list[Tell]:
        told: list[Tell] = []
        after = order.after
        if after == NOTHING:
            cut = self.rows.cut()
            told.append(_said(order.follower, CutTaken(cut, order.follower, self.store_id)))
            after = cut.index
        self._follows[order.follower] = after
        return [*told, *self._news()]

    def _news(self) -> list[Tell]:
        told: list[Tell] = []
        for follower, after in self._follows.items():
            changes = self.rows.since(after)
            if changes:
                self._follows[follower] = changes[-1].index
                told.append(_said(follower, ChangesSeen(tuple(changes), changes[-1].index, follower)))
        return told


def _said(follower: str, message: Any) -> Tell:
    return Tell(Role.HOME if follower else Role.PERSISTENT, message)
