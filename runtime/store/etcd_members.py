"""Who belongs to an etcd of ours, and how a member that is lost is replaced without risking the majority.

Removed first, so that the majority is counted without it; added as a learner, which has no vote until it has caught up;
promoted then. Each step can be repeated: whoever was interrupted begins again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from runtime.store.etcd_gateway import (
    PLAIN_ANSWER,
    Endpoints,
    EtcdAccess,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    answer_decoder,
    encode_request,
    tls_context,
)
from runtime.store.etcd_reads import MEMBERS_ANSWER, EtcdMember
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.port import StoreFault, Unavailable

T = TypeVar("T")


class _AddAnswer(msgspec.Struct):
    member: EtcdMember


_ADD_ANSWER = answer_decoder(_AddAnswer)

# What passes by itself: a vote just lost, a member that has yet to hear of its peers, a learner that still catches up.
_PASSING = (
    "etcdserver: unhealthy cluster",
    "etcdserver: re-configuration failed due to not enough started members",
    "etcdserver: can only promote a learner member which is in sync with leader",
    "etcdserver: no leader",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "etcdserver: rpc not supported for learner",  # another member takes it
    "etcdserver: Peer URLs already exists",  # added before, but this member has yet to hear of it
)
_NO_SUCH_MEMBER = "etcdserver: member not found"


class EtcdMembers:
    """Of one thread; close it last."""

    def __init__(self, access: EtcdAccess, settings: EtcdSettings) -> None:
        self._pause_seconds = settings.retry_interval_ms / 1_000
        self._answer_seconds_max = settings.answer_ms_max / 1_000
        self._link = GatewayLink(access, Endpoints(access.endpoints), tls_context(access), settings)

    def known(self, timeout_seconds: float) -> list[EtcdMember]:
        deadline = time.monotonic() + timeout_seconds
        answer = self._patiently(
            lambda until: self._link.ask("/v3/cluster/member/list", b"{}", MEMBERS_ANSWER, until), deadline
        )
        return sorted(answer.members, key=lambda member: (member.name, member.member_id))

    def remove(self, member_id: str, timeout_seconds: float) -> None:
        """Gone is gone: also if it was gone before."""
        self._change("remove", {"ID": member_id}, timeout_seconds, done=_NO_SUCH_MEMBER)

    def add_learner(self, peer_url: str, timeout_seconds: float) -> EtcdMember:
        """The one with this URL, if it was added before: an answer may have been lost."""
        deadline = time.monotonic() + timeout_seconds
        request = encode_request({"peerURLs": [peer_url], "isLearner": True})

        def add(until: float) -> EtcdMember:
            there = self._link.ask("/v3/cluster/member/list", b"{}", MEMBERS_ANSWER, until).members
            if (known := next((member for member in there if peer_url in member.peer_urls), None)) is not None:
                return known
            return self._link.ask("/v3/cluster/member/add", request, _ADD_ANSWER, until).member

        return self._patiently(add, deadline)

    def promote(self, member_id: str, timeout_seconds: float) -> None:
        """Waits until the learner has caught up."""
        self._change(
            "promote", {"ID": member_id}, timeout_seconds, done="etcdserver: can only promote a learner member"
        )

    def close(self) -> None:
        self._link.close()

    def _change(self, verb: str, request: dict[str, object], timeout_seconds: float, *, done: str) -> None:
        content = encode_request(request)

        def change(until: float) -> None:
            try:
                self._link.ask(f"/v3/cluster/member/{verb}", content, PLAIN_ANSWER, until)
            except Refusal as refusal:
                if refusal.sentence != done:
                    raise

        self._patiently(change, time.monotonic() + timeout_seconds)

    def _patiently(self, ask: Callable[[float], T], deadline: float) -> T:
        while True:
            try:
                return ask(min(deadline, time.monotonic() + self._answer_seconds_max))
            except (NotSent, NoAnswer) as trouble:
                reason = str(trouble)
            except Refusal as refusal:
                reason = refusal.sentence
                if not reason.startswith(_PASSING):
                    raise StoreFault(f"etcd does not change its members: {reason}") from None
            if time.monotonic() + self._pause_seconds >= deadline:
                raise Unavailable(f"etcd does not change its members: {reason}")
            self._link.leave()
            time.sleep(self._pause_seconds)


def admit_member(
    members: EtcdMembers, name: str, peer_url: str, seated_urls: Sequence[str], timeout_seconds: float
) -> tuple[tuple[str, str], ...]:
    """Make room for one that has nothing: its own former self goes, else one without a seat, if there is any.

    Name and peer URL of all, for the one that is to start on an empty directory and join them. It has no vote yet.
    """
    deadline = time.monotonic() + timeout_seconds
    known = members.known(timeout_seconds)
    former = [member for member in known if peer_url in member.peer_urls]
    unseated = [member for member in known if not set(seated_urls).intersection(member.peer_urls)]
    for member in (former or unseated)[:1]:  # one at a time keeps the majority
        members.remove(member.member_id, deadline - time.monotonic())
    learner = members.add_learner(peer_url, deadline - time.monotonic())
    return peers_of(members.known(deadline - time.monotonic()), learner.member_id, name)


def peers_of(known: list[EtcdMember], own_id: str, own_name: str) -> tuple[tuple[str, str], ...]:
    """For the plan of a member that joins: the list does not know its name before it has started."""
    return tuple(
        (own_name if member.member_id == own_id else member.name, url) for member in known for url in member.peer_urls
    )
