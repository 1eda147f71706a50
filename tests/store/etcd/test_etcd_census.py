"""Who is in an etcd, as its members say, and who says nothing: told when it changes, and only then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec

from actors.messages.store import MemberSeen
from runtime.store.etcd_census import EtcdCensus
from runtime.store.etcd_gateway import EtcdAccess
from tests.store.etcd.scripted_etcd import Answer, ScriptedEtcd, ScriptedHandler, content
from tests.store.listening import SECONDS
from tests.support.etcd_cluster import free_url, wait_until
from tests.support.store_settings import ETCD

KNOWN = [{"ID": "5", "name": "a"}, {"ID": "6", "name": "b"}, {"ID": "7", "name": "c", "isLearner": True}]

Seen = dict[str, str]


def status(member: int, leader: int) -> Answer:
    return content(200, json.dumps({"header": {"member_id": str(member)}, "leader": str(leader)}))


def hang_up(handler: ScriptedHandler) -> None:
    handler.close_connection = True


def member(*statuses: Answer) -> ScriptedEtcd:
    listed = [content(200, json.dumps({"members": KNOWN}))]
    return ScriptedEtcd(maintenance__status=list(statuses), cluster__member__list=listed)


@contextmanager
def census(*urls: str) -> Iterator[list[Seen]]:
    """What it has told so far."""
    told: list[Seen] = []
    failures: list[BaseException] = []
    settings = msgspec.structs.replace(ETCD, census_interval_ms=20)

    def tell(members: tuple[MemberSeen, ...]) -> None:
        told.append({each.name: each.state for each in members})

    counting = EtcdCensus(EtcdAccess(endpoints=urls, key_prefix=""), settings, tell, failures.append)
    with closing(counting):
        counting.start()
        yield told
    assert failures == []


def test_a_member_that_does_not_answer_is_silent_and_one_without_a_vote_is_a_learner() -> None:
    with member(status(5, 5)) as first, census(first.url, free_url(), free_url()) as told:
        wait_until(lambda: told, SECONDS, "it is told")
        assert told[0] == {"a": "leader", "b": "silent", "c": "learner"}


def test_a_member_that_nobody_was_told_to_ask_is_called_neither_silent_nor_a_follower() -> None:
    with member(status(5, 5)) as first, census(first.url, free_url()) as told:
        wait_until(lambda: told, SECONDS, "it is told")
        assert told[0] == {"a": "leader", "b": "unasked", "c": "learner"}


def test_only_what_has_changed_is_told_and_who_has_no_leader_says_so() -> None:
    leaderless = status(6, 0)
    with member(status(6, 6), status(6, 6), leaderless) as second, census(second.url, free_url(), free_url()) as told:
        wait_until(lambda: len(told) == 2, SECONDS, "it is told again")
        asked = second.count("/v3/maintenance/status")
        wait_until(lambda: second.count("/v3/maintenance/status") > asked + 2, SECONDS, "it goes on asking")
        assert told == [
            {"a": "silent", "b": "leader", "c": "learner"},
            {"a": "silent", "b": "follower", "c": "learner"},
        ]


def test_when_nobody_answers_any_more_all_that_were_known_are_silent() -> None:
    with member(status(5, 5), status(5, 5), hang_up) as first, census(first.url, free_url(), free_url()) as told:
        wait_until(lambda: len(told) == 2, SECONDS, "it is told again")
        assert told[1] == {"a": "silent", "b": "silent", "c": "silent"}
