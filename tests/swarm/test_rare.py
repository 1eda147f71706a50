"""What is added to a plan so that rare situations are common: drawn of the seed alone, and the plan stays as it is."""

from __future__ import annotations

from collections import Counter

from tests.swarm.plan import make_plan
from tests.swarm.rare import PAYLOAD_FIRST, whole_plan

SEEDS = range(1, 31)


def test_what_is_rare_comes_on_top_of_the_plan_and_is_drawn_of_its_seed_alone() -> None:
    base, plan = make_plan(7, 5, 60, 5), whole_plan(7, 5, 60, 5)
    rest = iter(plan.deeds)
    assert all(deed in rest for deed in base.deeds), "the same deeds, in the same order"
    assert len(plan.deeds) > len(base.deeds)
    assert whole_plan(7, 5, 60, 5) == plan
    assert list(plan.deeds) == sorted(plan.deeds, key=lambda deed: deed.at_ms)


def test_no_payload_is_published_twice() -> None:
    amounts = [deed.amount for deed in whole_plan(3, 3, 60, 5).deeds if deed.kind == "publish"]
    assert len(set(amounts)) == len(amounts)
    assert max(amounts) > PAYLOAD_FIRST


def test_some_seeds_have_each_kind_of_disaster_and_most_have_at_most_one() -> None:
    plans = [whole_plan(seed, 3, 60, 5) for seed in SEEDS]
    extra = [Counter(plan.deeds) - Counter(make_plan(plan.seed, 3, 60, 5).deeds) for plan in plans]
    crashes = [[deed for deed in deeds if deed.kind.startswith("crash")] for deeds in extra]
    assert {len(some) for some in crashes} >= {0, 2, 3, 7}, (
        "none or an isolation, twins, everybody, one after the other"
    )
    assert any(deed.kind == "isolation" for deeds in extra for deed in deeds)
    assert any(deed.kind == "foreign claim" for deeds in extra for deed in deeds)
    assert any(plan.tombstones_max for plan in plans)
    assert not all(plan.tombstones_max for plan in plans)
