"""The shifted wall clock: at run time, of one process, and no other clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clock_shim import ClockShim

pytestmark = pytest.mark.skipif(not ClockShim.is_possible(), reason="no C compiler (cc) to build the clock shim with")

HOUR_MS = 3_600_000
TELL_CLOCKS = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"


class Teller:
    def __init__(self, shim: ClockShim) -> None:
        self._process = subprocess.Popen(
            [*shim.prefix("n1"), sys.executable, "-c", TELL_CLOCKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def off_ms(self) -> tuple[float, float]:
        """By how much its wall clock and its monotonic clock differ from ours."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        wall, monotonic = map(float, self._process.stdout.readline().split())
        return (wall - time.time()) * 1000, (monotonic - time.monotonic()) * 1000

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def shim(tmp_path: Path) -> ClockShim:
    return ClockShim(tmp_path)


@pytest.fixture
def teller(shim: ClockShim) -> Iterator[Teller]:
    started = Teller(shim)
    yield started
    started.close()


@pytest.mark.parametrize("offset_ms", [HOUR_MS, -HOUR_MS, 1_500])
def test_the_wall_clock_is_shifted_and_put_right_while_the_process_runs(
    shim: ClockShim, teller: Teller, offset_ms: int
) -> None:
    for wanted_ms in (0, offset_ms, 0):
        shim.shift("n1", wanted_ms)
        wall_ms, monotonic_ms = teller.off_ms()
        assert wall_ms == pytest.approx(wanted_ms, abs=1_000)  # between the two readings lies a pipe
        assert monotonic_ms == pytest.approx(0, abs=1_000)


def test_each_name_has_a_clock_of_its_own(shim: ClockShim, teller: Teller) -> None:
    shim.shift("n2", HOUR_MS)
    assert teller.off_ms()[0] == pytest.approx(0, abs=1_000)
