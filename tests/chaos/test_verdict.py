"""The verdict on small histories: what is right passes, and each broken promise is named."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.chaos.stalls import Stall
from tests.chaos.verdict import RESIDENT_KIB_MAX, Verdict
from tests.support.history import (
    ClientEnded,
    Event,
    FaultBegan,
    FaultEnded,
    MemorySeen,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    PathSeen,
    SessionSeen,
    ViewSeen,
)

NODES = ("n1", "n2", "n3")
HERE, THERE = "10.0.0.1:1", "10.0.0.1:2"
LOOK_MS = 300
END_MS = 60_000


def table(at_ms: int, node: str, instances: dict[str, str], flags: tuple[str, ...] = ()) -> ViewSeen:
    return ViewSeen(at_ms, node, "table", node, 1, "s", at_ms, instances, flags, asked_ms=at_ms - 5)


class Story:
    """Three nodes that an observer looks at, and one client at n1 that has published one instance."""

    def __init__(self) -> None:
        self.events: list[Event] = [NodeSeen(0, node, "started") for node in NODES]
        self.events += [table(1, node, {}) for node in NODES] + [NodeSeen(2, node, "ready") for node in NODES]
        self.add(SessionSeen(100, "w1", "n1", 7), OrderSent(200, "w1", 1, "publish", "s", {HERE: "1"}))
        self.add(OrderAnswered(210, "w1", 1))
        self.seen = {node: [(250, END_MS, {HERE: "1"})] for node in NODES}
        self.stalls: list[Stall] = []

    def add(self, *events: Event) -> None:
        self.events += events

    def fault(self, from_ms: int, to_ms: int, number: int = 1) -> None:
        self.add(FaultBegan(from_ms, number, "stop", "n3 stands still", ("n3",)), FaultEnded(to_ms, number))

    def lists(self, node: str, *spans: tuple[int, int, dict[str, str]]) -> None:
        """What this node lists, from when until when."""
        self.seen[node] = list(spans)

    def confirmed(self, at_ms: int) -> None:
        """The client publishes another instance and is told that the whole cluster has it; all nodes list it then."""
        self.add(OrderSent(at_ms - 50, "w1", 2, "publish", "s", {THERE: "1"}, "cluster"), OrderAnswered(at_ms, "w1", 2))
        both = {HERE: "1", THERE: "1"}
        self.seen = {node: [(250, at_ms, {HERE: "1"}), (at_ms, END_MS, both)] for node in NODES}

    def judged(self, complaints: Iterable[str] = ()) -> Verdict:
        for node, spans in self.seen.items():
            for from_ms, to_ms, instances in spans:
                self.add(*(table(at_ms, node, instances) for at_ms in range(from_ms, to_ms, LOOK_MS)))
        verdict = Verdict(NODES)
        for event in sorted(self.events, key=lambda event: event.at_ms):
            verdict.see(event)
        verdict.conclude(complaints, self.stalls)
        return verdict


def broken(verdict: Verdict) -> set[str]:
    return {invariant for invariant, _ in verdict.violations}


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_quiet_history_breaks_nothing_and_is_looked_at(story: Story) -> None:
    story.fault(10_000, 20_000)
    verdict = story.judged()
    assert broken(verdict) == set()
    assert verdict.convergences_ms() == [0]
    assert verdict.checks.counts["A2"] > 100
    assert (verdict.faults["stop"], verdict.orders["publish"], verdict.views["table"] > 500) == (1, 1, True)


def test_a_node_that_lists_the_past_within_three_seconds_of_the_heal_is_measured(story: Story) -> None:
    story.fault(10_000, 20_000)
    story.add(OrderSent(15_000, "w1", 2, "publish", "s", {HERE: "2"}), OrderAnswered(15_010, "w1", 2))
    for node in ("n1", "n2"):
        story.lists(node, (250, 15_005, {HERE: "1"}), (15_020, END_MS, {HERE: "2"}))
    story.lists("n3", (250, 21_800, {HERE: "1"}), (22_000, END_MS, {HERE: "2"}))
    verdict = story.judged()
    assert 1_500 < verdict.convergences_ms()[0] <= 1_800
    assert "A1" not in broken(verdict)


def test_a_node_that_lists_the_past_for_longer_breaks_a1(story: Story) -> None:
    story.fault(10_000, 20_000)
    story.add(OrderSent(15_000, "w1", 2, "publish", "s", {HERE: "2"}), OrderAnswered(15_010, "w1", 2))
    for node in ("n1", "n2"):
        story.lists(node, (250, 15_005, {HERE: "1"}), (15_020, END_MS, {HERE: "2"}))
    story.lists("n3", (250, 26_000, {HERE: "1"}), (26_100, END_MS, {HERE: "2"}))
    story.stalls.append(Stall(21_000, 400))
    verdict = story.judged()
    assert "A1" in broken(verdict)
    assert any("longest stall 400 ms" in violation.text for violation in verdict.violations.values())


def test_a_peace_too_short_to_prove_anything_is_not_counted(story: Story) -> None:
    story.fault(10_000, 20_000)
    story.fault(22_000, 30_000, 2)
    assert len(story.judged().convergences_ms()) == 1


def test_a_live_instance_that_a_node_drops_breaks_a9(story: Story) -> None:
    story.lists("n2", (250, 30_000, {HERE: "1"}), (30_200, 30_800, {}), (31_000, END_MS, {HERE: "1"}))
    assert "A9" in broken(story.judged())


def test_a_zombie_is_measured_and_breaks_a3(story: Story) -> None:
    story.add(ClientEnded(30_000, "w1", "killed"), SessionSeen(30_001, "w1"))
    for node in NODES:
        story.lists(node, (250, 30_200, {HERE: "1"}), (30_300, END_MS, {}))
    assert broken(story.judged()) == set()
    story.lists("n2", (250, 55_000, {HERE: "1"}), (55_100, END_MS, {}))
    verdict = story.judged()
    assert "A3" in broken(verdict)
    assert max(verdict.zombie_ms.values()) > 20_000


def test_how_long_clients_are_listed_that_died_with_their_node_is_measured(story: Story) -> None:
    story.add(NodeSeen(30_000, "n1", "crashed"), ClientEnded(30_001, "w1", "killed"))
    story.lists("n1", (250, 30_000, {HERE: "1"}))
    for node in ("n2", "n3"):
        story.lists(node, (250, 37_000, {HERE: "1"}), (37_100, END_MS, {}))
    verdict = story.judged()
    assert "A3" not in broken(verdict)
    assert list(verdict.orphan_ms) == [("s", HERE)]
    assert 6_500 < verdict.orphan_ms["s", HERE] < 7_000


def test_what_is_wrong_at_the_end_breaks_a1(story: Story) -> None:
    story.add(OrderSent(END_MS - 400, "w1", 2, "publish", "s", {HERE: "2"}), OrderAnswered(END_MS - 390, "w1", 2))
    assert "A1" in broken(story.judged())


def test_an_instance_listed_twice_breaks_a6(story: Story) -> None:
    story.add(table(20_000, "n1", {HERE: "1"}, ("doubled",)))
    assert "A6" in broken(story.judged())


def test_memory_above_its_cap_breaks_a11(story: Story) -> None:
    story.add(MemorySeen(20_000, "n1", RESIDENT_KIB_MAX), MemorySeen(20_000, "n2", RESIDENT_KIB_MAX + 1))
    verdict = story.judged()
    assert [subject for invariant, subject in verdict.violations if invariant == "A11"] == ["n2"]


def test_what_nodes_did_that_no_fault_excuses_counts(story: Story) -> None:
    assert broken(story.judged(["n1 ended with 1 though no fault asks it to"])) == {"node"}


def test_a_node_that_died_by_itself_counts_even_if_it_came_back_at_once(story: Story) -> None:
    story.add(NodeSeen(20_000, "n2", "started"), table(20_001, "n2", {HERE: "1"}), NodeSeen(20_002, "n2", "ready"))
    assert broken(story.judged()) == {"node"}


def test_a_node_that_a_fault_killed_may_come_back(story: Story) -> None:
    story.add(NodeSeen(20_000, "n2", "crashed"), NodeSeen(20_001, "n2", "started"))
    story.add(table(20_002, "n2", {HERE: "1"}), NodeSeen(20_003, "n2", "ready"))
    assert broken(story.judged()) == set()


def test_a_subscriber_that_is_shown_an_older_list_breaks_a7(story: Story) -> None:
    views = [
        ViewSeen(at_ms, "w1", "push", "n1", 7, "s", version, {HERE: "1"})
        for at_ms, version in ((20_000, 5), (20_100, 4))
    ]
    story.add(OrderSent(1_000, "w1", 2, "subscribe", "s"), *views)
    assert "A7" in broken(story.judged())


def test_what_is_long_gone_is_forgotten_only_where_nobody_lists_it(story: Story) -> None:
    story.add(OrderSent(1_000, "w1", 2, "publish", "s", {"10.0.0.1:2": "2"}), OrderAnswered(1_010, "w1", 2))
    story.add(OrderSent(2_000, "w1", 3, "withdraw", "s", {"10.0.0.1:2": ""}), OrderAnswered(2_010, "w1", 3))
    story.seen = {node: [(250, 200_000, {HERE: "1"})] for node in NODES}
    verdict = story.judged()
    assert ("s", "10.0.0.1:2") not in verdict.checks.claims.of_listed
    assert ("s", HERE) in verdict.checks.claims.of_listed


def test_what_the_whole_cluster_was_said_to_have_is_looked_for_at_every_node(story: Story) -> None:
    story.confirmed(20_000)
    verdict = story.judged()
    assert (broken(verdict), verdict.promises.looks) == (set(), 3)


def test_a_node_that_does_not_list_what_the_cluster_was_said_to_have_breaks_a2(story: Story) -> None:
    story.confirmed(20_000)
    # For less than any bound of time, so that no other check could object.
    story.lists("n3", (250, 20_400, {HERE: "1"}), (20_500, END_MS, {HERE: "1", THERE: "1"}))
    (violation,) = story.judged().violations.values()
    assert violation.invariant == "A2"
    assert "n1 told w1 at 20000 ms that everybody has 10.0.0.1:2 of s, and n3, asked at 20045 ms" in violation.text


def test_a_list_that_was_asked_for_before_the_cluster_was_said_to_have_it_proves_nothing(story: Story) -> None:
    story.confirmed(20_000)
    late = ViewSeen(20_010, "n3", "table", "n3", 1, "s", 20_010, {HERE: "1"}, asked_ms=19_990)
    story.add(late)
    verdict = story.judged()
    assert (broken(verdict), verdict.promises.looks) == (set(), 3)


def test_an_instance_whose_client_was_just_losing_its_session_is_not_missed(story: Story) -> None:
    story.confirmed(20_000)
    story.lists("n3", (250, 20_400, {HERE: "1"}), (20_500, END_MS, {HERE: "1", THERE: "1"}))
    story.add(SessionSeen(20_800, "w1"), SessionSeen(21_000, "w1", "n2", 8))
    verdict = story.judged()
    assert (broken(verdict), verdict.promises.looks) == (set(), 3)


@pytest.mark.parametrize("kind", ["cut", "loss"])
def test_nobody_asks_a_node_for_it_that_may_rightly_be_taken_for_dead(story: Story, kind: str) -> None:
    story.add(FaultBegan(19_000, 1, kind, "n3 is hard to reach", ("n3",)), FaultEnded(21_000, 1))
    if kind == "cut":
        story.add(*(PathSeen(19_000, "n3", other, carries=False) for other in ("n1", "n2")))
        story.add(*(PathSeen(21_000, "n3", other, carries=True) for other in ("n1", "n2")))
    story.confirmed(20_000)
    story.lists("n3", (250, 21_100, {HERE: "1"}), (21_100, END_MS, {HERE: "1", THERE: "1"}))
    verdict = story.judged()
    assert broken(verdict) == set()
    assert verdict.promises.looks == (2 if kind == "cut" else 0)
