"""Services by patterns, as IndexManager answers them."""

from __future__ import annotations

import pytest

from actors.messages.connections import StandingChanged
from actors.messages.index import OwnersVisible
from actors.messages.values import Standing
from rollbook.catalog import FindServices, ServicesFound
from rollbook.model import Service
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, instance, record

ONE = instance(1)


@pytest.fixture
def index() -> IndexUnderTest:
    return IndexUnderTest()


def test_services_are_found_by_pattern_and_then_only_what_has_come_and_gone(index: IndexUnderTest) -> None:
    def found(since: int = 0, group: str = "*", name: str = "s*", size: int = 3) -> ServicesFound:
        (answer,), _ = index.ask(FindServices("public", group, name, size, since))
        assert isinstance(answer, ServicesFound)
        return answer

    def put(group: str, name: str, seq: int, *, is_live: bool = True, namespace: str = "public") -> None:
        index.put(record("a", *((ONE,) if is_live else ()), service=Service(namespace, group, name), seq=seq))

    for seq, name in enumerate(("s3", "s1", "t1"), 1):
        put("g", name, seq)
    put("f", "s2", 4)
    put("g", "s4", 5, namespace="other")
    first = found()
    assert first == ServicesFound(first.number, True, 3, (("f", "s2"), ("g", "s1"), ("g", "s3")))
    assert found(group="g", size=1) == ServicesFound(first.number, True, 2, (("g", "s1"),))
    assert found(first.number) == ServicesFound(first.number, False)
    put("g", "s1", 6, is_live=False)
    put("h", "s5", 7)
    put("h", "s6", 8)
    put("h", "s6", 9, is_live=False)
    put("g", "t1", 10, is_live=False)
    later = found(first.number)
    assert (later.is_whole, later.found, later.gone) == (False, (("h", "s5"),), (("g", "s1"),))
    assert later.number > first.number
    index.handle(OwnersVisible(((HERE, 15_000),)))
    assert found(later.number).gone == (("f", "s2"), ("g", "s3"), ("h", "s5"))
    index.handle(OwnersVisible(()))
    everything = (("f", "s2"), ("g", "s3"), ("h", "s5"))
    again = found(first.number)
    assert (again.is_whole, again.found) == (True, everything), "more has changed than was asked for"
    assert found(again.number + 1).is_whole, "that number is of another life of the node"


def test_a_node_that_has_just_started_says_that_more_may_come(index: IndexUnderTest) -> None:
    def is_warming() -> bool:
        (answer,), _ = index.ask(FindServices("public"))
        return bool(answer.warming)

    assert not is_warming()
    index.handle(StandingChanged(Standing(warming=True)))
    assert is_warming()
