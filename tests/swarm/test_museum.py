"""Every bug that was found stays found: the plan that shows it is clean. (That it would show it: test_ablations.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.swarm.ablations import ABLATIONS
from tests.swarm.exhibits import EXHIBITS, Exhibit
from tests.swarm.museum import plan_of
from tests.swarm.run import run_seed

ROOT = Path(__file__).resolve().parents[2]
SWITCHED = [exhibit for exhibit in EXHIBITS if exhibit.ablation]
STAGED = [exhibit for exhibit in EXHIBITS if exhibit.test]


def named(exhibit: Exhibit) -> str:
    return exhibit.name


@pytest.mark.parametrize("exhibit", SWITCHED, ids=named)
def test_what_was_wrong_is_wrong_no_more(exhibit: Exhibit) -> None:
    assert exhibit.ablation in ABLATIONS
    plan = plan_of(exhibit.ablation)
    outcome = run_seed(plan.seed, plan.nodes, plan=plan)
    if outcome.violation:
        pytest.fail(outcome.violation, pytrace=False)


@pytest.mark.parametrize("exhibit", STAGED, ids=named)
def test_a_scenario_that_stands_for_a_bug_is_there(exhibit: Exhibit) -> None:
    assert f"\ndef {exhibit.test}(" in (ROOT / exhibit.file).read_text()


def test_each_exhibit_has_a_name_of_its_own_and_something_to_show() -> None:
    assert len({exhibit.name for exhibit in EXHIBITS}) == len(EXHIBITS)
    assert len(SWITCHED) + len(STAGED) == len(EXHIBITS)
