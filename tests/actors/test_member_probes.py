"""MemberManager above ten members: one probe a beat, help of others, accusations, links that take turns."""

from __future__ import annotations

from typing import TypeVar

import pytest

from actors.base import Effect, Remind
from actors.messages.distro import DigestRound, PeersChanged
from actors.messages.io import Beat
from actors.messages.members import LinkClosed
from actors.messages.peers import Accusation, Digest, LinkPing, LinkPong, ProbeAnswered, ProbeAsked
from actors.probing import FavourDue, ProbeDue
from tests.support.member_node import EPOCH, MemberNode, entry, frames, messages, peer, pinged

T = TypeVar("T")
OTHERS = "bcdefghijkl"


def large() -> MemberNode:
    """Node a among twelve, all linked and heard."""
    node = MemberNode("a" + OTHERS)
    node.connect(*OTHERS)
    for name in OTHERS:
        node.digest(name)
    node.effects.clear()
    return node


def due(effects: list[Effect], kind: type[T]) -> list[tuple[int, T]]:
    return [(e.delay_ms, e.message) for e in effects if isinstance(e, Remind) and isinstance(e.message, kind)]


def probe(node: MemberNode) -> tuple[str, list[Effect]]:
    """A second later: whom the beat probes, and what else it does. Others answer their pings; the probed one not."""
    node.ms += 1_000
    effects = node.beat()
    ((_, message),) = due(effects, ProbeDue)
    target = node.manager._prober._probe
    assert target is not None
    assert target.sent_at_ms == message.number
    for link in pinged(effects):
        if link != f"to-{target.target.owner}":
            node.receive(link, LinkPong(node.ms))
    return target.target.owner, effects


def unanswered(node: MemberNode) -> tuple[str, list[tuple[str, ProbeAsked]]]:
    """A probe without an answer in time: whom it was for, and who is asked instead."""
    target, effects = probe(node)
    ((delay_ms, message),) = due(effects, ProbeDue)
    node.ms += delay_ms
    return target, frames(node.tell(message), ProbeAsked)


def accusations(effects: list[Effect]) -> tuple[Accusation, ...]:
    return messages(effects, DigestRound)[-1].digest.accusations


def test_each_beat_probes_another_member_and_pings_no_more_links_than_its_share() -> None:
    node = large()
    probed = set()
    for _ in OTHERS:
        target, effects = probe(node)
        node.pong(f"to-{target}")
        probed.add(target)
        assert 8 <= len(pinged(effects)) <= 9
    assert probed == set(OTHERS)


def test_every_link_has_its_turn() -> None:
    node = large()
    pinged_links: set[str] = set()
    for _ in range(4):
        target, effects = probe(node)
        node.pong(f"to-{target}")
        pinged_links |= set(pinged(effects))
    assert pinged_links == {f"to-{name}" for name in OTHERS}


def test_a_member_that_does_not_answer_is_probed_by_three_others() -> None:
    node = large()
    target, asked = unanswered(node)
    assert len({link for link, _ in asked}) == 3
    assert {body.node_id for _, body in asked} == {target}
    assert f"to-{target}" not in {link for link, _ in asked}


def test_whom_nobody_reaches_is_accused_at_the_next_beat() -> None:
    node = large()
    target, asked = unanswered(node)
    for link, body in asked:
        node.receive(link, ProbeAnswered(body.number, body.node_id, reached=False))
    node.ms += 600
    assert accusations(node.beat()) == (Accusation(target, EPOCH, 1, (), ("a",)),)
    assert node.manager._prober._health.score == 0, "all helpers have answered: it is not this node that hears badly"


def test_whom_one_helper_reaches_is_not_accused() -> None:
    node = large()
    _, asked = unanswered(node)
    link, body = asked[1]
    node.receive(link, ProbeAnswered(body.number, body.node_id, reached=True))
    node.ms += 600
    assert accusations(node.beat()) == ()


def test_a_late_answer_of_its_own_is_an_answer() -> None:
    node = large()
    target, asked = unanswered(node)
    node.receive(f"to-{target}", LinkPong(asked[0][1].number))
    node.ms += 600
    assert accusations(node.beat()) == ()


def test_a_node_whose_helpers_are_silent_too_doubts_its_own_ears_and_waits_longer() -> None:
    node = large()
    unanswered(node)
    node.ms += 600
    node.beat()
    assert node.manager._prober._health.score == 3
    ((delay_ms, _),) = due(node.effects, ProbeDue)[-1:]
    assert delay_ms == 4 * node.settings.probe_timeout_ms


def test_a_node_that_was_paused_accuses_nobody() -> None:
    node = large()
    probe(node)
    node.ms += 20_000
    assert accusations(node.beat()) == ()


# Probes for others.


