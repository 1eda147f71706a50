"""Which instance a caller is given."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from rollbook.choice import usable, weighted_choice
from rollbook.errors import NoHealthyInstance
from rollbook.model import Instance
from tests.support.session_bench import ORDERS, instance

SICK = Instance("10.0.0.9", 1, healthy=False)
DISABLED = Instance("10.0.0.9", 2, enabled=False)
WEIGHTLESS = Instance("10.0.0.9", 3, weight=0.0)


def test_only_enabled_instances_with_weight_and_the_health_asked_for_are_usable() -> None:
    everything = [instance(), SICK, DISABLED, WEIGHTLESS]
    assert usable(everything, healthy=True) == (instance(),)
    assert usable(everything, healthy=False) == (SICK,)


def test_the_choice_follows_the_weights() -> None:
    chance = random.Random(1)
    instances = [instance(80, weight=1.0), instance(81, weight=3.0), SICK, WEIGHTLESS]
    counts = Counter(weighted_choice(ORDERS, instances, chance).port for _ in range(4_000))
    assert set(counts) == {80, 81}
    assert 0.7 < counts[81] / 4_000 < 0.8


class _Highest(random.Random):
    def random(self) -> float:
        return 1.0 - 2**-53


def test_the_highest_draw_still_finds_one() -> None:
    instances = [instance(port, weight=0.1) for port in range(1, 11)]
    assert weighted_choice(ORDERS, instances, _Highest()).port == 10


def test_nobody_to_choose_from_is_a_typed_error_that_names_the_service() -> None:
    with pytest.raises(NoHealthyInstance, match="DEFAULT_GROUP@@orders"):
        weighted_choice(ORDERS, [SICK, DISABLED, WEIGHTLESS], random.Random(1))
