"""Inputs that are nearly valid, without the fuzzer: a few values of a frame changed, a few lines of a file."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated_frame, mutated_text
from tests.fuzz.seeds import seeds_of, words_of
from tests.fuzz.targets import TARGETS

FRAME_TARGETS = [name for name, target in TARGETS.items() if target.is_msgpack]
TEXT_TARGETS = [name for name in TARGETS if name not in FRAME_TARGETS]
CHANCES = st.integers(0, 2**32 - 1).map(random.Random)


@pytest.mark.parametrize("target", FRAME_TARGETS)
@given(chance=CHANCES)
@settings(max_examples=300)
def test_a_changed_frame_is_read_or_refused_as_promised(target: str, chance: random.Random) -> None:
    changed = mutated_frame(chance.choice(seeds_of(target)), chance)
    assert changed is None or TARGETS[target].check(changed)


@pytest.mark.parametrize("target", TEXT_TARGETS)
@given(chance=CHANCES)
@settings(max_examples=100)
def test_a_changed_text_is_read_or_refused_as_promised(target: str, chance: random.Random) -> None:
    text = chance.choice(seeds_of(target))
    for _ in range(chance.choice((1, 2, 4))):
        text = mutated_text(text, words_of(target), chance)
    assert TARGETS[target].check(text)


@pytest.mark.parametrize("target", FRAME_TARGETS)
def test_changed_frames_get_past_the_envelope_and_differ(target: str) -> None:
    """Otherwise the tests above would try one and the same thing."""
    chance = random.Random(1)
    changed = [mutated_frame(seed, chance) for seed in seeds_of(target) for _ in range(100)]
    outcomes = {TARGETS[target].check(frame) for frame in changed if frame is not None}
    assert any(not outcome.startswith("refused") for outcome in outcomes)
    assert len(outcomes) > 15