def test_a_probe_for_somebody_else_is_answered_when_the_member_answers() -> None:
    node = large()
    effects = node.receive("to-b", ProbeAsked(77, "c"))
    assert [link for link, _ in frames(effects, LinkPing)] == ["to-c"]
    assert frames(node.pong("to-c"), ProbeAnswered) == [("to-b", ProbeAnswered(77, "c", True))]
    ((delay_ms, message),) = due(effects, FavourDue)
    node.ms += delay_ms
    assert node.tell(message) == [], "once"


def test_a_probe_for_somebody_else_is_answered_also_when_the_member_is_silent() -> None:
    node = large()
    ((delay_ms, message),) = due(node.receive("to-b", ProbeAsked(77, "c")), FavourDue)
    node.ms += delay_ms
    assert frames(node.tell(message), ProbeAnswered) == [("to-b", ProbeAnswered(77, "c", False))]


def test_who_has_no_way_to_a_member_says_so_at_once() -> None:
    node = large()
    assert frames(node.receive("to-b", ProbeAsked(77, "z")), ProbeAnswered) == [("to-b", ProbeAnswered(77, "z", False))]


# Links that break, and what others say.


@pytest.mark.parametrize(("age_ms", "expected"), [(2_900, ()), (3_000, (Accusation("c", EPOCH, 1, (), ("a",)),))])
def test_a_link_that_breaks_accuses_only_together_with_a_heart_that_stopped(
    age_ms: int, expected: tuple[Accusation, ...]
) -> None:
    node = large()
    node.ms += age_ms
    node.tell(LinkClosed("to-c", peer("c"), "silent"))
    assert node.round().accusations == expected


def test_what_a_digest_says_is_passed_on_until_a_heartbeat_refutes_it() -> None:
    node = large()
    said = Accusation("c", EPOCH, 1, ("d",), ("e",))
    node.digest("b", accusations=(said,))
    assert node.round().accusations == (said,)
    node.digest("c")
    assert node.round().accusations == ()


def test_a_node_that_is_accused_itself_beats_at_once_and_only_once() -> None:
    node = large()
    node.round()
    said = Accusation("a", EPOCH, 1, (), ("d",))
    assert messages(node.digest("b", accusations=(said,)), Beat) == [Beat(0)]
    node.beat()
    assert messages(node.digest("c", accusations=(said,)), Beat) == []
    assert node.manager._prober._health.score == 1


def test_a_digest_of_a_large_cluster_names_some_members_at_a_time_and_in_the_end_all() -> None:
    names = [f"n{number:02}" for number in range(30)]
    node = MemberNode("")
    node.list_members(["a", *names])
    node.connect(*names)
    rounds = [[node_id for _, node_id, _ in node.round().members] for _ in range(3)]
    assert [len(each) for each in rounds] == [16, 16, 16]
    assert {node_id for each in rounds for node_id in each} == set(names)
    assert node.round().links == ()


def test_who_was_out_of_hearing_is_told_everything_as_soon_as_it_can_be_reached() -> None:
    node = large()
    node.tell(LinkClosed("to-c", peer("c"), "silent"))
    node.run(20)
    (greeting,) = [e for e in node.connect("c") if isinstance(e, Remind) and e.delay_ms == 150]
    assert [link for link, _ in frames(node.tell(greeting.message), Digest)] == ["to-c"]
    node.digest("c")
    node.tell(LinkClosed("to-c", peer("c"), "reset"))
    heard = node.connect("c")
    assert not [e for e in heard if isinstance(e, Remind) and e.delay_ms == 150], "its heart was heard all the time"


# Who counts as living.


def test_a_node_that_hears_no_majority_goes_on_counting_those_it_heard_last() -> None:
    node = MemberNode().running("bc")
    node.run(1, "bc")
    node.kill("b", "silent")
    node.kill("c", "silent")
    node.run(20)
    told = node.take(PeersChanged)[-1]
    assert (told.peers, told.living) == ((), ("b", "c"))


def test_whoever_was_lost_first_is_named_too_once_the_majority_is_lost() -> None:
    node = MemberNode().running("bc")
    node.kill("b", "silent")
    node.run(6, "c")
    node.kill("c", "silent")
    node.run(6)
    assert [told.living for told in node.take(PeersChanged)][-2:] == [("c",), ("b", "c")]


def test_a_majority_goes_on_without_who_is_gone() -> None:
    node = MemberNode().running("bc")
    node.kill("c", "silent")
    node.run(6, "b")
    assert node.take(PeersChanged)[-1].living == ("b",)


def test_a_heartbeat_older_than_in_a_small_cluster_is_still_one_of_a_living_member() -> None:
    node = large()
    node.ms += 5_000
    node.digest("b", entry("c", node.heartbeats["c"]))
    node.tell(LinkClosed("to-l", peer("l"), "silent"))
    node.beat()
    assert set(OTHERS) <= set(node.take(PeersChanged)[-1].living)
