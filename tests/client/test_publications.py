"""What a client means to publish: orders that put instances beside others, and orders that put them in their place."""

from __future__ import annotations

import pytest

from rollbook.errors import InvalidField
from rollbook.model import Instance, Service
from rollbook.redo import Publications
from rollbook.wire import INSTANCES_PER_RECORD_MAX, Publish

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
ONE, TWO, THREE = (Instance("10.0.0.1", port) for port in (1, 2, 3))


def wanted(publications: Publications) -> tuple[Instance, ...]:
    return publications.instances(ORDERS)


def test_replace_puts_instances_in_the_place_of_all_others() -> None:
    publications = Publications()
    publications.publish(ORDERS, (ONE, TWO))
    publications.publish(ORDERS, (TWO, THREE), "replace")
    assert wanted(publications) == (TWO, THREE)
    assert publications.whole(ORDERS) == Publish(ORDERS, (TWO, THREE), "replace")
    publications.publish(ORDERS, (ONE,), "add")
    assert wanted(publications) == (ONE, TWO, THREE)


def test_a_replacement_that_is_refused_leaves_what_was_there() -> None:
    publications = Publications()
    publications.publish(ORDERS, (ONE, TWO))
    change = publications.publish(ORDERS, (THREE,), "replace")
    publications.undo(change)
    assert wanted(publications) == (ONE, TWO)


def test_a_full_list_may_be_replaced_and_not_added_to() -> None:
    publications = Publications()
    full = [Instance("10.0.0.1", port) for port in range(INSTANCES_PER_RECORD_MAX)]
    publications.publish(ORDERS, full)
    other = [Instance("10.0.0.2", port) for port in range(INSTANCES_PER_RECORD_MAX)]
    with pytest.raises(InvalidField, match="at most"):
        publications.publish(ORDERS, other[:1])
    publications.publish(ORDERS, other, "replace")
    assert wanted(publications) == tuple(other)
