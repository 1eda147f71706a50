"""Which members an etcd has, whom they follow, and who does not answer: for people, asked for every few seconds.

A thread of its own, since a member that was stopped lets whoever asks wait. It tells only what has changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from actors.messages.store import MemberSeen
from runtime.store.etcd_gateway import (
    Endpoints,
    EtcdAccess,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    member_status,
    tls_context,
)
from runtime.store.etcd_reads import MEMBERS_ANSWER, EtcdMember
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.threads import OnFailure, guarded_thread

ASK_SECONDS_MAX = 1.0  # of one member


class EtcdCensus:
    def __init__(
        self,
        access: EtcdAccess,
        settings: EtcdSettings,
        tell: Callable[[tuple[MemberSeen, ...]], None],
        on_failure: OnFailure,
    ) -> None:
        tls = tls_context(access)
        self._links = [GatewayLink(access, Endpoints((url,)), tls, settings) for url in access.endpoints]
        self._interval_seconds = settings.census_interval_ms / 1_000
        self._tell = tell
        self._told: tuple[MemberSeen, ...] = ()
        self._closed = threading.Event()
        self._thread = guarded_thread("etcd-census", self._run, on_failure)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        for link in self._links:
            link.interrupt()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                if (members := self._count(self._told)) != self._told and not self._closed.is_set():
                    self._told = members
                    self._tell(members)
                self._closed.wait(self._interval_seconds)
        finally:
            for link in self._links:
                link.close()

    def _count(self, told: tuple[MemberSeen, ...]) -> tuple[MemberSeen, ...]:
        leaders: dict[str, str] = {}  # whom a member follows, by who it is
        known: list[EtcdMember] = []
        for link in self._links:
            if self._closed.is_set():
                break
            deadline = time.monotonic() + ASK_SECONDS_MAX
            try:
                status = member_status(link, deadline)
                leaders[status.header.member_id] = status.leader
                # One that is cut off knows fewer or former ones; whoever has a leader is not.
                if not known or status.leader not in ("", "0"):
                    known = _members(link, deadline)
            except (NotSent, NoAnswer, Refusal):
                continue
        if not leaders:  # then those of before are silent
            return tuple(MemberSeen(member.name, "silent") for member in told)
        asks_all = len(self._links) >= len(known)
        return tuple(_seen(member, leaders, asks_all) for member in sorted(known, key=lambda member: member.name))


def _members(link: GatewayLink, deadline: float) -> list[EtcdMember]:
    return link.ask("/v3/cluster/member/list", b"{}", MEMBERS_ANSWER, deadline, needs_leader=False).members


def _seen(member: EtcdMember, leaders: dict[str, str], asks_all: bool) -> MemberSeen:
    name = member.name or " ".join(member.peer_urls)
    if member.is_learner:
        return MemberSeen(name, "learner")
    if member.member_id not in leaders and asks_all:
        return MemberSeen(name, "silent")
    if member.member_id in leaders.values():
        return MemberSeen(name, "leader")
    return MemberSeen(name, "follower" if member.member_id in leaders else "unasked")
