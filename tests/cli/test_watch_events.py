"""How ``rollbook watch`` tells a difference."""

from __future__ import annotations

from rollbook.cli.watch import event_json, event_text, events_of
from rollbook.model import Difference, Instance, InstanceKey, Service

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
OLD = Instance("10.0.0.1", 80)
NEW = Instance("10.0.0.1", 80, weight=2.0)


def test_every_instance_of_a_difference_is_one_event() -> None:
    known: dict[InstanceKey, Instance] = {}
    other = Instance("10.0.0.2", 80)
    first = list(events_of(Difference((OLD, other), (), ()), known))
    assert [event_text(event) for event in first] == ["+ 10.0.0.1:80", "+ 10.0.0.2:80"]
    then = list(events_of(Difference((), (other,), (NEW,)), known))
    assert [event_text(event) for event in then] == ["- 10.0.0.2:80", "~ 10.0.0.1:80  weight 2  (was: 10.0.0.1:80)"]
    assert known == {NEW.key: NEW}


def test_a_change_as_json_says_what_was_before() -> None:
    (event,) = events_of(Difference((), (), (NEW,)), {OLD.key: OLD})
    value = event_json(SERVICE, event)
    assert (value["event"], value["service"]) == ("changed", "DEFAULT_GROUP@@orders")
    assert (value["instance"]["weight"], value["before"]["weight"]) == (2.0, 1.0)
