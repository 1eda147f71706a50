"""The convergence histogram by itself."""

from __future__ import annotations

import pytest

from actors.convergence import BOUNDS_MS, Convergence


def counted(convergence: Convergence) -> dict[str, dict[int, int]]:
    """By stage: the place of a bucket → how many are in it."""
    return {
        found.stage: {place: count for place, count in enumerate(found.counts) if count}
        for found in convergence.status()
    }


@pytest.mark.parametrize(("took_ms", "place"), [(0, 0), (1, 0), (2, 1), (3, 2), (1_000, 9), (1_001, 10), (5_001, 12)])
def test_a_change_falls_into_the_bucket_of_what_it_took(took_ms: int, place: int) -> None:
    convergence = Convergence(10, 4)
    assert convergence.sample(7, 1_000)
    convergence.reached(7, 7, 1_000 + took_ms)
    assert counted(convergence) == {"applied": {place: 1}, "told": {place: 1}}


def test_stages_are_counted_by_themselves_and_each_change_once() -> None:
    convergence = Convergence(10, 4)
    for place, seq in enumerate((5, 9)):
        convergence.sample(seq, 10 * place)
    convergence.reached(8, 4, 12)
    assert counted(convergence) == {"applied": {4: 1}, "told": {}}
    convergence.reached(9, 9, 40)
    convergence.reached(9, 9, 4_000)
    assert counted(convergence) == {"applied": {4: 1, 5: 1}, "told": {5: 2}}
    assert not convergence.is_waiting


def test_every_bucket_has_a_bound_but_the_last() -> None:
    for found in Convergence(10, 4).status():
        assert found.bounds_ms == BOUNDS_MS == tuple(sorted(BOUNDS_MS))
        assert len(found.counts) == len(BOUNDS_MS) + 1
