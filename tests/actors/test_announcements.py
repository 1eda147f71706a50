"""What MemberManager tells of who lives: only once it is ready, only news, and only where anything is kept."""

from __future__ import annotations

from actors.announcements import Announcements
from actors.base import NodeIdentity, Role, StoreKind, Tell
from actors.messages.health import LivingMembersChanged
from actors.messages.values import Standing


def announcements(store: StoreKind = "etcd") -> Announcements:
    return Announcements(Standing(), NodeIdentity("b", 1, "test", "h:1", "h:2", 256, store=store))


def told(*node_ids: str) -> list[Tell]:
    return [Tell(role, LivingMembersChanged(node_ids)) for role in (Role.HEALTH, Role.PERSISTENT)]


def test_nobody_probes_or_tidies_before_its_node_knows_what_the_others_have_found() -> None:
    announced = announcements()
    assert announced.tell_living(("c", "a")) == []
    announced.set_standing(ready=True)
    assert announced.tell_living(("c", "a")) == told("a", "b", "c"), "with this node, in order"


def test_who_lives_is_told_again_only_if_it_has_changed() -> None:
    announced = announcements()
    announced.set_standing(ready=True)
    assert announced.tell_living(("a", "b")) == told("a", "b")
    assert announced.tell_living(("b", "a")) == []
    assert announced.tell_living(()) == told("b")


def test_a_node_that_keeps_nothing_has_nothing_to_probe() -> None:
    announced = announcements("none")
    announced.set_standing(ready=True)
    assert announced.tell_living(("a", "b")) == []
