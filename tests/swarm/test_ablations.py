"""Every rule, broken, is noticed: each under a plan that is known to need it, shrunk to what that takes.

The whole proof (100 seeds, nothing known in advance) is scripts/swarm.sh --ablations.
"""

from __future__ import annotations

import pytest

from actors.owner_table import OwnerTable
from tests.swarm.ablations import ABLATIONS, ablated
from tests.swarm.museum import ROOM, check_plan
from tests.swarm.run import SeedOutcome
from tests.swarm.validation import is_flagged, short_name


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_broken_rule_is_noticed_where_the_whole_rules_are_clean(name: str) -> None:
    check_plan(name)


def test_every_plan_is_of_a_rule() -> None:
    assert {path.stem for path in ROOM.glob("*.json")} == set(ABLATIONS)


def test_a_rule_is_in_force_again_after_it_was_broken() -> None:
    for name in ABLATIONS:
        with ablated(name):
            pass
    before = OwnerTable.commit
    with ablated("seq-kept-at-removal"):
        assert OwnerTable.commit is not before
    assert OwnerTable.commit is before


def test_an_ablation_that_does_not_work_is_no_proof() -> None:
    outcome = SeedOutcome(1, 3, 60, 5, "some-rule", "TypeError: no such argument", "TypeError: no such argument")
    with pytest.raises(RuntimeError, match="some-rule does not work"):
        is_flagged(outcome)


def test_what_flagged_it_is_said_in_a_word() -> None:
    by_history = SeedOutcome(1, 3, 60, 5, violation="A9: n1 dropped", invariant="A9")
    by_actor = SeedOutcome(1, 3, 60, 5, violation="a table has one origin", invariant="AssertionError: a table has")
    assert (short_name(by_history), short_name(by_actor)) == ("A9", "of the actor")
