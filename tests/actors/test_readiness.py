"""When a loading node may answer: one row per case."""

from __future__ import annotations

import pytest

from actors.readiness import Readiness, Sight, readiness

MAJORITY_WAIT_MS = 5_000
COLD_START_WAIT_MS = 15_000


def judged(
    reached: int,
    ready: str = "",
    caught_up: str = "",
    waited_ms: int = 0,
    configured: int = 3,
    *,
    informed: bool = True,
) -> Readiness:
    sight = Sight(configured, reached, reached - len(ready), set(ready), set(caught_up), waited_ms, informed)
    return readiness(sight, MAJORITY_WAIT_MS, COLD_START_WAIT_MS)


@pytest.mark.parametrize(
    ("reached", "ready", "caught_up", "waited_ms", "expected"),
    [
        pytest.param(2, "b", "b", 0, Readiness.READY, id="caught up with the one ready member of a majority"),
        pytest.param(2, "b", "", 60_000, Readiness.LOADING, id="never before it has caught up"),
        pytest.param(3, "bc", "b", 0, Readiness.LOADING, id="nor before it has caught up with all ready ones"),
        pytest.param(3, "bc", "bc", 0, Readiness.READY, id="caught up with both"),
        pytest.param(3, "b", "b", 0, Readiness.READY, id="a loading member need not be caught up with"),
        pytest.param(3, "", "", 0, Readiness.COLD, id="all are reached and none is ready"),
        pytest.param(2, "", "", 14_999, Readiness.LOADING, id="somebody out of reach may be ready"),
        pytest.param(2, "", "", 15_000, Readiness.COLD, id="but is not waited for for ever"),
        pytest.param(1, "", "", 15_000, Readiness.COLD, id="nor is anybody at all"),
    ],
)
def test_a_cluster_of_three(reached: int, ready: str, caught_up: str, waited_ms: int, expected: Readiness) -> None:
    assert judged(reached, ready, caught_up, waited_ms) is expected


def test_without_a_majority_it_waits_a_while_for_one() -> None:
    assert judged(2, "b", "b", 4_999, configured=5) is Readiness.LOADING
    assert judged(2, "b", "b", 5_000, configured=5) is Readiness.READY
    assert judged(3, "b", "b", 0, configured=5) is Readiness.READY
    assert judged(2, "b", "b", 4_999, configured=4) is Readiness.LOADING, "half is no majority"


def test_a_majority_of_whom_all_have_been_alone_is_waited_for_like_none() -> None:
    assert judged(2, "b", "b", 4_999, informed=False) is Readiness.LOADING
    assert judged(2, "b", "b", 5_000, informed=False) is Readiness.READY


def test_a_member_that_was_ready_and_is_out_of_hearing_is_waited_for() -> None:
    sight = Sight(configured=3, reached=3, loading=2, ready=set(), caught_up=set(), waited_ms=14_999, informed=False)
    assert readiness(sight, MAJORITY_WAIT_MS, COLD_START_WAIT_MS) is Readiness.LOADING
    waited = sight._replace(waited_ms=15_000)
    assert readiness(waited, MAJORITY_WAIT_MS, COLD_START_WAIT_MS) is Readiness.COLD


def test_a_node_that_is_alone_in_its_list_has_nobody_to_wait_for() -> None:
    assert judged(1, configured=1) is Readiness.COLD
